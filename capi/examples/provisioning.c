/* A device that finds its hub: it registers with the Device Provisioning Service by its
   key, connects to the hub that it is assigned to, and sends one event.

     provisioning HOST ID_SCOPE REGISTRATION_ID KEY [CA.pem]

   HOST is global.azure-devices-provisioning.net for Azure, or a local hub. */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "azure_c_shared_utility/shared_util_options.h"
#include "azure_c_shared_utility/threadapi.h"
#include "azure_prov_client/prov_device_ll_client.h"
#include "azure_prov_client/prov_security_factory.h"
#include "azure_prov_client/prov_transport_mqtt_client.h"
#include "iothub.h"
#include "iothub_device_client_ll.h"
#include "iothubtransportmqtt.h"

struct assignment {
    bool done;
    char hub[256], device[129];
};

static void registered(PROV_DEVICE_RESULT result, const char *iothub_uri, const char *device_id, void *context)
{
    struct assignment *a = context;
    a->done = true;
    printf("%s\n", MU_ENUM_TO_STRING(PROV_DEVICE_RESULT, result));
    if (result == PROV_DEVICE_RESULT_OK) {
        snprintf(a->hub, sizeof a->hub, "%s", iothub_uri);
        snprintf(a->device, sizeof a->device, "%s", device_id);
    }
}

static void confirmed(IOTHUB_CLIENT_CONFIRMATION_RESULT result, void *context)
{
    *(bool *)context = true;
    printf("%s\n", MU_ENUM_TO_STRING(IOTHUB_CLIENT_CONFIRMATION_RESULT, result));
}

/* Reads a file; the library makes a copy of what it is given. */
static char *text_of(const char *name)
{
    static char text[64 << 10];
    FILE *f = fopen(name, "rb");
    if (f == NULL) {
        perror(name);
        exit(1);
    }
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

int main(int argc, char **argv)
{
    if (argc < 5) {
        fprintf(stderr, "usage: %s HOST ID_SCOPE REGISTRATION_ID KEY [CA.pem]\n", argv[0]);
        return 2;
    }
    const char *ca = argc > 5 ? text_of(argv[5]) : NULL;
    IoTHub_Init();
    if (prov_dev_security_init(SECURE_DEVICE_TYPE_SYMMETRIC_KEY) != 0 || prov_dev_set_symmetric_key_info(argv[3], argv[4]) != 0) {
        return 1;
    }
    PROV_DEVICE_LL_HANDLE registration = Prov_Device_LL_Create(argv[1], argv[2], Prov_Device_MQTT_Protocol);
    if (registration == NULL) {
        return 1;
    }
    if (ca != NULL) {
        Prov_Device_LL_SetOption(registration, OPTION_TRUSTED_CERT, ca);
    }
    struct assignment a = {0};
    if (Prov_Device_LL_Register_Device(registration, registered, &a, NULL, NULL) != PROV_DEVICE_RESULT_OK) {
        return 1;
    }
    while (!a.done) {
        Prov_Device_LL_DoWork(registration);
        ThreadAPI_Sleep(10);
    }
    Prov_Device_LL_Destroy(registration);
    if (a.hub[0] == '\0') {
        return 1;
    }
    printf("%s is a device of %s\n", a.device, a.hub);

    IOTHUB_DEVICE_CLIENT_LL_HANDLE client = IoTHubDeviceClient_LL_CreateFromDeviceAuth(a.hub, a.device, MQTT_Protocol);
    if (client == NULL) {
        return 1;
    }
    if (ca != NULL) {
        IoTHubDeviceClient_LL_SetOption(client, OPTION_TRUSTED_CERT, ca);
    }
    bool sent = false;
    IOTHUB_MESSAGE_HANDLE message = IoTHubMessage_CreateFromString("hello");
    IoTHubDeviceClient_LL_SendEventAsync(client, message, confirmed, &sent);
    IoTHubMessage_Destroy(message);
    while (!sent) {
        IoTHubDeviceClient_LL_DoWork(client);
        ThreadAPI_Sleep(10);
    }
    IoTHubDeviceClient_LL_Destroy(client);
    IoTHub_Deinit();
    return 0;
}
