/* A message: a body, system properties and application properties.

   A message is the program's until IoTHubMessage_Destroy; sending copies it. All
   text that is given is copied; text that is returned belongs to the message
   and is valid until that property is set again or the message destroyed. A
   message is used by one thread at a time. */
#ifndef IOTHUB_MESSAGE_H
#define IOTHUB_MESSAGE_H

#include <stdbool.h>
#include <stddef.h>

#include "azure_c_shared_utility/map.h"
#include "azure_macro_utils/macro_utils.h"
#include "umock_c/umock_c_prod.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IOTHUB_MESSAGE_RESULT_VALUES \
    IOTHUB_MESSAGE_OK,               \
    IOTHUB_MESSAGE_INVALID_ARG,      \
    IOTHUB_MESSAGE_INVALID_TYPE,     \
    IOTHUB_MESSAGE_ERROR,            \
    IOTHUB_MESSAGE_BECAUSE_DESTROY

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUB_MESSAGE_RESULT, IOTHUB_MESSAGE_RESULT_VALUES);

#define IOTHUBMESSAGE_CONTENT_TYPE_VALUES \
    IOTHUBMESSAGE_BYTEARRAY,              \
    IOTHUBMESSAGE_STRING,                 \
    IOTHUBMESSAGE_UNKNOWN

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUBMESSAGE_CONTENT_TYPE, IOTHUBMESSAGE_CONTENT_TYPE_VALUES);

typedef struct IOTHUB_MESSAGE_HANDLE_DATA_TAG *IOTHUB_MESSAGE_HANDLE;

typedef struct IOTHUB_MESSAGE_DIAGNOSTIC_PROPERTY_DATA_TAG {
    char *diagnosticId;
    char *diagnosticCreationTimeUtc;
} IOTHUB_MESSAGE_DIAGNOSTIC_PROPERTY_DATA, *IOTHUB_MESSAGE_DIAGNOSTIC_PROPERTY_DATA_HANDLE;

/* Returns a message with a copy of size bytes, of type IOTHUBMESSAGE_BYTEARRAY,
   or NULL if byteArray is NULL and size is not 0. */
IOTHUB_MESSAGE_HANDLE IoTHubMessage_CreateFromByteArray(const unsigned char *byteArray, size_t size);

/* Returns a message with a copy of the text, of type IOTHUBMESSAGE_STRING, or
   NULL if source is NULL. */
IOTHUB_MESSAGE_HANDLE IoTHubMessage_CreateFromString(const char *source);

/* Returns a copy of everything but what SendMessageDisposition needs, or NULL. */
IOTHUB_MESSAGE_HANDLE IoTHubMessage_Clone(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);

/* Stores where the body is and how long. Not for strings: INVALID_ARG. */
IOTHUB_MESSAGE_RESULT IoTHubMessage_GetByteArray(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const unsigned char **buffer, size_t *size);

/* Returns the body of a message of type IOTHUBMESSAGE_STRING, else NULL. */
const char *IoTHubMessage_GetString(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);

/* Returns how the body was made, IOTHUBMESSAGE_UNKNOWN for no message. */
IOTHUBMESSAGE_CONTENT_TYPE IoTHubMessage_GetContentType(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);

/* The system properties. A setter is INVALID_ARG for NULL; a getter is NULL for
   what was not set. */
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetContentTypeSystemProperty(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const char *contentType);
const char *IoTHubMessage_GetContentTypeSystemProperty(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetContentEncodingSystemProperty(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const char *contentEncoding);
const char *IoTHubMessage_GetContentEncodingSystemProperty(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetMessageId(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const char *messageId);
const char *IoTHubMessage_GetMessageId(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetCorrelationId(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const char *correlationId);
const char *IoTHubMessage_GetCorrelationId(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetOutputName(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const char *outputName);
const char *IoTHubMessage_GetOutputName(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetInputName(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const char *inputName);
const char *IoTHubMessage_GetInputName(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetConnectionModuleId(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const char *connectionModuleId);
const char *IoTHubMessage_GetConnectionModuleId(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetConnectionDeviceId(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const char *connectionDeviceId);
const char *IoTHubMessage_GetConnectionDeviceId(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetMessageCreationTimeUtcSystemProperty(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const char *messageCreationTimeUtc);
const char *IoTHubMessage_GetMessageCreationTimeUtcSystemProperty(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetMessageUserIdSystemProperty(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const char *userId);
const char *IoTHubMessage_GetMessageUserIdSystemProperty(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetComponentName(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const char *componentName);
const char *IoTHubMessage_GetComponentName(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);

/* Returns the application properties, to read and to change; they belong to the
   message. A key or value with other than printable ASCII is rejected. */
MAP_HANDLE IoTHubMessage_Properties(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);

/* Sets an application property: INVALID_TYPE for other than printable ASCII. */
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetProperty(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const char *key, const char *value);

/* Returns an application property, NULL if there is none of that name. */
const char *IoTHubMessage_GetProperty(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const char *key);

/* The identifier and time of distributed tracing. Both members are needed. */
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetDiagnosticPropertyData(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle, const IOTHUB_MESSAGE_DIAGNOSTIC_PROPERTY_DATA *diagnosticData);
const IOTHUB_MESSAGE_DIAGNOSTIC_PROPERTY_DATA *IoTHubMessage_GetDiagnosticPropertyData(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);

/* Marks a message for Defender for IoT; that makes it JSON. */
IOTHUB_MESSAGE_RESULT IoTHubMessage_SetAsSecurityMessage(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);
bool IoTHubMessage_IsSecurityMessage(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);

/* Releases a message; NULL is allowed, and so is one destroyed before. */
void IoTHubMessage_Destroy(IOTHUB_MESSAGE_HANDLE iotHubMessageHandle);

#ifdef __cplusplus
}
#endif

#endif
