/* What all clients share: results, callbacks, structures. */
#ifndef IOTHUB_CLIENT_CORE_COMMON_H
#define IOTHUB_CLIENT_CORE_COMMON_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h> /* programs count on it */

#include "azure_macro_utils/macro_utils.h"
#include "umock_c/umock_c_prod.h"

#include "iothub_message.h"
#include "iothub_transport_ll.h"

#ifdef __cplusplus
extern "C" {
#endif

/* What a call returns. */
#define IOTHUB_CLIENT_RESULT_VALUES \
    IOTHUB_CLIENT_OK,               \
    IOTHUB_CLIENT_INVALID_ARG,      \
    IOTHUB_CLIENT_ERROR,            \
    IOTHUB_CLIENT_INVALID_SIZE,     \
    IOTHUB_CLIENT_INDEFINITE_TIME

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUB_CLIENT_RESULT, IOTHUB_CLIENT_RESULT_VALUES);

/* What became of a message that was accepted. */
#define IOTHUB_CLIENT_CONFIRMATION_RESULT_VALUES \
    IOTHUB_CLIENT_CONFIRMATION_OK,               \
    IOTHUB_CLIENT_CONFIRMATION_BECAUSE_DESTROY,  \
    IOTHUB_CLIENT_CONFIRMATION_MESSAGE_TIMEOUT,  \
    IOTHUB_CLIENT_CONFIRMATION_ERROR

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUB_CLIENT_CONFIRMATION_RESULT, IOTHUB_CLIENT_CONFIRMATION_RESULT_VALUES);

/* Whether messages are waiting or in flight. */
#define IOTHUB_CLIENT_STATUS_VALUES \
    IOTHUB_CLIENT_SEND_STATUS_IDLE, \
    IOTHUB_CLIENT_SEND_STATUS_BUSY

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUB_CLIENT_STATUS, IOTHUB_CLIENT_STATUS_VALUES);

/* What a program decides about a message that it received. ASYNC_ACK keeps it
   for SendMessageDisposition. */
#define IOTHUBMESSAGE_DISPOSITION_RESULT_VALUES \
    IOTHUBMESSAGE_ACCEPTED,                     \
    IOTHUBMESSAGE_REJECTED,                     \
    IOTHUBMESSAGE_ABANDONED,                    \
    IOTHUBMESSAGE_ASYNC_ACK

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUBMESSAGE_DISPOSITION_RESULT, IOTHUBMESSAGE_DISPOSITION_RESULT_VALUES);

/* How the wait between attempts to connect grows. */
#define IOTHUB_CLIENT_RETRY_POLICY_VALUES                \
    IOTHUB_CLIENT_RETRY_NONE,                            \
    IOTHUB_CLIENT_RETRY_IMMEDIATE,                       \
    IOTHUB_CLIENT_RETRY_INTERVAL,                        \
    IOTHUB_CLIENT_RETRY_LINEAR_BACKOFF,                  \
    IOTHUB_CLIENT_RETRY_EXPONENTIAL_BACKOFF,             \
    IOTHUB_CLIENT_RETRY_EXPONENTIAL_BACKOFF_WITH_JITTER, \
    IOTHUB_CLIENT_RETRY_RANDOM

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUB_CLIENT_RETRY_POLICY, IOTHUB_CLIENT_RETRY_POLICY_VALUES);

#define IOTHUB_CLIENT_CONNECTION_STATUS_VALUES \
    IOTHUB_CLIENT_CONNECTION_AUTHENTICATED,    \
    IOTHUB_CLIENT_CONNECTION_UNAUTHENTICATED

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUB_CLIENT_CONNECTION_STATUS, IOTHUB_CLIENT_CONNECTION_STATUS_VALUES);

