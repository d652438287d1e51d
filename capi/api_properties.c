/* Plug and Play properties. */
#include "_cgo_export.h"

#include "iothub_client_properties.h"

#include <string.h>

#define N(x) ((uintptr_t)(x))

IOTHUB_CLIENT_RESULT IoTHubClient_Properties_Serializer_CreateReported(const IOTHUB_CLIENT_PROPERTY_REPORTED *p, size_t n, const char *component, unsigned char **out, size_t *length)
{
    if (p == NULL || n == 0 || out == NULL || length == NULL) {
        return IOTHUB_CLIENT_INVALID_ARG;
    }
    capi_property *list = calloc(n, sizeof *list);
    if (list == NULL) {
        return IOTHUB_CLIENT_ERROR;
    }
    IOTHUB_CLIENT_RESULT result = IOTHUB_CLIENT_OK;
    for (size_t i = 0; i < n; i++) {
        if (p[i].structVersion != IOTHUB_CLIENT_PROPERTY_REPORTED_STRUCT_VERSION_1 || p[i].name == NULL || p[i].value == NULL) {
            result = IOTHUB_CLIENT_INVALID_ARG;
            break;
        }
        list[i] = (capi_property){.name = p[i].name, .value = p[i].value};
    }
    if (result == IOTHUB_CLIENT_OK) {
        result = (IOTHUB_CLIENT_RESULT)capiPropertiesWrite(list, n, 0, (char *)component, out, length);
    }
    free(list);
    return result;
}

IOTHUB_CLIENT_RESULT IoTHubClient_Properties_Serializer_CreateWritableResponse(const IOTHUB_CLIENT_PROPERTY_WRITABLE_RESPONSE *p, size_t n, const char *component, unsigned char **out, size_t *length)
{
    if (p == NULL || n == 0 || out == NULL || length == NULL) {
        return IOTHUB_CLIENT_INVALID_ARG;
    }
    capi_property *list = calloc(n, sizeof *list);
    if (list == NULL) {
        return IOTHUB_CLIENT_ERROR;
    }
    IOTHUB_CLIENT_RESULT result = IOTHUB_CLIENT_OK;
    for (size_t i = 0; i < n; i++) {
        if (p[i].structVersion != IOTHUB_CLIENT_PROPERTY_WRITABLE_RESPONSE_STRUCT_VERSION_1 || p[i].name == NULL || p[i].value == NULL) {
            result = IOTHUB_CLIENT_INVALID_ARG;
            break;
        }
        list[i] = (capi_property){.name = p[i].name, .value = p[i].value, .description = p[i].description, .result = p[i].result, .version = p[i].ackVersion};
    }
    if (result == IOTHUB_CLIENT_OK) {
        result = (IOTHUB_CLIENT_RESULT)capiPropertiesWrite(list, n, 1, (char *)component, out, length);
    }
    free(list);
    return result;
}

void IoTHubClient_Properties_Serializer_Destroy(unsigned char *p)
{
    free(p);
}

IOTHUB_CLIENT_RESULT IoTHubClient_Properties_Deserializer_Create(IOTHUB_CLIENT_PROPERTY_PAYLOAD_TYPE type, const unsigned char *payload, size_t length, IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE *h)
{
    if (payload == NULL || length == 0 || h == NULL || (type != IOTHUB_CLIENT_PROPERTY_PAYLOAD_ALL && type != IOTHUB_CLIENT_PROPERTY_PAYLOAD_WRITABLE_UPDATES)) {
        return IOTHUB_CLIENT_INVALID_ARG;
    }
    uintptr_t value = capiPropertiesRead((unsigned char *)payload, length, type == IOTHUB_CLIENT_PROPERTY_PAYLOAD_ALL);
    if (value == 0) {
        return IOTHUB_CLIENT_ERROR;
    }
    *h = (IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE)value;
    return IOTHUB_CLIENT_OK;
}

IOTHUB_CLIENT_RESULT IoTHubClient_Properties_Deserializer_GetVersion(IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE h, int *version)
{
    return (IOTHUB_CLIENT_RESULT)capiPropertiesVersion(N(h), version);
}

IOTHUB_CLIENT_RESULT IoTHubClient_Properties_Deserializer_GetNext(IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE h, IOTHUB_CLIENT_PROPERTY_PARSED *p, bool *specified)
{
    if (p == NULL || specified == NULL || p->structVersion != IOTHUB_CLIENT_PROPERTY_PARSED_STRUCT_VERSION_1) {
        return IOTHUB_CLIENT_INVALID_ARG;
    }
    char *component = NULL, *name = NULL, *value = NULL;
    int writable = 0, found = 0, result = capiPropertiesNext(N(h), &writable, &component, &name, &value, &found);
    if (result != IOTHUB_CLIENT_OK) {
        return (IOTHUB_CLIENT_RESULT)result;
    }
    *specified = found != 0;
    if (found) {
        p->propertyType = writable ? IOTHUB_CLIENT_PROPERTY_TYPE_WRITABLE : IOTHUB_CLIENT_PROPERTY_TYPE_REPORTED_FROM_CLIENT;
        p->componentName = component;
        p->name = name;
        p->valueType = IOTHUB_CLIENT_PROPERTY_VALUE_STRING;
        p->value.str = value;
        p->valueLength = strlen(value);
    }
    return IOTHUB_CLIENT_OK;
}

void IoTHubClient_Properties_DeserializerProperty_Destroy(IOTHUB_CLIENT_PROPERTY_PARSED *p)
{
    if (p != NULL) {
        free((void *)(uintptr_t)p->componentName);
        free((void *)(uintptr_t)p->name);
        free((void *)(uintptr_t)p->value.str);
        p->componentName = p->name = p->value.str = NULL;
        p->valueLength = 0;
    }
}

void IoTHubClient_Properties_Deserializer_Destroy(IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE h)
{
    capiPropertiesDestroy(N(h));
}
