/* Devices that find their hub: registering in both layers, and a client of the hub that was
   found. */
#include "check.h"

#include "azure_c_shared_utility/http_proxy_io.h"
#include "azure_prov_client/iothub_security_factory.h"
#include "azure_prov_client/prov_device_client.h"
#include "azure_prov_client/prov_device_ll_client.h"
#include "azure_prov_client/prov_security_factory.h"
#include "azure_prov_client/prov_transport_amqp_client.h"
#include "azure_prov_client/prov_transport_amqp_ws_client.h"
#include "azure_prov_client/prov_transport_http_client.h"
#include "azure_prov_client/prov_transport_mqtt_client.h"
#include "azure_prov_client/prov_transport_mqtt_ws_client.h"
#include "iothub_client_version.h"

#ifdef __cplusplus
#include <atomic>
typedef std::atomic<int> counter;
#else
typedef _Atomic int counter;
#endif

typedef struct {
    counter done, connected, assigning;
    PROV_DEVICE_RESULT result;
    char hub[256], device[256];
    int working; /* inside DoWork */
    PROV_DEVICE_LL_HANDLE destroy, again;
} outcome;

/* One that nothing has happened to. */
static outcome *fresh(void)
{
    static outcome all[8];
    static int used;
    return &all[used++];
}

static void on_status(PROV_DEVICE_REG_STATUS status, void *context)
{
    outcome *o = (outcome *)context;
    CHECK(status == PROV_DEVICE_REG_STATUS_CONNECTED || status == PROV_DEVICE_REG_STATUS_ASSIGNING || status == PROV_DEVICE_REG_STATUS_REGISTERING);
    if (status == PROV_DEVICE_REG_STATUS_CONNECTED) {
        o->connected++;
    } else {
        o->assigning++;
    }
    CHECK(o->working != 0);
}

static void on_registered(PROV_DEVICE_RESULT r, const char *hub, const char *device, void *context)
{
    outcome *o = (outcome *)context;
    CHECK(o->working != 0);
    CHECK((r == PROV_DEVICE_RESULT_OK) == (hub != NULL) && (hub != NULL) == (device != NULL));
    o->result = r;
    if (hub != NULL) {
        strncpy(o->hub, hub, sizeof o->hub - 1);
        strncpy(o->device, device, sizeof o->device - 1);
    }
    if (o->again != NULL) {
        PROV_DEVICE_LL_HANDLE h = o->again;
        o->again = NULL;
        CHECK(Prov_Device_LL_Register_Device(h, on_registered, context, NULL, NULL) == PROV_DEVICE_RESULT_OK);
    }
    if (o->destroy != NULL) {
        Prov_Device_LL_Destroy(o->destroy);
        Prov_Device_LL_Destroy(o->destroy); /* once is enough, twice is allowed */
    }
    o->done++;
}

static PROV_DEVICE_LL_HANDLE create(PROV_DEVICE_TRANSPORT_PROVIDER_FUNCTION protocol, const char *endpoint)
{
    bool trace = true;
    PROV_DEVICE_LL_HANDLE h = Prov_Device_LL_Create(setting(endpoint), setting("ID_SCOPE"), protocol);
    CHECK(h != NULL);
    CHECK(Prov_Device_LL_SetOption(h, OPTION_TRUSTED_CERT, setting("HUB_CA")) == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_SetOption(h, PROV_OPTION_LOG_TRACE, &trace) == PROV_DEVICE_RESULT_OK);
    return h;
}

static void work(PROV_DEVICE_LL_HANDLE h, outcome *o)
{
    o->working = 1;
    Prov_Device_LL_DoWork(h);
    o->working = 0;
}

static int confirmed;

static void confirm(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    CHECK(r == IOTHUB_CLIENT_CONFIRMATION_OK && context == &confirmed);
    confirmed++;
}

/* Sends one message to the hub that was found. */
static void send_one(const outcome *o)
{
    int before = confirmed;
    IOTHUB_DEVICE_CLIENT_LL_HANDLE client = IoTHubDeviceClient_LL_CreateFromDeviceAuth(o->hub, o->device, MQTT_Protocol);
    CHECK(client != NULL);
    CHECK(IoTHubDeviceClient_LL_SetOption(client, OPTION_TRUSTED_CERT, setting("HUB_CA")) == IOTHUB_CLIENT_OK);
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString(o->device);
    CHECK(IoTHubDeviceClient_LL_SendEventAsync(client, m, confirm, &confirmed) == IOTHUB_CLIENT_OK);
    IoTHubMessage_Destroy(m);
    UNTIL(confirmed == before + 1, IoTHubDeviceClient_LL_DoWork(client));
    IoTHubDeviceClient_LL_Destroy(client);
}

