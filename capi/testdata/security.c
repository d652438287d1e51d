/* Devices that prove themselves by what was chosen for the process. */
#include "check.h"

#include "azure_prov_client/iothub_security_factory.h"
#include "azure_prov_client/prov_security_factory.h"

static int confirmed;

static void confirm(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    CHECK(r == IOTHUB_CLIENT_CONFIRMATION_OK && context == &confirmed);
    confirmed++;
}

/* Sends one message and ends the client. */
static void send_one(IOTHUB_DEVICE_CLIENT_LL_HANDLE client)
{
    int before = confirmed;
    CHECK(client != NULL);
    CHECK(IoTHubDeviceClient_LL_SetOption(client, OPTION_TRUSTED_CERT, setting("HUB_CA")) == IOTHUB_CLIENT_OK);
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString("by its key");
    CHECK(IoTHubDeviceClient_LL_SendEventAsync(client, m, confirm, &confirmed) == IOTHUB_CLIENT_OK);
    IoTHubMessage_Destroy(m);
    UNTIL(confirmed == before + 1, IoTHubDeviceClient_LL_DoWork(client));
    IoTHubDeviceClient_LL_Destroy(client);
}

static IOTHUB_DEVICE_CLIENT_LL_HANDLE by_auth(const char *uri, const char *id)
{
    return IoTHubDeviceClient_LL_CreateFromDeviceAuth(uri, id, MQTT_Protocol);
}

static void types(void)
{
    CHECK(SECURE_DEVICE_TYPE_SYMMETRIC_KEY == 4 && IOTHUB_SECURITY_TYPE_SYMMETRIC_KEY == 4 && IOTHUB_SECURITY_TYPE_SAS == 1);
    CHECK(prov_dev_security_get_type() == SECURE_DEVICE_TYPE_UNKNOWN);
    CHECK(prov_dev_security_init(SECURE_DEVICE_TYPE_UNKNOWN) != 0);
    CHECK(prov_dev_security_init(SECURE_DEVICE_TYPE_TPM) != 0); /* there is none */
    CHECK(iothub_security_init(IOTHUB_SECURITY_TYPE_HTTP_EDGE) != 0);
    CHECK(prov_dev_security_init(SECURE_DEVICE_TYPE_SYMMETRIC_KEY) == 0);
    CHECK(prov_dev_security_init(SECURE_DEVICE_TYPE_SYMMETRIC_KEY) == 0);
    CHECK(iothub_security_init(IOTHUB_SECURITY_TYPE_SYMMETRIC_KEY) == 0);
    CHECK(iothub_security_init(IOTHUB_SECURITY_TYPE_X509) != 0);
    CHECK(iothub_security_type() == IOTHUB_SECURITY_TYPE_SYMMETRIC_KEY);
    CHECK(iothub_security_interface() == NULL);
}

static void keys(void)
{
    char key[] = "c2VjcmV0";
    CHECK(prov_dev_get_symmetric_key() == NULL && iothub_security_get_symm_registration_name() == NULL);
    CHECK(prov_dev_set_symmetric_key_info(NULL, key) != 0);
    CHECK(prov_dev_set_symmetric_key_info("r", NULL) != 0);
    CHECK(by_auth("hub.example", "dev1") == NULL); /* there is no key */
    CHECK(prov_dev_set_symmetric_key_info("r", key) == 0);
    key[0] = 'x';
    CHECK(strcmp(prov_dev_get_symmetric_key(), "c2VjcmV0") == 0);
    CHECK(strcmp(prov_dev_get_symm_registration_name(), "r") == 0);
    CHECK(strcmp(iothub_security_get_symmetric_key(), "c2VjcmV0") == 0);
    CHECK(strcmp(iothub_security_get_symm_registration_name(), "r") == 0);
}

static void refused(void)
{
    CHECK(by_auth(NULL, "dev1") == NULL);
    CHECK(by_auth("hub.example", NULL) == NULL);
    CHECK(by_auth("hub.example", "") == NULL);
    CHECK(by_auth("nowhere", "dev1") == NULL);
    CHECK(by_auth("hub.example;GatewayHostName=evil.example", "dev1") == NULL);
    CHECK(IoTHubDeviceClient_LL_CreateFromDeviceAuth("hub.example", "dev1", NULL) == NULL);
    CHECK(IoTHubDeviceClient_LL_CreateFromConnectionString("HostName=hub.example;DeviceId=d;UseProvisioning=true;SharedAccessKey=a", MQTT_Protocol) == NULL);
    CHECK(iothub_security_set_symmetric_key_info("r", "a;b") == 0);
    CHECK(by_auth("hub.example", "dev1") == NULL);
}

int main(void)
{
    char text[300];
    const char *hub = setting("HUB_HOST");
    CHECK(IoTHub_Init() == 0);
    types();
    keys();
    refused();
    CHECK(iothub_security_set_symmetric_key_info("dev1", setting("DEVICE_KEY")) == 0);
    send_one(by_auth(hub, "dev1"));
    snprintf(text, sizeof text, "HostName=%s;DeviceId=dev1;UseProvisioning=true", hub);
    send_one(IoTHubDeviceClient_LL_CreateFromConnectionString(text, MQTT_Protocol));
    IOTHUB_DEVICE_CLIENT_HANDLE threaded = IoTHubDeviceClient_CreateFromDeviceAuth(hub, "dev1", MQTT_Protocol);
    CHECK(threaded != NULL);
    IoTHubDeviceClient_Destroy(threaded);
    iothub_security_deinit();
    CHECK(prov_dev_get_symmetric_key() == NULL && prov_dev_security_get_type() == SECURE_DEVICE_TYPE_UNKNOWN);
    CHECK(by_auth(hub, "dev1") == NULL);
    CHECK(IoTHubDeviceClient_LL_CreateFromConnectionString(text, MQTT_Protocol) == NULL);
    /* With X509 the certificate comes as options of the client. */
    CHECK(prov_dev_security_init(SECURE_DEVICE_TYPE_X509) == 0);
    IOTHUB_DEVICE_CLIENT_LL_HANDLE x509 = by_auth(hub, "dev1");
    CHECK(x509 != NULL);
    CHECK(IoTHubDeviceClient_LL_SetOption(x509, OPTION_X509_CERT, "half of a pair") == IOTHUB_CLIENT_OK);
    IoTHubDeviceClient_LL_Destroy(x509);
    prov_dev_security_deinit();
    return result();
}