#define IOTHUB_CLIENT_CONNECTION_STATUS_REASON_VALUES \
    IOTHUB_CLIENT_CONNECTION_EXPIRED_SAS_TOKEN,       \
    IOTHUB_CLIENT_CONNECTION_DEVICE_DISABLED,         \
    IOTHUB_CLIENT_CONNECTION_BAD_CREDENTIAL,          \
    IOTHUB_CLIENT_CONNECTION_RETRY_EXPIRED,           \
    IOTHUB_CLIENT_CONNECTION_NO_NETWORK,              \
    IOTHUB_CLIENT_CONNECTION_COMMUNICATION_ERROR,     \
    IOTHUB_CLIENT_CONNECTION_OK,                      \
    IOTHUB_CLIENT_CONNECTION_NO_PING_RESPONSE,        \
    IOTHUB_CLIENT_CONNECTION_QUOTA_EXCEEDED

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUB_CLIENT_CONNECTION_STATUS_REASON, IOTHUB_CLIENT_CONNECTION_STATUS_REASON_VALUES);

#define IOTHUB_CLIENT_FILE_UPLOAD_RESULT_VALUES \
    FILE_UPLOAD_OK,                             \
    FILE_UPLOAD_ERROR

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUB_CLIENT_FILE_UPLOAD_RESULT, IOTHUB_CLIENT_FILE_UPLOAD_RESULT_VALUES);

#define IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_RESULT_VALUES \
    IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_OK,               \
    IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_ABORT

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_RESULT, IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_RESULT_VALUES);

/* COMPLETE is the whole twin, PARTIAL a change of desired properties. */
#define DEVICE_TWIN_UPDATE_STATE_VALUES \
    DEVICE_TWIN_UPDATE_COMPLETE,        \
    DEVICE_TWIN_UPDATE_PARTIAL

MU_DEFINE_ENUM_WITHOUT_INVALID(DEVICE_TWIN_UPDATE_STATE, DEVICE_TWIN_UPDATE_STATE_VALUES);

/* ALL is all properties, WRITABLE_UPDATES a change of writable ones. */
#define IOTHUB_CLIENT_PROPERTY_PAYLOAD_TYPE_VALUES \
    IOTHUB_CLIENT_PROPERTY_PAYLOAD_ALL,            \
    IOTHUB_CLIENT_PROPERTY_PAYLOAD_WRITABLE_UPDATES

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUB_CLIENT_PROPERTY_PAYLOAD_TYPE, IOTHUB_CLIENT_PROPERTY_PAYLOAD_TYPE_VALUES);

/* The callbacks. userContextCallback is what was given with the function; the
   library passes it on and never looks at it. A payload is valid until the
   function returns and does not end with a NUL. */
typedef void (*IOTHUB_CLIENT_EVENT_CONFIRMATION_CALLBACK)(IOTHUB_CLIENT_CONFIRMATION_RESULT result, void *userContextCallback);
typedef void (*IOTHUB_CLIENT_TELEMETRY_CALLBACK)(IOTHUB_CLIENT_CONFIRMATION_RESULT result, void *userContextCallback);
typedef void (*IOTHUB_CLIENT_CONNECTION_STATUS_CALLBACK)(IOTHUB_CLIENT_CONNECTION_STATUS result, IOTHUB_CLIENT_CONNECTION_STATUS_REASON reason, void *userContextCallback);

/* A client for one blob, of either layer. */
typedef struct IOTHUB_CLIENT_LL_UPLOADTOBLOB_CONTEXT_STRUCT *IOTHUB_CLIENT_LL_UPLOADTOBLOB_CONTEXT_HANDLE;

/* message belongs to the library unless the function returns ASYNC_ACK. */
typedef IOTHUBMESSAGE_DISPOSITION_RESULT (*IOTHUB_CLIENT_MESSAGE_CALLBACK_ASYNC)(IOTHUB_MESSAGE_HANDLE message, void *userContextCallback);

/* payLoad is NULL when the twin could not be read. */
typedef void (*IOTHUB_CLIENT_DEVICE_TWIN_CALLBACK)(DEVICE_TWIN_UPDATE_STATE update_state, const unsigned char *payLoad, size_t size, void *userContextCallback);
typedef void (*IOTHUB_CLIENT_PROPERTIES_RECEIVED_CALLBACK)(IOTHUB_CLIENT_PROPERTY_PAYLOAD_TYPE payloadType, const unsigned char *payload, size_t payloadLength, void *userContextCallback);