static void poll_driven(PROV_DEVICE_TRANSPORT_PROVIDER_FUNCTION protocol, const char *endpoint)
{
    outcome *o = fresh();
    PROV_DEVICE_LL_HANDLE h = create(protocol, endpoint);
    CHECK(Prov_Device_LL_Set_Provisioning_Payload(h, "{\"site\":1}") == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_Register_Device(h, on_registered, o, on_status, o) == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_Register_Device(h, on_registered, o, on_status, o) == PROV_DEVICE_RESULT_ERROR);
    UNTIL(o->done == 1, work(h, o));
    CHECK(o->result == PROV_DEVICE_RESULT_OK && o->connected == 1);
    CHECK(Prov_Device_LL_Get_Provisioning_Payload(h) == NULL);
    /* Again, and inside the callback once more. */
    o->again = h;
    CHECK(Prov_Device_LL_Register_Device(h, on_registered, o, NULL, NULL) == PROV_DEVICE_RESULT_OK);
    UNTIL(o->done == 3, work(h, o));
    CHECK(o->result == PROV_DEVICE_RESULT_OK && o->connected == 1);
    /* Destroyed inside the callback. */
    o->destroy = h;
    CHECK(Prov_Device_LL_Register_Device(h, on_registered, o, NULL, NULL) == PROV_DEVICE_RESULT_OK);
    UNTIL(o->done == 4, work(h, o));
    CHECK(Prov_Device_LL_Register_Device(h, on_registered, o, NULL, NULL) == PROV_DEVICE_RESULT_INVALID_ARG);
    send_one(o);
}

static void threaded(void)
{
    outcome *o = fresh();
    o->working = 1; /* always */
    uint16_t often = 10;
    PROV_DEVICE_HANDLE h = Prov_Device_Create(setting("DPS_HTTPS"), setting("ID_SCOPE"), Prov_Device_HTTP_Protocol);
    CHECK(h != NULL);
    CHECK(Prov_Device_SetOption(h, OPTION_TRUSTED_CERT, setting("HUB_CA")) == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_SetOption(h, PROV_OPTION_DO_WORK_FREQUENCY_IN_MS, &often) == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_Register_Device(h, on_registered, o, on_status, o) == PROV_DEVICE_RESULT_OK);
    UNTIL(o->done == 1, (void)0);
    CHECK(o->result == PROV_DEVICE_RESULT_OK && o->connected == 1);
    /* Destroying it ends a registration at once, and its callbacks. */
    CHECK(Prov_Device_Register_Device(h, on_registered, o, on_status, o) == PROV_DEVICE_RESULT_OK);
    Prov_Device_Destroy(h);
    int before = o->done;
    Prov_Device_Destroy(h);
    CHECK(o->done == before && before <= 2);
    send_one(o);
}

/* Registrations that come to nothing leave a client that works. */
static void refused(void)
{
    outcome *o = fresh();
    PROV_DEVICE_LL_HANDLE h = create(Prov_Device_MQTT_Protocol, "DPS_MQTT");
    CHECK(Prov_Device_LL_SetOption(h, PROV_REGISTRATION_ID, "stranger") == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_Register_Device(h, on_registered, o, NULL, NULL) == PROV_DEVICE_RESULT_OK);
    UNTIL(o->done == 1, work(h, o));
    CHECK(o->result == PROV_DEVICE_RESULT_DEV_AUTH_ERROR);
    CHECK(Prov_Device_LL_SetOption(h, PROV_REGISTRATION_ID, "disabled") == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_Register_Device(h, on_registered, o, NULL, NULL) == PROV_DEVICE_RESULT_OK);
    UNTIL(o->done == 2, work(h, o));
    CHECK(o->result == PROV_DEVICE_RESULT_DISABLED);
    CHECK(Prov_Device_LL_SetOption(h, PROV_REGISTRATION_ID, setting("REGISTRATION_ID")) == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_Register_Device(h, on_registered, o, NULL, NULL) == PROV_DEVICE_RESULT_OK);
    UNTIL(o->done == 3, work(h, o));
    CHECK(o->result == PROV_DEVICE_RESULT_OK);
    Prov_Device_LL_Destroy(h);

    long timeout = 1;
    h = create(Prov_Device_MQTT_Protocol, "NOBODY");
    CHECK(Prov_Device_LL_SetOption(h, PROV_OPTION_TIMEOUT, &timeout) == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_Register_Device(h, on_registered, o, NULL, NULL) == PROV_DEVICE_RESULT_OK);
    UNTIL(o->done == 4, work(h, o));
    CHECK(o->result == PROV_DEVICE_RESULT_TIMEOUT);
    Prov_Device_LL_Destroy(h);
}

