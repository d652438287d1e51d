/* Messages and maps. */
#include "_cgo_export.h"

#include "azure_c_shared_utility/map.h"
#include "iothub_message.h"

#define N(x) ((uintptr_t)(x))

IOTHUB_MESSAGE_HANDLE IoTHubMessage_CreateFromByteArray(const unsigned char *byteArray, size_t size)
{
    return (IOTHUB_MESSAGE_HANDLE)capiMessageNew((unsigned char *)byteArray, size);
}

IOTHUB_MESSAGE_HANDLE IoTHubMessage_CreateFromString(const char *source)
{
    return (IOTHUB_MESSAGE_HANDLE)capiMessageNewString((char *)source);
}

IOTHUB_MESSAGE_HANDLE IoTHubMessage_Clone(IOTHUB_MESSAGE_HANDLE m)
{
    return (IOTHUB_MESSAGE_HANDLE)capiMessageClone(N(m));
}

void IoTHubMessage_Destroy(IOTHUB_MESSAGE_HANDLE m)
{
    capiMessageDestroy(N(m));
}

IOTHUB_MESSAGE_RESULT IoTHubMessage_GetByteArray(IOTHUB_MESSAGE_HANDLE m, const unsigned char **buffer, size_t *size)
{
    return (IOTHUB_MESSAGE_RESULT)capiMessageBytes(N(m), (unsigned char **)buffer, size);
}

const char *IoTHubMessage_GetString(IOTHUB_MESSAGE_HANDLE m)
{
    return capiMessageString(N(m));
}

IOTHUBMESSAGE_CONTENT_TYPE IoTHubMessage_GetContentType(IOTHUB_MESSAGE_HANDLE m)
{
    return (IOTHUBMESSAGE_CONTENT_TYPE)capiMessageType(N(m));
}

#define TEXT(name, field)                                                                      \
    IOTHUB_MESSAGE_RESULT IoTHubMessage_Set##name(IOTHUB_MESSAGE_HANDLE m, const char *value)  \
    {                                                                                          \
        return (IOTHUB_MESSAGE_RESULT)capiMessageSetText(N(m), field, (char *)value);          \
    }                                                                                          \
    const char *IoTHubMessage_Get##name(IOTHUB_MESSAGE_HANDLE m)                               \
    {                                                                                          \
        return capiMessageText(N(m), field);                                                   \
    }

TEXT(ContentTypeSystemProperty, CAPI_CONTENT_TYPE)
TEXT(ContentEncodingSystemProperty, CAPI_CONTENT_ENCODING)
TEXT(MessageId, CAPI_MESSAGE_ID)
TEXT(CorrelationId, CAPI_CORRELATION_ID)
TEXT(OutputName, CAPI_OUTPUT_NAME)
TEXT(InputName, CAPI_INPUT_NAME)
TEXT(ConnectionModuleId, CAPI_CONNECTION_MODULE_ID)
TEXT(ConnectionDeviceId, CAPI_CONNECTION_DEVICE_ID)
TEXT(MessageCreationTimeUtcSystemProperty, CAPI_CREATION_TIME)
TEXT(MessageUserIdSystemProperty, CAPI_USER_ID)
TEXT(ComponentName, CAPI_COMPONENT_NAME)

MAP_HANDLE IoTHubMessage_Properties(IOTHUB_MESSAGE_HANDLE m)
{
    return (MAP_HANDLE)capiMessageProperties(N(m));
}

IOTHUB_MESSAGE_RESULT IoTHubMessage_SetProperty(IOTHUB_MESSAGE_HANDLE m, const char *key, const char *value)
{
    return (IOTHUB_MESSAGE_RESULT)capiMessageSetProperty(N(m), (char *)key, (char *)value);
}

const char *IoTHubMessage_GetProperty(IOTHUB_MESSAGE_HANDLE m, const char *key)
{
    return capiMessageProperty(N(m), (char *)key);
}

IOTHUB_MESSAGE_RESULT IoTHubMessage_SetDiagnosticPropertyData(IOTHUB_MESSAGE_HANDLE m, const IOTHUB_MESSAGE_DIAGNOSTIC_PROPERTY_DATA *data)
{
    return (IOTHUB_MESSAGE_RESULT)capiMessageSetDiagnostics(N(m), data == NULL ? NULL : data->diagnosticId, data == NULL ? NULL : data->diagnosticCreationTimeUtc);
}

const IOTHUB_MESSAGE_DIAGNOSTIC_PROPERTY_DATA *IoTHubMessage_GetDiagnosticPropertyData(IOTHUB_MESSAGE_HANDLE m)
{
    return capiMessageDiagnostics(N(m));
}

IOTHUB_MESSAGE_RESULT IoTHubMessage_SetAsSecurityMessage(IOTHUB_MESSAGE_HANDLE m)
{
    return (IOTHUB_MESSAGE_RESULT)capiMessageSecure(N(m));
}

bool IoTHubMessage_IsSecurityMessage(IOTHUB_MESSAGE_HANDLE m)
{
    return capiMessageIsSecure(N(m)) != 0;
}

MAP_HANDLE Map_Create(MAP_FILTER_CALLBACK filter)
{
    return (MAP_HANDLE)capiMapNew(N(filter));
}

void Map_Destroy(MAP_HANDLE h)
{
    capiMapDestroy(N(h));
}

MAP_HANDLE Map_Clone(MAP_HANDLE h)
{
    return (MAP_HANDLE)capiMapClone(N(h));
}

MAP_RESULT Map_Add(MAP_HANDLE h, const char *key, const char *value)
{
    return (MAP_RESULT)capiMapSet(N(h), (char *)key, (char *)value, 0);
}

MAP_RESULT Map_AddOrUpdate(MAP_HANDLE h, const char *key, const char *value)
{
    return (MAP_RESULT)capiMapSet(N(h), (char *)key, (char *)value, 1);
}

MAP_RESULT Map_Delete(MAP_HANDLE h, const char *key)
{
    return (MAP_RESULT)capiMapDelete(N(h), (char *)key);
}

MAP_RESULT Map_ContainsKey(MAP_HANDLE h, const char *key, bool *keyExists)
{
    int found = 0, result = capiMapContains(N(h), (char *)key, 0, keyExists == NULL ? NULL : &found);
    if (result == MAP_OK) {
        *keyExists = found != 0;
    }
    return (MAP_RESULT)result;
}

MAP_RESULT Map_ContainsValue(MAP_HANDLE h, const char *value, bool *valueExists)
{
    int found = 0, result = capiMapContains(N(h), (char *)value, 1, valueExists == NULL ? NULL : &found);
    if (result == MAP_OK) {
        *valueExists = found != 0;
    }
    return (MAP_RESULT)result;
}

const char *Map_GetValueFromKey(MAP_HANDLE h, const char *key)
{
    return capiMapValue(N(h), (char *)key);
}

MAP_RESULT Map_GetInternals(MAP_HANDLE h, const char *const **keys, const char *const **values, size_t *count)
{
    return (MAP_RESULT)capiMapAll(N(h), (char ***)(uintptr_t)keys, (char ***)(uintptr_t)values, count);
}
