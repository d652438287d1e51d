/* Two modules under an IoT Edge runtime: one sends what the other filters. They end
   when the runtime ends them. */
#include "check.h"

#include <signal.h>

typedef IOTHUB_MODULE_CLIENT_LL_HANDLE handle;
#define C(f) IoTHubModuleClient_LL_##f

static volatile sig_atomic_t stop;
static int confirmed;

static void end(int signal)
{
    (void)signal;
    stop = 1;
}

static void confirm(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    (void)context;
    confirmed += r == IOTHUB_CLIENT_CONFIRMATION_OK;
}

static IOTHUBMESSAGE_DISPOSITION_RESULT filter(IOTHUB_MESSAGE_HANDLE m, void *context)
{
    const char *alert = IoTHubMessage_GetProperty(m, "alert");
    if (alert == NULL || strcmp(alert, "true") != 0) {
        return IOTHUBMESSAGE_ACCEPTED; /* and not passed on */
    }
    IOTHUB_MESSAGE_HANDLE copy = IoTHubMessage_Clone(m);
    IOTHUB_CLIENT_RESULT r = C(SendEventToOutputAsync)((handle)context, copy, "alerts", confirm, NULL);
    IoTHubMessage_Destroy(copy);
    return r == IOTHUB_CLIENT_OK ? IOTHUBMESSAGE_ACCEPTED : IOTHUBMESSAGE_ABANDONED;
}

static void send_two(handle client)
{
    for (int i = 0; i < 2; i++) {
        IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString(i == 0 ? "all is well" : "too hot");
        CHECK(IoTHubMessage_SetProperty(m, "alert", i == 0 ? "false" : "true") == IOTHUB_MESSAGE_OK);
        CHECK(C(SendEventToOutputAsync)(client, m, "temperature", confirm, NULL) == IOTHUB_CLIENT_OK);
        IoTHubMessage_Destroy(m);
    }
}

int main(void)
{
    signal(SIGTERM, end);
    CHECK(IoTHub_Init() == 0);
    handle client = C(CreateFromEnvironment)(MQTT_Protocol);
    if (client == NULL) {
        return 2;
    }
    if (strcmp(setting("IOTEDGE_MODULEID"), "filter") == 0) {
        CHECK(C(SetInputMessageCallback)(client, "in", filter, client) == IOTHUB_CLIENT_OK);
    } else {
        send_two(client);
    }
    while (!stop) {
        C(DoWork)(client);
        ThreadAPI_Sleep(1);
    }
    fprintf(stderr, "%d confirmed\n", confirmed);
    C(Destroy)(client);
    return result();
}