/* status_code is that of the hub, 408 when there was no answer, 0 when the state
   was never sent. */
typedef void (*IOTHUB_CLIENT_REPORTED_STATE_CALLBACK)(int status_code, void *userContextCallback);
typedef void (*IOTHUB_CLIENT_PROPERTY_ACKNOWLEDGED_CALLBACK)(int status_code, void *userContextCallback);

/* Returns the status; *response is from malloc, or NULL, and the library frees
   it. */
typedef int (*IOTHUB_CLIENT_DEVICE_METHOD_CALLBACK_ASYNC)(const char *method_name, const unsigned char *payload, size_t size, unsigned char **response, size_t *response_size, void *userContextCallback);

/* The answer is given by DeviceMethodResponse, once, with method_id. */
typedef int (*IOTHUB_CLIENT_INBOUND_DEVICE_METHOD_CALLBACK)(const char *method_name, const unsigned char *payload, size_t size, METHOD_HANDLE method_id, void *userContextCallback);

/* Tells what a method answered; responsePayload is the library's. */
typedef void (*IOTHUB_METHOD_INVOKE_CALLBACK)(IOTHUB_CLIENT_RESULT result, int responseStatus, unsigned char *responsePayload, size_t responsePayloadSize, void *context);

typedef void (*IOTHUB_CLIENT_FILE_UPLOAD_CALLBACK)(IOTHUB_CLIENT_FILE_UPLOAD_RESULT result, void *userContextCallback);
typedef void (*IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_CALLBACK)(IOTHUB_CLIENT_FILE_UPLOAD_RESULT result, unsigned char const **data, size_t *size, void *context);
typedef IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_RESULT (*IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_CALLBACK_EX)(IOTHUB_CLIENT_FILE_UPLOAD_RESULT result, unsigned char const **data, size_t *size, void *context);

#define IOTHUB_CLIENT_COMMAND_REQUEST_STRUCT_VERSION_1 1

/* A command of a Plug and Play component, NULL for the root. */
typedef struct IOTHUB_CLIENT_COMMAND_REQUEST_TAG {
    int structVersion;
    const char *componentName;
    const char *commandName;
    const unsigned char *payload;
    size_t payloadLength;
} IOTHUB_CLIENT_COMMAND_REQUEST;

#define IOTHUB_CLIENT_COMMAND_RESPONSE_STRUCT_VERSION_1 1

/* The answer: payload is from malloc, or NULL, and the library frees it. */
typedef struct IOTHUB_CLIENT_COMMAND_RESPONSE_TAG {
    int structVersion;
    unsigned char *payload;
    size_t payloadLength;
    int statusCode;
} IOTHUB_CLIENT_COMMAND_RESPONSE;

typedef void (*IOTHUB_CLIENT_COMMAND_CALLBACK_ASYNC)(const IOTHUB_CLIENT_COMMAND_REQUEST *commandRequest, IOTHUB_CLIENT_COMMAND_RESPONSE *commandResponse, void *userContextCallback);

/* A device without a connection string: exactly one of deviceKey and
   deviceSasToken, or neither for a certificate, set as an option. */
typedef struct IOTHUB_CLIENT_CONFIG_TAG {
    IOTHUB_CLIENT_TRANSPORT_PROVIDER protocol;
    const char *deviceId;
    const char *deviceKey;
    const char *deviceSasToken;
    const char *iotHubName;
    const char *iotHubSuffix;
    const char *protocolGatewayHostName;
} IOTHUB_CLIENT_CONFIG;

/* A device on a connection that is shared. */
typedef struct IOTHUB_CLIENT_DEVICE_CONFIG_TAG {
    IOTHUB_CLIENT_TRANSPORT_PROVIDER protocol;
    void *transportHandle;
    const char *deviceId;
    const char *deviceKey;
    const char *deviceSasToken;
} IOTHUB_CLIENT_DEVICE_CONFIG;

#ifdef __cplusplus
}
#endif

#endif
