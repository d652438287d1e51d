/* A device of the C library whose key is in a TPM: it registers, sends to its hub, and
   sends again without registering. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "azure_c_shared_utility/shared_util_options.h"
#include "azure_c_shared_utility/threadapi.h"
#include "azure_prov_client/iothub_security_factory.h"
#include "azure_prov_client/prov_device_ll_client.h"
#include "azure_prov_client/prov_security_factory.h"
#include "azure_prov_client/prov_transport_http_client.h"
#include "azure_prov_client/prov_transport_mqtt_client.h"
#include "iothub.h"
#include "iothub_device_client_ll.h"
#include "iothubtransportmqtt.h"

#define CHECK(condition)                                                            \
    do {                                                                            \
        if (!(condition)) {                                                         \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition); \
            exit(1);                                                                \
        }                                                                           \
    } while (0)

static char hub[256], device[129];
static bool done;

static void registered(PROV_DEVICE_RESULT result, const char *iothub_uri, const char *device_id, void *context)
{
    (void)context;
    done = true;
    CHECK(result == PROV_DEVICE_RESULT_OK);
    snprintf(hub, sizeof hub, "%s", iothub_uri);
    snprintf(device, sizeof device, "%s", device_id);
}

static void confirmed(IOTHUB_CLIENT_CONFIRMATION_RESULT result, void *context)
{
    CHECK(result == IOTHUB_CLIENT_CONFIRMATION_OK);
    *(bool *)context = true;
}

static void send_one(void)
{
    IOTHUB_DEVICE_CLIENT_LL_HANDLE client = IoTHubDeviceClient_LL_CreateFromDeviceAuth(hub, device, MQTT_Protocol);
    CHECK(client != NULL);
    CHECK(IoTHubDeviceClient_LL_SetOption(client, OPTION_TRUSTED_CERT, getenv("HUB_CA")) == IOTHUB_CLIENT_OK);
    bool sent = false;
    IOTHUB_MESSAGE_HANDLE message = IoTHubMessage_CreateFromString("from a TPM");
    CHECK(IoTHubDeviceClient_LL_SendEventAsync(client, message, confirmed, &sent) == IOTHUB_CLIENT_OK);
    IoTHubMessage_Destroy(message);
    while (!sent) {
        IoTHubDeviceClient_LL_DoWork(client);
        ThreadAPI_Sleep(1);
    }
    IoTHubDeviceClient_LL_Destroy(client);
}

int main(void)
{
    IoTHub_Init();
    CHECK(prov_dev_security_init(SECURE_DEVICE_TYPE_TPM) == 0);
    CHECK(iothub_security_type() == IOTHUB_SECURITY_TYPE_SAS);
    PROV_DEVICE_LL_HANDLE registration = Prov_Device_LL_Create(getenv("DPS_HTTPS"), getenv("ID_SCOPE"), Prov_Device_MQTT_Protocol);
    CHECK(Prov_Device_LL_SetOption(registration, PROV_REGISTRATION_ID, getenv("REGISTRATION_ID")) == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_Register_Device(registration, registered, NULL, NULL, NULL) == PROV_DEVICE_RESULT_ERROR); /* not over MQTT */
    Prov_Device_LL_Destroy(registration);
    registration = Prov_Device_LL_Create(getenv("DPS_HTTPS"), getenv("ID_SCOPE"), Prov_Device_HTTP_Protocol);
    CHECK(Prov_Device_LL_SetOption(registration, PROV_REGISTRATION_ID, getenv("REGISTRATION_ID")) == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_SetOption(registration, OPTION_TRUSTED_CERT, getenv("HUB_CA")) == PROV_DEVICE_RESULT_OK);
    CHECK(Prov_Device_LL_Register_Device(registration, registered, NULL, NULL, NULL) == PROV_DEVICE_RESULT_OK);
    while (!done) {
        Prov_Device_LL_DoWork(registration);
        ThreadAPI_Sleep(1);
    }
    Prov_Device_LL_Destroy(registration);
    send_one();
    prov_dev_security_deinit();
    CHECK(iothub_security_init(IOTHUB_SECURITY_TYPE_SAS) == 0);
    send_one();
    iothub_security_deinit();
    IoTHub_Deinit();
    puts("passed");
    return 0;
}
