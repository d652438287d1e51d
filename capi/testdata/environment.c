/* Modules that know nothing but their environment, in both layers. */
#define _POSIX_C_SOURCE 200809L
#include "check.h"

#ifdef __cplusplus
#include <atomic>
typedef std::atomic<int> counter;
#else
typedef _Atomic int counter;
#endif

static counter confirmed;

static void confirm(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    CHECK(r == IOTHUB_CLIENT_CONFIRMATION_OK && context == &confirmed);
    confirmed++;
}

static void poll_driven(const char *text)
{
    int before = confirmed;
    IOTHUB_MODULE_CLIENT_LL_HANDLE client = IoTHubModuleClient_LL_CreateFromEnvironment(MQTT_Protocol);
    CHECK(client != NULL);
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString(text);
    CHECK(IoTHubModuleClient_LL_SendEventToOutputAsync(client, m, "out", confirm, &confirmed) == IOTHUB_CLIENT_OK);
    IoTHubMessage_Destroy(m);
    UNTIL(confirmed == before + 1, IoTHubModuleClient_LL_DoWork(client));
    IoTHubModuleClient_LL_Destroy(client);
}

static void threaded(const char *text)
{
    int before = confirmed;
    IOTHUB_MODULE_CLIENT_HANDLE client = IoTHubModuleClient_CreateFromEnvironment(MQTT_Protocol);
    CHECK(client != NULL);
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString(text);
    CHECK(IoTHubModuleClient_SendEventToOutputAsync(client, m, "out", confirm, &confirmed) == IOTHUB_CLIENT_OK);
    IoTHubMessage_Destroy(m);
    UNTIL(confirmed == before + 1, (void)0);
    IoTHubModuleClient_Destroy(client);
}

int main(void)
{
    CHECK(IoTHub_Init() == 0);
    poll_driven("daemon ll");
    threaded("daemon threaded");
    CHECK(IoTHubModuleClient_LL_CreateFromEnvironment(NULL) == NULL);
    CHECK(IoTHubModuleClient_LL_CreateFromEnvironment(MQTT_WebSocket_Protocol) == NULL);
    CHECK(IoTHubModuleClient_CreateFromEnvironment(AMQP_Protocol) == NULL);
    /* What the program does to its environment counts. */
    CHECK(unsetenv("IOTEDGE_WORKLOADURI") == 0);
    CHECK(IoTHubModuleClient_LL_CreateFromEnvironment(MQTT_Protocol) == NULL);
    CHECK(IoTHubModuleClient_CreateFromEnvironment(MQTT_Protocol) == NULL);
    CHECK(setenv("EdgeHubConnectionString", setting("MODULE_STRING"), 1) == 0);
    CHECK(setenv("EdgeModuleCACertificateFile", setting("HUB_CA_FILE"), 1) == 0);
    poll_driven("development ll");
    threaded("development threaded");
    return result();
}
