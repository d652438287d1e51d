/* The functions of the four kinds of client. What they have in common is written
   once, as macros: P is the prefix of the functions, H the type of the handle, K
   its kind. */
#include "_cgo_export.h"
#include "protocol.h"

#include "iothub_device_client.h"
#include "iothub_device_client_ll.h"
#include "iothub_module_client.h"
#include "iothub_module_client_ll.h"

#define N(x) ((uintptr_t)(x))
#define RESULT(x) ((IOTHUB_CLIENT_RESULT)(x))

#define COMMON(P, H, K)                                                                                                                    \
    H P##_CreateFromConnectionString(const char *connectionString, IOTHUB_CLIENT_TRANSPORT_PROVIDER protocol)                              \
    {                                                                                                                                      \
        return (H)capiCreate(K, (char *)connectionString, capi_protocol(protocol));                                                        \
    }                                                                                                                                      \
    void P##_Destroy(H h)                                                                                                                  \
    {                                                                                                                                      \
        capiDestroy(K, N(h));                                                                                                              \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SendEventAsync(H h, IOTHUB_MESSAGE_HANDLE m, IOTHUB_CLIENT_EVENT_CONFIRMATION_CALLBACK f, void *context)      \
    {                                                                                                                                      \
        return RESULT(capiSend(K, N(h), N(m), NULL, N(f), N(context)));                                                                    \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SendTelemetryAsync(H h, IOTHUB_MESSAGE_HANDLE m, IOTHUB_CLIENT_TELEMETRY_CALLBACK f, void *context)           \
    {                                                                                                                                      \
        return RESULT(capiSend(K, N(h), N(m), NULL, N(f), N(context)));                                                                    \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_GetSendStatus(H h, IOTHUB_CLIENT_STATUS *status)                                                              \
    {                                                                                                                                      \
        int value = 0, result = capiSendStatus(K, N(h), status == NULL ? NULL : &value);                                                   \
        if (result == IOTHUB_CLIENT_OK) {                                                                                                  \
            *status = (IOTHUB_CLIENT_STATUS)value;                                                                                         \
        }                                                                                                                                  \
        return RESULT(result);                                                                                                             \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SendMessageDisposition(H h, IOTHUB_MESSAGE_HANDLE m, IOTHUBMESSAGE_DISPOSITION_RESULT disposition)            \
    {                                                                                                                                      \
        return RESULT(capiDispose(K, N(h), N(m), (int)disposition));                                                                       \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SetConnectionStatusCallback(H h, IOTHUB_CLIENT_CONNECTION_STATUS_CALLBACK f, void *context)                   \
    {                                                                                                                                      \
        return RESULT(capiSetStatusCallback(K, N(h), N(f), N(context)));                                                                   \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SetRetryPolicy(H h, IOTHUB_CLIENT_RETRY_POLICY policy, size_t limit)                                          \
    {                                                                                                                                      \
        return RESULT(capiSetRetryPolicy(K, N(h), (int)policy, limit));                                                                    \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_GetRetryPolicy(H h, IOTHUB_CLIENT_RETRY_POLICY *policy, size_t *limit)                                        \
    {                                                                                                                                      \
        int value = 0, result = capiGetRetryPolicy(K, N(h), policy == NULL ? NULL : &value, limit);                                        \
        if (result == IOTHUB_CLIENT_OK) {                                                                                                  \
            *policy = (IOTHUB_CLIENT_RETRY_POLICY)value;                                                                                   \
        }                                                                                                                                  \
        return RESULT(result);                                                                                                             \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_GetLastMessageReceiveTime(H h, time_t *time)                                                                  \
    {                                                                                                                                      \
        int64_t value = 0;                                                                                                                 \
        int result = capiLastReceived(K, N(h), time == NULL ? NULL : &value);                                                              \
        if (result == IOTHUB_CLIENT_OK) {                                                                                                  \
            *time = (time_t)value;                                                                                                         \
        }                                                                                                                                  \
        return RESULT(result);                                                                                                             \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SetOption(H h, const char *name, const void *value)                                                           \
    {                                                                                                                                      \
        return RESULT(capiSetOption(K, N(h), (char *)name, (void *)value));                                                                \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SendReportedState(H h, const unsigned char *state, size_t size, IOTHUB_CLIENT_REPORTED_STATE_CALLBACK f, void *context) \
    {                                                                                                                                      \
        return RESULT(capiReport(K, N(h), (unsigned char *)state, size, N(f), N(context)));                                                \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SendPropertiesAsync(H h, const unsigned char *properties, size_t size, IOTHUB_CLIENT_PROPERTY_ACKNOWLEDGED_CALLBACK f, void *context) \
    {                                                                                                                                      \
        return RESULT(capiReport(K, N(h), (unsigned char *)properties, size, N(f), N(context)));                                           \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_GetTwinAsync(H h, IOTHUB_CLIENT_DEVICE_TWIN_CALLBACK f, void *context)                                        \
    {                                                                                                                                      \
        return RESULT(capiGetTwin(K, N(h), false, N(f), N(context)));                                                                      \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_GetPropertiesAsync(H h, IOTHUB_CLIENT_PROPERTIES_RECEIVED_CALLBACK f, void *context)                          \
    {                                                                                                                                      \
        return RESULT(capiGetTwin(K, N(h), true, N(f), N(context)));                                                                       \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_GetPropertiesAndSubscribeToUpdatesAsync(H h, IOTHUB_CLIENT_PROPERTIES_RECEIVED_CALLBACK f, void *context)     \
    {                                                                                                                                      \
        return RESULT(capiFollowTwin(K, N(h), true, N(f), N(context)));                                                                    \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SubscribeToCommands(H h, IOTHUB_CLIENT_COMMAND_CALLBACK_ASYNC f, void *context)                               \
    {                                                                                                                                      \
        return RESULT(capiSetMethodCallback(K, N(h), CAPI_COMMAND, N(f), N(context)));                                                     \
    }

#define DEVICE(P, H, K)                                                                                                                    \
    COMMON(P, H, K)                                                                                                                        \
    H P##_Create(const IOTHUB_CLIENT_CONFIG *config)                                                                                       \
    {                                                                                                                                      \
        return (H)create(K, config);                                                                                                       \
    }                                                                                                                                      \
    H P##_CreateFromDeviceAuth(const char *uri, const char *device, IOTHUB_CLIENT_TRANSPORT_PROVIDER protocol)                             \
    {                                                                                                                                      \
        return (H)capiCreateFromDeviceAuth(K, (char *)uri, (char *)device, capi_protocol(protocol));                                       \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SetMessageCallback(H h, IOTHUB_CLIENT_MESSAGE_CALLBACK_ASYNC f, void *context)                                \
    {                                                                                                                                      \
        return RESULT(capiSetMessageCallback(K, N(h), N(f), N(context)));                                                                  \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SetDeviceTwinCallback(H h, IOTHUB_CLIENT_DEVICE_TWIN_CALLBACK f, void *context)                               \
    {                                                                                                                                      \
        return RESULT(capiFollowTwin(K, N(h), false, N(f), N(context)));                                                                   \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SetDeviceMethodCallback(H h, IOTHUB_CLIENT_DEVICE_METHOD_CALLBACK_ASYNC f, void *context)                     \
    {                                                                                                                                      \
        return RESULT(capiSetMethodCallback(K, N(h), CAPI_METHOD_NOW, N(f), N(context)));                                                  \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_DeviceMethodResponse(H h, METHOD_HANDLE method, const unsigned char *response, size_t size, int status)       \
    {                                                                                                                                      \
        return RESULT(capiRespond(K, N(h), N(method), (unsigned char *)response, size, status));                                           \
    }

#define MODULE(P, H, K)                                                                                                                    \
    COMMON(P, H, K)                                                                                                                        \
    H P##_CreateFromEnvironment(IOTHUB_CLIENT_TRANSPORT_PROVIDER protocol)                                                                 \
    {                                                                                                                                      \
        return (H)capiCreateFromEnvironment(K, capi_protocol(protocol));                                                                   \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SendEventToOutputAsync(H h, IOTHUB_MESSAGE_HANDLE m, const char *output, IOTHUB_CLIENT_EVENT_CONFIRMATION_CALLBACK f, void *context) \
    {                                                                                                                                      \
        return output == NULL ? capi_null("SendEventToOutputAsync: outputName")                                                            \
                              : RESULT(capiSend(K, N(h), N(m), (char *)output, N(f), N(context)));                                         \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SetMessageCallback(H h, IOTHUB_CLIENT_MESSAGE_CALLBACK_ASYNC f, void *context)                                \
    {                                                                                                                                      \
        return RESULT(capiSetInputCallback(K, N(h), NULL, N(f), N(context)));                                                              \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SetInputMessageCallback(H h, const char *input, IOTHUB_CLIENT_MESSAGE_CALLBACK_ASYNC f, void *context)        \
    {                                                                                                                                      \
        return RESULT(capiSetInputCallback(K, N(h), (char *)input, N(f), N(context)));                                                     \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SetModuleTwinCallback(H h, IOTHUB_CLIENT_DEVICE_TWIN_CALLBACK f, void *context)                               \
    {                                                                                                                                      \
        return RESULT(capiFollowTwin(K, N(h), false, N(f), N(context)));                                                                   \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_SetModuleMethodCallback(H h, IOTHUB_CLIENT_DEVICE_METHOD_CALLBACK_ASYNC f, void *context)                     \
    {                                                                                                                                      \
        return RESULT(capiSetMethodCallback(K, N(h), CAPI_METHOD_NOW, N(f), N(context)));                                                  \
    }

static IOTHUB_CLIENT_RESULT capi_null(const char *what)
{
    capiLogNull((char *)what);
    return IOTHUB_CLIENT_INVALID_ARG;
}

static uintptr_t create(int kind, const IOTHUB_CLIENT_CONFIG *c)
{
    if (c == NULL) {
        (void)capi_null("Create: config");
        return 0;
    }
    return capiCreateFromParts(kind, (char *)c->iotHubName, (char *)c->iotHubSuffix, (char *)c->deviceId, (char *)c->deviceKey,
                               (char *)c->deviceSasToken, (char *)c->protocolGatewayHostName, capi_protocol(c->protocol));
}

DEVICE(IoTHubDeviceClient_LL, IOTHUB_DEVICE_CLIENT_LL_HANDLE, CAPI_DEVICE_LL)
DEVICE(IoTHubDeviceClient, IOTHUB_DEVICE_CLIENT_HANDLE, CAPI_DEVICE)
MODULE(IoTHubModuleClient_LL, IOTHUB_MODULE_CLIENT_LL_HANDLE, CAPI_MODULE_LL)
MODULE(IoTHubModuleClient, IOTHUB_MODULE_CLIENT_HANDLE, CAPI_MODULE)

void IoTHubDeviceClient_LL_DoWork(IOTHUB_DEVICE_CLIENT_LL_HANDLE h)
{
    capiDoWork(CAPI_DEVICE_LL, N(h));
}

void IoTHubModuleClient_LL_DoWork(IOTHUB_MODULE_CLIENT_LL_HANDLE h)
{
    capiDoWork(CAPI_MODULE_LL, N(h));
}

IOTHUB_DEVICE_CLIENT_LL_HANDLE IoTHubDeviceClient_LL_CreateWithTransport(const IOTHUB_CLIENT_DEVICE_CONFIG *config)
{
    (void)config;
    (void)capi_null("CreateWithTransport: a shared connection");
    return NULL;
}

IOTHUB_DEVICE_CLIENT_HANDLE IoTHubDeviceClient_CreateWithTransport(TRANSPORT_HANDLE transport, const IOTHUB_CLIENT_CONFIG *config)
{
    (void)transport, (void)config;
    (void)capi_null("CreateWithTransport: a shared connection");
    return NULL;
}

IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_DeviceMethodInvoke(IOTHUB_MODULE_CLIENT_LL_HANDLE h, const char *device, const char *method, const char *payload, unsigned int timeout, int *status, unsigned char **response, size_t *size)
{
    return RESULT(capiInvoke(CAPI_MODULE_LL, N(h), (char *)device, (char *)"", (char *)method, (char *)payload, timeout, status, response, size));
}

IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_ModuleMethodInvoke(IOTHUB_MODULE_CLIENT_LL_HANDLE h, const char *device, const char *module, const char *method, const char *payload, unsigned int timeout, int *status, unsigned char **response, size_t *size)
{
    return RESULT(capiInvoke(CAPI_MODULE_LL, N(h), (char *)device, (char *)module, (char *)method, (char *)payload, timeout, status, response, size));
}

IOTHUB_CLIENT_RESULT IoTHubModuleClient_DeviceMethodInvokeAsync(IOTHUB_MODULE_CLIENT_HANDLE h, const char *device, const char *method, const char *payload, unsigned int timeout, IOTHUB_METHOD_INVOKE_CALLBACK f, void *context)
{
    return RESULT(capiInvokeAsync(CAPI_MODULE, N(h), (char *)device, (char *)"", (char *)method, (char *)payload, timeout, N(f), N(context)));
}

IOTHUB_CLIENT_RESULT IoTHubModuleClient_ModuleMethodInvokeAsync(IOTHUB_MODULE_CLIENT_HANDLE h, const char *device, const char *module, const char *method, const char *payload, unsigned int timeout, IOTHUB_METHOD_INVOKE_CALLBACK f, void *context)
{
    return RESULT(capiInvokeAsync(CAPI_MODULE, N(h), (char *)device, (char *)module, (char *)method, (char *)payload, timeout, N(f), N(context)));
}
