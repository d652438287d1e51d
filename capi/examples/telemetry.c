/* Sends ten messages and waits until the hub has them.

     capi/build.sh out
     cc capi/examples/telemetry.c -Iout/include -Lout/lib -liothub_client -Wl,-rpath,$PWD/out/lib -o telemetry
     ./telemetry CONNECTION-STRING

   The second argument, if any, is a file with the certificate authority of a local
   hub. */
#include <stdio.h>
#include <stdlib.h>

#include "azure_c_shared_utility/shared_util_options.h"
#include "azure_c_shared_utility/threadapi.h"
#include "iothub.h"
#include "iothub_device_client_ll.h"
#include "iothubtransportmqtt.h"

static int confirmed;

static void confirm(IOTHUB_CLIENT_CONFIRMATION_RESULT result, void *context)
{
    confirmed++;
    printf("message %d: %s\n", *(int *)context, MU_ENUM_TO_STRING(IOTHUB_CLIENT_CONFIRMATION_RESULT, result));
}

static char *read_file(const char *name)
{
    static char text[65536];
    FILE *f = fopen(name, "rb");
    if (f == NULL) {
        return NULL;
    }
    text[fread(text, 1, sizeof text - 1, f)] = '\0';
    fclose(f);
    return text;
}

int main(int argc, char **argv)
{
    int numbers[10];
    if (argc < 2 || IoTHub_Init() != 0) {
        fprintf(stderr, "usage: telemetry CONNECTION-STRING [CA-FILE]\n");
        return 2;
    }
    IOTHUB_DEVICE_CLIENT_LL_HANDLE client = IoTHubDeviceClient_LL_CreateFromConnectionString(argv[1], MQTT_Protocol);
    if (client == NULL) {
        return 1;
    }
    if (argc > 2) {
        char *ca = read_file(argv[2]);
        if (ca == NULL || IoTHubDeviceClient_LL_SetOption(client, OPTION_TRUSTED_CERT, ca) != IOTHUB_CLIENT_OK) {
            fprintf(stderr, "%s holds no certificate\n", argv[2]);
            return 1;
        }
    }
    for (int i = 0; i < 10; i++) {
        char text[40];
        numbers[i] = i;
        snprintf(text, sizeof text, "{\"temperature\":%d}", 20 + i);
        IOTHUB_MESSAGE_HANDLE message = IoTHubMessage_CreateFromString(text);
        IoTHubMessage_SetContentTypeSystemProperty(message, "application/json");
        IoTHubMessage_SetContentEncodingSystemProperty(message, "utf-8");
        IoTHubDeviceClient_LL_SendEventAsync(client, message, confirm, &numbers[i]);
        IoTHubMessage_Destroy(message); /* a copy is on its way */
    }
    while (confirmed < 10) {
        IoTHubDeviceClient_LL_DoWork(client);
        ThreadAPI_Sleep(1);
    }
    IoTHubDeviceClient_LL_Destroy(client);
    IoTHub_Deinit();
    return 0;
}