static void arguments(void)
{
    const char *scope = "0neX", *host = "dps.example";
    CHECK(Prov_Device_LL_Create(NULL, scope, Prov_Device_MQTT_Protocol) == NULL);
    CHECK(Prov_Device_LL_Create(host, NULL, Prov_Device_MQTT_Protocol) == NULL);
    CHECK(Prov_Device_LL_Create(host, scope, NULL) == NULL);
    CHECK(Prov_Device_LL_Create(host, "a/b", Prov_Device_MQTT_Protocol) == NULL);
    CHECK(Prov_Device_LL_Create(host, scope, Prov_Device_AMQP_Protocol) == NULL);
    CHECK(Prov_Device_Create(host, scope, Prov_Device_AMQP_WS_Protocol) == NULL);
    Prov_Device_LL_Destroy(NULL);
    Prov_Device_Destroy(NULL);
    Prov_Device_LL_DoWork(NULL);
    outcome *o = fresh();
    PROV_DEVICE_LL_HANDLE h = Prov_Device_LL_Create(host, scope, Prov_Device_MQTT_WS_Protocol);
    CHECK(h != NULL);
    CHECK(Prov_Device_LL_Register_Device(NULL, on_registered, o, NULL, NULL) == PROV_DEVICE_RESULT_INVALID_ARG);
    CHECK(Prov_Device_LL_Register_Device(h, NULL, o, NULL, NULL) == PROV_DEVICE_RESULT_INVALID_ARG);
    CHECK(Prov_Device_LL_Register_Device(h, on_registered, o, NULL, NULL) == PROV_DEVICE_RESULT_ERROR); /* no security yet */
    CHECK(Prov_Device_Register_Device((PROV_DEVICE_HANDLE)h, on_registered, o, NULL, NULL) == PROV_DEVICE_RESULT_INVALID_ARG);
    long negative = -1;
    HTTP_PROXY_OPTIONS proxy = {"127.0.0.1", 8888, NULL, NULL};
    CHECK(Prov_Device_LL_SetOption(NULL, OPTION_TRUSTED_CERT, "x") == PROV_DEVICE_RESULT_INVALID_ARG);
    CHECK(Prov_Device_LL_SetOption(h, NULL, "x") == PROV_DEVICE_RESULT_INVALID_ARG);
    CHECK(Prov_Device_LL_SetOption(h, OPTION_TRUSTED_CERT, NULL) == PROV_DEVICE_RESULT_INVALID_ARG);
    CHECK(Prov_Device_LL_SetOption(h, OPTION_TRUSTED_CERT, "x") == PROV_DEVICE_RESULT_ERROR);
    CHECK(Prov_Device_LL_SetOption(h, "no such", "x") == PROV_DEVICE_RESULT_ERROR);
    CHECK(Prov_Device_LL_SetOption(h, PROV_OPTION_TIMEOUT, &negative) == PROV_DEVICE_RESULT_ERROR);
    CHECK(Prov_Device_LL_SetOption(h, OPTION_HTTP_PROXY, &proxy) == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_Set_Provisioning_Payload(h, "{") == PROV_DEVICE_RESULT_INVALID_ARG);
    CHECK(Prov_Device_LL_Set_Provisioning_Payload(h, NULL) == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_Set_Provisioning_Payload(NULL, "{}") == PROV_DEVICE_RESULT_INVALID_ARG);
    CHECK(Prov_Device_LL_Get_Provisioning_Payload(NULL) == NULL);
    CHECK(strcmp(Prov_Device_LL_GetVersionString(), IoTHubClient_GetVersionString()) == 0);
    CHECK(strcmp(MU_ENUM_TO_STRING(PROV_DEVICE_RESULT, PROV_DEVICE_RESULT_DISABLED), "PROV_DEVICE_RESULT_DISABLED") == 0);
    CHECK(strcmp(MU_ENUM_TO_STRING(PROV_DEVICE_REG_STATUS, PROV_DEVICE_REG_STATUS_ASSIGNING), "PROV_DEVICE_REG_STATUS_ASSIGNING") == 0);
    CHECK(PROV_DEVICE_RESULT_DISABLED == 13 && PROV_DEVICE_RESULT_ERROR == 10 && PROV_DEVICE_REG_HUB_NOT_SPECIFIED == 5);
    Prov_Device_LL_Destroy(h);
}

static void by_certificate(void)
{
    outcome *o = fresh();
    prov_dev_security_deinit();
    CHECK(prov_dev_security_init(SECURE_DEVICE_TYPE_X509) == 0);
    PROV_DEVICE_LL_HANDLE h = create(Prov_Device_MQTT_WS_Protocol, "DPS_HTTPS");
    CHECK(Prov_Device_LL_Register_Device(h, on_registered, o, NULL, NULL) == PROV_DEVICE_RESULT_ERROR); /* no certificate */
    CHECK(Prov_Device_LL_SetOption(h, OPTION_X509_CERT, setting("CERTIFICATE")) == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_SetOption(h, OPTION_X509_PRIVATE_KEY, setting("PRIVATE_KEY")) == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_Register_Device(h, on_registered, o, NULL, NULL) == PROV_DEVICE_RESULT_OK);
    UNTIL(o->done == 1, work(h, o));
    CHECK(o->result == PROV_DEVICE_RESULT_OK);
    Prov_Device_LL_Destroy(h);
    send_one(o);
    prov_dev_security_deinit();
}

int main(void)
{
    CHECK(IoTHub_Init() == 0);
    arguments();
    CHECK(prov_dev_security_init(SECURE_DEVICE_TYPE_SYMMETRIC_KEY) == 0);
    CHECK(prov_dev_set_symmetric_key_info(setting("REGISTRATION_ID"), setting("REGISTRATION_KEY")) == 0);
    poll_driven(Prov_Device_MQTT_Protocol, "DPS_MQTT");
    poll_driven(Prov_Device_HTTP_Protocol, "DPS_HTTPS");
    threaded();
    refused();
    by_certificate();
    return result();
}
