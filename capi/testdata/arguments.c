/* Every function of the clients without a hub: what it returns for null, stale
   and wrong handles, and for arguments that cannot be. */
#include "check.h"

#include "iothub_client_version.h"

#define DEVICE_STRING "HostName=127.0.0.1:1;DeviceId=dev1;SharedAccessKey=c2VjcmV0"
#define MODULE_STRING DEVICE_STRING ";ModuleId=mod1"

static void confirmed(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    CHECK(r == IOTHUB_CLIENT_CONFIRMATION_BECAUSE_DESTROY);
    ++*(int *)context;
}

static void status_changed(IOTHUB_CLIENT_CONNECTION_STATUS s, IOTHUB_CLIENT_CONNECTION_STATUS_REASON r, void *context)
{
    (void)s, (void)r, (void)context;
}

static IOTHUBMESSAGE_DISPOSITION_RESULT message_came(IOTHUB_MESSAGE_HANDLE m, void *context)
{
    (void)m, (void)context;
    return IOTHUBMESSAGE_ACCEPTED;
}

static void twin_came(DEVICE_TWIN_UPDATE_STATE s, const unsigned char *p, size_t n, void *context)
{
    CHECK(s == DEVICE_TWIN_UPDATE_COMPLETE && p == NULL && n == 0);
    ++*(int *)context;
}

static void properties_came(IOTHUB_CLIENT_PROPERTY_PAYLOAD_TYPE t, const unsigned char *p, size_t n, void *context)
{
    CHECK(t == IOTHUB_CLIENT_PROPERTY_PAYLOAD_ALL && p == NULL && n == 0);
    ++*(int *)context;
}

static void reported(int status, void *context)
{
    CHECK(status == 0 || status == 408);
    ++*(int *)context;
}

static int method_called(const char *name, const unsigned char *p, size_t n, unsigned char **r, size_t *rn, void *context)
{
    (void)name, (void)p, (void)n, (void)r, (void)rn, (void)context;
    return 200;
}

static void command_called(const IOTHUB_CLIENT_COMMAND_REQUEST *q, IOTHUB_CLIENT_COMMAND_RESPONSE *r, void *context)
{
    (void)q, (void)r, (void)context;
}

#define OK IOTHUB_CLIENT_OK
#define INVALID IOTHUB_CLIENT_INVALID_ARG
#define FAILED IOTHUB_CLIENT_ERROR

static const unsigned char json[] = "{\"a\":1}";

