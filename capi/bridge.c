#include "bridge.h"

#include "azure_c_shared_utility/xlogging.h"
#include "azure_prov_client/prov_device_ll_client.h"
#include "iothub_client_core_common.h"

void capi_call_confirmations(const capi_confirmation *confirmations, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        IOTHUB_CLIENT_EVENT_CONFIRMATION_CALLBACK f = (IOTHUB_CLIENT_EVENT_CONFIRMATION_CALLBACK)confirmations[i].callback;
        f((IOTHUB_CLIENT_CONFIRMATION_RESULT)confirmations[i].result, (void *)confirmations[i].context);
    }
}

void capi_call_status(uintptr_t callback, uintptr_t context, int status, int reason)
{
    IOTHUB_CLIENT_CONNECTION_STATUS_CALLBACK f = (IOTHUB_CLIENT_CONNECTION_STATUS_CALLBACK)callback;
    f((IOTHUB_CLIENT_CONNECTION_STATUS)status, (IOTHUB_CLIENT_CONNECTION_STATUS_REASON)reason, (void *)context);
}

int capi_call_message(uintptr_t callback, uintptr_t context, uintptr_t message)
{
    IOTHUB_CLIENT_MESSAGE_CALLBACK_ASYNC f = (IOTHUB_CLIENT_MESSAGE_CALLBACK_ASYNC)callback;
    return (int)f((IOTHUB_MESSAGE_HANDLE)message, (void *)context);
}

/* The two kinds of callback differ in the name of an enumeration only. */
void capi_call_twin(uintptr_t callback, uintptr_t context, int state, const unsigned char *payload, size_t size)
{
    IOTHUB_CLIENT_DEVICE_TWIN_CALLBACK f = (IOTHUB_CLIENT_DEVICE_TWIN_CALLBACK)callback;
    f((DEVICE_TWIN_UPDATE_STATE)state, payload, size, (void *)context);
}

void capi_call_reported(uintptr_t callback, uintptr_t context, int status)
{
    ((IOTHUB_CLIENT_REPORTED_STATE_CALLBACK)callback)(status, (void *)context);
}

int capi_call_method(uintptr_t callback, uintptr_t context, const char *name, const unsigned char *payload, size_t size, unsigned char **response, size_t *response_size)
{
    IOTHUB_CLIENT_DEVICE_METHOD_CALLBACK_ASYNC f = (IOTHUB_CLIENT_DEVICE_METHOD_CALLBACK_ASYNC)callback;
    return f(name, payload, size, response, response_size, (void *)context);
}

void capi_call_inbound(uintptr_t callback, uintptr_t context, const char *name, const unsigned char *payload, size_t size, uintptr_t method)
{
    IOTHUB_CLIENT_INBOUND_DEVICE_METHOD_CALLBACK f = (IOTHUB_CLIENT_INBOUND_DEVICE_METHOD_CALLBACK)callback;
    (void)f(name, payload, size, (METHOD_HANDLE)method, (void *)context);
}

int capi_call_command(uintptr_t callback, uintptr_t context, const char *component, const char *name, const unsigned char *payload, size_t size, unsigned char **response, size_t *response_size)
{
    IOTHUB_CLIENT_COMMAND_REQUEST q = {
        .structVersion = IOTHUB_CLIENT_COMMAND_REQUEST_STRUCT_VERSION_1,
        .componentName = component,
        .commandName = name,
        .payload = payload,
        .payloadLength = size,
    };
    IOTHUB_CLIENT_COMMAND_RESPONSE r = {
        .structVersion = IOTHUB_CLIENT_COMMAND_RESPONSE_STRUCT_VERSION_1,
        .statusCode = 500,
    };
    ((IOTHUB_CLIENT_COMMAND_CALLBACK_ASYNC)callback)(&q, &r, (void *)context);
    *response = r.payload;
    *response_size = r.payloadLength;
    return r.statusCode;
}

void capi_call_invoked(uintptr_t callback, uintptr_t context, int result, int status, unsigned char *payload, size_t size)
{
    ((IOTHUB_METHOD_INVOKE_CALLBACK)callback)((IOTHUB_CLIENT_RESULT)result, status, payload, size, (void *)context);
}

void capi_call_uploaded(uintptr_t callback, uintptr_t context, int result)
{
    ((IOTHUB_CLIENT_FILE_UPLOAD_CALLBACK)callback)((IOTHUB_CLIENT_FILE_UPLOAD_RESULT)result, (void *)context);
}

void capi_call_registered(uintptr_t callback, uintptr_t context, int result, const char *hub, const char *device)
{
    ((PROV_DEVICE_CLIENT_REGISTER_DEVICE_CALLBACK)callback)((PROV_DEVICE_RESULT)result, hub, device, (void *)context);
}

void capi_call_registering(uintptr_t callback, uintptr_t context, int status)
{
    ((PROV_DEVICE_CLIENT_REGISTER_STATUS_CALLBACK)callback)((PROV_DEVICE_REG_STATUS)status, (void *)context);
}

/* Calls a function that provides blocks, of either kind. */
static bool get_data(uintptr_t callback, uintptr_t context, bool can_abort, int result, const unsigned char **block, size_t *size)
{
    if (can_abort) {
        IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_CALLBACK_EX f = (IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_CALLBACK_EX)callback;
        return f((IOTHUB_CLIENT_FILE_UPLOAD_RESULT)result, block, size, (void *)context) != IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_OK;
    }
    ((IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_CALLBACK)callback)((IOTHUB_CLIENT_FILE_UPLOAD_RESULT)result, block, size, (void *)context);
    return false;
}

bool capi_call_block(uintptr_t callback, uintptr_t context, bool can_abort, unsigned char **block, size_t *size)
{
    const unsigned char *data = NULL;
    bool abort = get_data(callback, context, can_abort, FILE_UPLOAD_OK, &data, size);
    *block = (unsigned char *)data;
    return abort;
}

void capi_call_blocks_end(uintptr_t callback, uintptr_t context, bool can_abort, int result)
{
    (void)get_data(callback, context, can_abort, result, NULL, NULL);
}

int capi_call_filter(uintptr_t callback, const char *key, const char *value)
{
    return ((MAP_FILTER_CALLBACK)callback)(key, value);
}

uintptr_t capi_thread(void)
{
    static _Thread_local char here;
    return (uintptr_t)&here;
}

#ifdef _WIN32
bool capi_environment_is_apart(void)
{
    return false;
}

const char *capi_environment(size_t i)
{
    (void)i;
    return NULL;
}
#else
#ifdef __APPLE__
#include <crt_externs.h>
#define environ (*_NSGetEnviron()) /* a library has no other way to it */
#else
extern char **environ;
#endif

bool capi_environment_is_apart(void)
{
    return true;
}

const char *capi_environment(size_t i)
{
    return environ == NULL ? NULL : environ[i];
}
#endif

void capi_log(int category, const char *text)
{
    LOGGER_LOG f = xlogging_get_log_function();
    if (f != NULL) {
        f(category == 0 ? AZ_LOG_ERROR : AZ_LOG_INFO, "libiothub_client", "", 0, LOG_LINE, "%s", text);
    }
}
