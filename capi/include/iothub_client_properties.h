/* Plug and Play properties: from structures to JSON and back. Nothing here
   touches the network. */
#ifndef IOTHUB_CLIENT_PROPERTIES_H
#define IOTHUB_CLIENT_PROPERTIES_H

#include "iothub_client_core_common.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IOTHUB_CLIENT_PROPERTY_REPORTED_STRUCT_VERSION_1 1

/* A property that the device reports; value is JSON. */
typedef struct IOTHUB_CLIENT_PROPERTY_REPORTED_TAG {
    int structVersion;
    const char *name;
    const char *value;
} IOTHUB_CLIENT_PROPERTY_REPORTED;

#define IOTHUB_CLIENT_PROPERTY_WRITABLE_RESPONSE_STRUCT_VERSION_1 1

/* The answer to a writable property; value is JSON, description may be NULL. */
typedef struct IOTHUB_CLIENT_PROPERTY_WRITABLE_RESPONSE_TAG {
    int structVersion;
    const char *name;
    const char *value;
    int result;
    int ackVersion;
    const char *description;
} IOTHUB_CLIENT_PROPERTY_WRITABLE_RESPONSE;

#define IOTHUB_CLIENT_PROPERTY_TYPE_VALUES            \
    IOTHUB_CLIENT_PROPERTY_TYPE_REPORTED_FROM_CLIENT, \
    IOTHUB_CLIENT_PROPERTY_TYPE_WRITABLE

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUB_CLIENT_PROPERTY_TYPE, IOTHUB_CLIENT_PROPERTY_TYPE_VALUES);

#define IOTHUB_CLIENT_PROPERTY_VALUE_TYPE_VALUES IOTHUB_CLIENT_PROPERTY_VALUE_STRING

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUB_CLIENT_PROPERTY_VALUE_TYPE, IOTHUB_CLIENT_PROPERTY_VALUE_TYPE_VALUES);

#define IOTHUB_CLIENT_PROPERTY_PARSED_STRUCT_VERSION_1 1

/* A property that was read; value.str is JSON. The program sets structVersion. */
typedef struct IOTHUB_CLIENT_PROPERTY_PARSED_TAG {
    int structVersion;
    IOTHUB_CLIENT_PROPERTY_TYPE propertyType;
    const char *componentName;
    const char *name;
    IOTHUB_CLIENT_PROPERTY_VALUE_TYPE valueType;
    union {
        const char *str;
    } value;
    size_t valueLength;
} IOTHUB_CLIENT_PROPERTY_PARSED;

/* Writes reported properties, of a component unless componentName is NULL. The
   output does not end with a NUL; Serializer_Destroy releases it. INVALID_ARG
   for NULL, no properties, or another structVersion. */
IOTHUB_CLIENT_RESULT IoTHubClient_Properties_Serializer_CreateReported(const IOTHUB_CLIENT_PROPERTY_REPORTED *properties, size_t numProperties, const char *componentName, unsigned char **serializedProperties, size_t *serializedPropertiesLength);

/* Writes answers to writable properties, like the function above. */
IOTHUB_CLIENT_RESULT IoTHubClient_Properties_Serializer_CreateWritableResponse(const IOTHUB_CLIENT_PROPERTY_WRITABLE_RESPONSE *properties, size_t numProperties, const char *componentName, unsigned char **serializedProperties, size_t *serializedPropertiesLength);

/* Releases what the two functions above have written; NULL is allowed. */
void IoTHubClient_Properties_Serializer_Destroy(unsigned char *serializedProperties);

typedef struct IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_TAG *IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE;

/* Reads what an IOTHUB_CLIENT_PROPERTIES_RECEIVED_CALLBACK got. ERROR for what
   is no JSON, or has no $version. */
IOTHUB_CLIENT_RESULT IoTHubClient_Properties_Deserializer_Create(IOTHUB_CLIENT_PROPERTY_PAYLOAD_TYPE payloadType, const unsigned char *payload, size_t payloadLength, IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE *propertiesDeserializerHandle);

/* Stores the version of the writable properties. */
IOTHUB_CLIENT_RESULT IoTHubClient_Properties_Deserializer_GetVersion(IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE propertiesDeserializerHandle, int *propertiesVersion);

/* Stores the next property, or that there is none. DeserializerProperty_Destroy
   releases it. */
IOTHUB_CLIENT_RESULT IoTHubClient_Properties_Deserializer_GetNext(IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE propertiesDeserializerHandle, IOTHUB_CLIENT_PROPERTY_PARSED *property, bool *propertySpecified);

/* Releases what a property that was read points to; NULL is allowed. */
void IoTHubClient_Properties_DeserializerProperty_Destroy(IOTHUB_CLIENT_PROPERTY_PARSED *property);

/* Releases a deserializer; NULL is allowed. */
void IoTHubClient_Properties_Deserializer_Destroy(IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE propertiesDeserializerHandle);

#ifdef __cplusplus
}
#endif

#endif