/* Everything that both clients have, with a handle that is none. */
#define DEAD(P, h)                                                                       \
    do {                                                                                 \
        IOTHUB_CLIENT_STATUS status;                                                     \
        IOTHUB_CLIENT_RETRY_POLICY policy;                                               \
        size_t limit;                                                                    \
        time_t at;                                                                       \
        int on = 1;                                                                      \
        CHECK(P##_SendEventAsync(h, m, NULL, NULL) == INVALID);                          \
        CHECK(P##_SendTelemetryAsync(h, m, NULL, NULL) == INVALID);                      \
        CHECK(P##_GetSendStatus(h, &status) == INVALID);                                 \
        CHECK(P##_SetMessageCallback(h, message_came, NULL) == INVALID);                 \
        CHECK(P##_SendMessageDisposition(h, m, IOTHUBMESSAGE_ACCEPTED) == INVALID);      \
        CHECK(P##_SetConnectionStatusCallback(h, status_changed, NULL) == INVALID);      \
        CHECK(P##_SetRetryPolicy(h, IOTHUB_CLIENT_RETRY_RANDOM, 0) == INVALID);          \
        CHECK(P##_GetRetryPolicy(h, &policy, &limit) == INVALID);                        \
        CHECK(P##_GetLastMessageReceiveTime(h, &at) == INVALID);                         \
        CHECK(P##_SetOption(h, OPTION_KEEP_ALIVE, &on) == INVALID);                      \
        CHECK(P##_SendReportedState(h, json, sizeof json - 1, NULL, NULL) == INVALID);   \
        CHECK(P##_SendPropertiesAsync(h, json, sizeof json - 1, NULL, NULL) == INVALID); \
        CHECK(P##_GetTwinAsync(h, twin_came, NULL) == INVALID);                          \
        CHECK(P##_GetPropertiesAsync(h, properties_came, NULL) == INVALID);              \
        CHECK(P##_GetPropertiesAndSubscribeToUpdatesAsync(h, properties_came, NULL) == INVALID); \
        CHECK(P##_SubscribeToCommands(h, command_called, NULL) == INVALID);              \
        P##_Destroy(h);                                                                  \
    } while (0)

#define DEAD_DEVICE(P, h)                                                                \
    do {                                                                                 \
        char *a, *b;                                                                     \
        DEAD(P, h);                                                                      \
        CHECK(P##_SetDeviceTwinCallback(h, twin_came, NULL) == INVALID);                 \
        CHECK(P##_SetDeviceMethodCallback(h, method_called, NULL) == INVALID);           \
        CHECK(P##_DeviceMethodResponse(h, NULL, json, 2, 200) == INVALID);               \
        CHECK(P##_AzureStorageInitializeBlobUpload(h, "f", &a, &b) == INVALID);          \
        CHECK(P##_AzureStorageCreateClient(h, "https://h/c") == NULL);                   \
        CHECK(P##_AzureStoragePutBlock(NULL, 0, json, 2) == INVALID);                    \
        CHECK(P##_AzureStoragePutBlockList(NULL) == INVALID);                            \
        P##_AzureStorageDestroyClient(NULL);                                             \
        CHECK(P##_AzureStorageNotifyBlobUploadCompletion(h, "c", true, 200, "") == INVALID); \
    } while (0)

#define DEAD_MODULE(P, h)                                                                \
    do {                                                                                 \
        DEAD(P, h);                                                                      \
        CHECK(P##_SendEventToOutputAsync(h, m, "o", NULL, NULL) == INVALID);             \
        CHECK(P##_SetInputMessageCallback(h, "i", message_came, NULL) == INVALID);       \
        CHECK(P##_SetModuleTwinCallback(h, twin_came, NULL) == INVALID);                 \
        CHECK(P##_SetModuleMethodCallback(h, method_called, NULL) == INVALID);           \
    } while (0)

/* Creating what cannot be. */
#define UNBORN(P)                                                                                    \
    do {                                                                                             \
        CHECK(P##_CreateFromConnectionString(NULL, MQTT_Protocol) == NULL);                          \
        CHECK(P##_CreateFromConnectionString(MODULE_STRING, NULL) == NULL);                          \
        CHECK(P##_CreateFromConnectionString("", MQTT_Protocol) == NULL);                            \
        CHECK(P##_CreateFromConnectionString("HostName=h.example;DeviceId=d", MQTT_Protocol) == NULL); \
        CHECK(P##_CreateFromConnectionString("HostName=h.example;DeviceId=d;x509=maybe", MQTT_Protocol) == NULL); \
        CHECK(P##_CreateFromConnectionString(MODULE_STRING, AMQP_Protocol) == NULL);                 \
        CHECK(P##_CreateFromConnectionString(MODULE_STRING, AMQP_Protocol_over_WebSocketsTls) == NULL); \
        CHECK(P##_CreateFromConnectionString(MODULE_STRING, HTTP_Protocol) == NULL);                 \
    } while (0)

/* What a living client that never connects makes of its arguments. */
#define ALIVE(P, h, pending)                                                             \
    do {                                                                                 \
        IOTHUB_CLIENT_STATUS status = IOTHUB_CLIENT_SEND_STATUS_BUSY;                    \
        IOTHUB_CLIENT_RETRY_POLICY policy;                                               \
        size_t limit;                                                                    \
        time_t at;                                                                       \
        CHECK(P##_SendEventAsync(h, NULL, NULL, NULL) == INVALID);                       \
        CHECK(P##_SendEventAsync(h, m, NULL, &pending) == INVALID);                      \
        CHECK(P##_GetSendStatus(h, NULL) == INVALID);                                    \
        CHECK(P##_GetSendStatus(h, &status) == OK && status == IOTHUB_CLIENT_SEND_STATUS_IDLE); \
        CHECK(P##_SendEventAsync(h, m, confirmed, &pending) == OK);                      \
        CHECK(P##_SendTelemetryAsync(h, m, confirmed, &pending) == OK);                  \
        CHECK(P##_SendEventAsync(h, m, NULL, NULL) == OK);                               \
        CHECK(P##_GetSendStatus(h, &status) == OK && status == IOTHUB_CLIENT_SEND_STATUS_BUSY); \
        CHECK(P##_SetConnectionStatusCallback(h, status_changed, NULL) == OK);           \
        CHECK(P##_SetConnectionStatusCallback(h, NULL, NULL) == OK);                     \
        CHECK(P##_GetRetryPolicy(h, NULL, &limit) == INVALID);                           \
        CHECK(P##_GetRetryPolicy(h, &policy, NULL) == INVALID);                          \
        CHECK(P##_GetRetryPolicy(h, &policy, &limit) == OK);                             \
        CHECK(policy == IOTHUB_CLIENT_RETRY_EXPONENTIAL_BACKOFF_WITH_JITTER && limit == 0); \
        CHECK(P##_SetRetryPolicy(h, IOTHUB_CLIENT_RETRY_LINEAR_BACKOFF, 77) == OK);      \
        CHECK(P##_GetRetryPolicy(h, &policy, &limit) == OK);                             \
        CHECK(policy == IOTHUB_CLIENT_RETRY_LINEAR_BACKOFF && limit == 77);              \
        CHECK(P##_SetRetryPolicy(h, (IOTHUB_CLIENT_RETRY_POLICY)7, 0) == FAILED);        \
        CHECK(P##_GetLastMessageReceiveTime(h, NULL) == INVALID);                        \
        CHECK(P##_GetLastMessageReceiveTime(h, &at) == IOTHUB_CLIENT_INDEFINITE_TIME);   \
        CHECK(P##_SetMessageCallback(h, NULL, NULL) == FAILED);                          \
        CHECK(P##_SetMessageCallback(h, message_came, NULL) == OK);                      \
        CHECK(P##_SetMessageCallback(h, NULL, NULL) == OK);                              \
        CHECK(P##_SendMessageDisposition(h, NULL, IOTHUBMESSAGE_ACCEPTED) == INVALID);   \
        CHECK(P##_SendMessageDisposition(h, m, IOTHUBMESSAGE_ASYNC_ACK) == INVALID);     \
        CHECK(P##_SendMessageDisposition(h, IoTHubMessage_Clone(m), IOTHUBMESSAGE_ACCEPTED) == FAILED); \
        CHECK(P##_SendReportedState(h, NULL, 1, NULL, NULL) == INVALID);                 \
        CHECK(P##_SendReportedState(h, json, 0, NULL, NULL) == INVALID);                 \
        CHECK(P##_SendReportedState(h, json, sizeof json - 1, reported, &pending) == OK);\
        CHECK(P##_SendPropertiesAsync(h, json, sizeof json - 1, reported, &pending) == OK); \
        CHECK(P##_GetTwinAsync(h, NULL, NULL) == INVALID);                               \
        CHECK(P##_GetTwinAsync(h, twin_came, &pending) == OK);                           \
        CHECK(P##_GetPropertiesAsync(h, NULL, NULL) == INVALID);                         \
        CHECK(P##_GetPropertiesAsync(h, properties_came, &pending) == OK);               \
        CHECK(P##_GetPropertiesAndSubscribeToUpdatesAsync(h, properties_came, NULL) == OK); \
        CHECK(P##_GetPropertiesAndSubscribeToUpdatesAsync(h, NULL, NULL) == OK);         \
        CHECK(P##_SubscribeToCommands(h, NULL, NULL) == FAILED);                         \
        CHECK(P##_SubscribeToCommands(h, command_called, NULL) == OK);                   \
        CHECK(P##_SubscribeToCommands(h, NULL, NULL) == OK);                             \
    } while (0)

#define PENDING 6

/* Methods exclude commands, and the other way round. */
#define METHODS(P, Set, h)                                                               \
    do {                                                                                 \
        CHECK(P##_##Set(h, NULL, NULL) == FAILED);                                       \
        CHECK(P##_##Set(h, method_called, NULL) == OK);                                  \
        CHECK(P##_SubscribeToCommands(h, command_called, NULL) == FAILED);               \
        CHECK(P##_##Set(h, NULL, NULL) == OK);                                           \
        CHECK(P##_SubscribeToCommands(h, command_called, NULL) == OK);                   \
        CHECK(P##_##Set(h, method_called, NULL) == FAILED);                              \
        CHECK(P##_SubscribeToCommands(h, NULL, NULL) == OK);                             \
    } while (0)

#define INPUTS(P, h)                                                                     \
    do {                                                                                 \
        CHECK(P##_SetInputMessageCallback(h, "i", NULL, NULL) == FAILED);                \
        CHECK(P##_SetInputMessageCallback(h, "i", message_came, NULL) == OK);            \
        CHECK(P##_SetInputMessageCallback(h, "i", message_came, NULL) == OK);            \
        CHECK(P##_SetInputMessageCallback(h, NULL, message_came, NULL) == OK);           \
        CHECK(P##_SetInputMessageCallback(h, "i", NULL, NULL) == OK);                    \
        CHECK(P##_SetInputMessageCallback(h, NULL, NULL, NULL) == OK);                   \
        CHECK(P##_SendEventToOutputAsync(h, m, NULL, NULL, NULL) == INVALID);            \
        CHECK(P##_SendEventToOutputAsync(h, NULL, "o", NULL, NULL) == INVALID);          \
        CHECK(P##_SendEventToOutputAsync(h, m, "o", NULL, NULL) == OK);                  \
        CHECK(strcmp(IoTHubMessage_GetOutputName(m), "o") == 0);                         \
        CHECK(P##_CreateFromEnvironment(NULL) == NULL);                                  \
    } while (0)

#define OPTIONS(P, h, threaded)                                                          \
    do {                                                                                 \
        bool on = true;                                                                  \
        int zero = 0, keep_alive = 30, many = 1 << 20;                                   \
        unsigned int one = 1, percent = 101;                                             \
        size_t lifetime = 4, hour = 3600;                                                \
        tickcounter_ms_t off = 0, ten = 10, minute = 60000, long_time = 101;             \
        HTTP_PROXY_OPTIONS proxy = {"proxy.example", 3128, NULL, NULL};                  \
        HTTP_PROXY_OPTIONS nobody = {NULL, 3128, NULL, NULL};                            \
        HTTP_PROXY_OPTIONS half = {"proxy.example", 3128, "user", NULL};                 \
        CHECK(P##_SetOption(h, NULL, &on) == INVALID);                                   \
        CHECK(P##_SetOption(h, OPTION_LOG_TRACE, NULL) == INVALID);                      \
        CHECK(P##_SetOption(h, "no such option", &on) == INVALID);                       \
        CHECK(P##_SetOption(h, OPTION_BATCHING, &on) == INVALID);                        \
        CHECK(P##_SetOption(h, OPTION_AUTO_URL_ENCODE_DECODE, &on) == OK);               \
        CHECK(P##_SetOption(h, OPTION_CURL_VERBOSE, &on) == OK);                         \
        CHECK(P##_SetOption(h, OPTION_KEEP_ALIVE, &keep_alive) == OK);                   \
        CHECK(P##_SetOption(h, OPTION_KEEP_ALIVE, &many) == INVALID);                    \
        CHECK(P##_SetOption(h, OPTION_CONNECTION_TIMEOUT, &keep_alive) == OK);           \
        CHECK(P##_SetOption(h, OPTION_CONNECTION_TIMEOUT, &zero) == INVALID);            \
        CHECK(P##_SetOption(h, OPTION_RETRY_INTERVAL_SEC, &one) == OK);                  \
        CHECK(P##_SetOption(h, OPTION_RETRY_INTERVAL_SEC, &zero) == INVALID);            \
        CHECK(P##_SetOption(h, OPTION_RETRY_MAX_DELAY_SECS, &one) == OK);                \
        CHECK(P##_SetOption(h, OPTION_SAS_TOKEN_LIFETIME, &lifetime) == FAILED);         \
        CHECK(P##_SetOption(h, OPTION_SAS_TOKEN_LIFETIME, &hour) == OK);                 \
        CHECK(P##_SetOption(h, OPTION_SAS_TOKEN_REFRESH_TIME, &hour) == OK);             \
        CHECK(P##_SetOption(h, OPTION_PRODUCT_INFO, "widget") == OK);                    \
        CHECK(P##_SetOption(h, OPTION_PRODUCT_INFO, "gadget") == OK);                    \
        CHECK(P##_SetOption(h, OPTION_MODEL_ID, "dtmi:example:widget;1") == OK);         \
        CHECK(P##_SetOption(h, OPTION_MODEL_ID, "dtmi:example:widget;2") == FAILED);     \
        CHECK(P##_SetOption(h, OPTION_X509_CERT, "PEM") == INVALID);                     \
        CHECK(P##_SetOption(h, OPTION_TRUSTED_CERT, "not PEM") == INVALID);              \
        CHECK(P##_SetOption(h, OPTION_DIAGNOSTIC_SAMPLING_PERCENTAGE, &percent) == FAILED); \
        CHECK(P##_SetOption(h, OPTION_DIAGNOSTIC_SAMPLING_PERCENTAGE, &one) == OK);      \
        CHECK(P##_SetOption(h, OPTION_HTTP_PROXY, &nobody) == INVALID);                  \
        CHECK(P##_SetOption(h, OPTION_HTTP_PROXY, &half) == INVALID);                    \
        CHECK(P##_SetOption(h, OPTION_HTTP_PROXY, &proxy) == OK);                        \
        CHECK(P##_SetOption(h, OPTION_MESSAGE_TIMEOUT, &minute) == OK);                  \
        CHECK(P##_SetOption(h, OPTION_MESSAGE_TIMEOUT, &off) == OK);                     \
        CHECK(P##_SetOption(h, OPTION_DO_WORK_FREQUENCY_IN_MS, &off) == INVALID);        \
        CHECK(P##_SetOption(h, OPTION_DO_WORK_FREQUENCY_IN_MS, &long_time) == INVALID);  \
        CHECK(P##_SetOption(h, OPTION_DO_WORK_FREQUENCY_IN_MS, &ten) == (threaded ? OK : INVALID)); \
        if (threaded) {                                                                  \
            CHECK(P##_SetOption(h, OPTION_MESSAGE_TIMEOUT, &ten) == INVALID);            \
        }                                                                                \
        on = false;                                                                      \
        CHECK(P##_SetOption(h, OPTION_LOG_TRACE, &on) == OK);                            \
    } while (0)

/* A whole life: arguments, options, and what Destroy answers. */
#define LIFE(P, H, string, threaded, more)                                               \
    do {                                                                                 \
        int pending = 0;                                                                 \
        H h = P##_CreateFromConnectionString(string, MQTT_Protocol);                     \
        CHECK(h != NULL);                                                                \
        OPTIONS(P, h, threaded);                                                         \
        ALIVE(P, h, pending);                                                            \
        more;                                                                            \
        P##_Destroy(h);                                                                  \
        CHECK(pending == PENDING);                                                       \
        DEAD(P, h);                                                                      \
        CHECK(pending == PENDING);                                                       \
    } while (0)

static void configurations(void)
{
    IOTHUB_CLIENT_CONFIG c;
    memset(&c, 0, sizeof c);
    CHECK(IoTHubDeviceClient_LL_Create(NULL) == NULL);
    CHECK(IoTHubDeviceClient_LL_Create(&c) == NULL);
    c.protocol = MQTT_Protocol;
    c.deviceId = "dev1";
    c.iotHubName = "hub";
    c.iotHubSuffix = "example";
    IOTHUB_DEVICE_CLIENT_LL_HANDLE h = IoTHubDeviceClient_LL_Create(&c); /* a certificate */
    CHECK(h != NULL);
    CHECK(IoTHubDeviceClient_LL_SetOption(h, OPTION_X509_CERT, "half of a pair") == OK);
    IoTHubDeviceClient_LL_Destroy(h);
    c.deviceKey = "c2VjcmV0";
    h = IoTHubDeviceClient_LL_Create(&c);
    CHECK(h != NULL);
    IoTHubDeviceClient_LL_Destroy(h);
    IOTHUB_DEVICE_CLIENT_HANDLE t = IoTHubDeviceClient_Create(&c);
    CHECK(t != NULL);
    IoTHubDeviceClient_Destroy(t);
    c.deviceSasToken = "SharedAccessSignature sr=a&sig=b&se=1";
    CHECK(IoTHubDeviceClient_LL_Create(&c) == NULL);
    c.deviceSasToken = NULL;
    c.deviceKey = "x;GatewayHostName=evil";
    CHECK(IoTHubDeviceClient_LL_Create(&c) == NULL);
    CHECK(IoTHubTransport_Create(MQTT_Protocol, "hub", "example") == NULL);
    CHECK(IoTHubTransport_GetLLTransport(NULL) == NULL);
    IoTHubTransport_Destroy(NULL);
    CHECK(IoTHubDeviceClient_LL_CreateWithTransport(NULL) == NULL);
    CHECK(IoTHubDeviceClient_CreateWithTransport(NULL, &c) == NULL);
    CHECK(IoTHubDeviceClient_LL_CreateFromDeviceAuth(NULL, NULL, MQTT_Protocol) == NULL);
}

int main(void)
{
    CHECK(IoTHub_Init() == 0);
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString("hello");
    DEAD_DEVICE(IoTHubDeviceClient_LL, NULL);
    DEAD_DEVICE(IoTHubDeviceClient, NULL);
    DEAD_MODULE(IoTHubModuleClient_LL, NULL);
    DEAD_MODULE(IoTHubModuleClient, NULL);
    /* A message is no client, and neither is an address. */
    DEAD_DEVICE(IoTHubDeviceClient_LL, (IOTHUB_DEVICE_CLIENT_LL_HANDLE)(void *)m);
    DEAD_MODULE(IoTHubModuleClient, (IOTHUB_MODULE_CLIENT_HANDLE)(void *)&m);
    IoTHubDeviceClient_LL_DoWork(NULL);
    IoTHubModuleClient_LL_DoWork((IOTHUB_MODULE_CLIENT_LL_HANDLE)(void *)m);
    UNBORN(IoTHubDeviceClient_LL);
    UNBORN(IoTHubDeviceClient);
    UNBORN(IoTHubModuleClient_LL);
    UNBORN(IoTHubModuleClient);
    configurations();
    LIFE(IoTHubDeviceClient_LL, IOTHUB_DEVICE_CLIENT_LL_HANDLE, DEVICE_STRING, false, METHODS(IoTHubDeviceClient_LL, SetDeviceMethodCallback, h));
    LIFE(IoTHubDeviceClient, IOTHUB_DEVICE_CLIENT_HANDLE, DEVICE_STRING, true, METHODS(IoTHubDeviceClient, SetDeviceMethodCallback, h));
    LIFE(IoTHubModuleClient_LL, IOTHUB_MODULE_CLIENT_LL_HANDLE, MODULE_STRING, false, METHODS(IoTHubModuleClient_LL, SetModuleMethodCallback, h); INPUTS(IoTHubModuleClient_LL, h));
    LIFE(IoTHubModuleClient, IOTHUB_MODULE_CLIENT_HANDLE, MODULE_STRING, true, METHODS(IoTHubModuleClient, SetModuleMethodCallback, h); INPUTS(IoTHubModuleClient, h));
    IoTHubMessage_Destroy(m);
    IoTHubMessage_Destroy(m);
    CHECK(IoTHubClient_GetVersionString() != NULL);
    return result();
}
