/* A module with a thread of its own, on which its callbacks run, one at a time and
   without a lock. A client may be used from every thread, and every function called
   in every callback. */
#ifndef IOTHUB_MODULE_CLIENT_H
#define IOTHUB_MODULE_CLIENT_H

#include <time.h>

#include "iothub_client_core_common.h"
#include "iothub_client_options.h"
#include "iothub_module_client_ll.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct IOTHUB_MODULE_CLIENT_INSTANCE_TAG *IOTHUB_MODULE_CLIENT_HANDLE;

/* Returns a client for what the connection string names, or NULL: for NULL, a
   string that cannot be read, or a transport that is not there. Nothing touches
   the network yet. */
IOTHUB_MODULE_CLIENT_HANDLE IoTHubModuleClient_CreateFromConnectionString(const char *connectionString, IOTHUB_CLIENT_TRANSPORT_PROVIDER protocol);

/* Returns a client for the module that IoT Edge has started this program as, or NULL
   when variables are missing; the log names them all. protocol must be MQTT_Protocol.
   The daemon signs, and says whom to trust, at each connection. For development
   EdgeHubConnectionString comes first, with EdgeModuleCACertificateFile.*/
IOTHUB_MODULE_CLIENT_HANDLE IoTHubModuleClient_CreateFromEnvironment(IOTHUB_CLIENT_TRANSPORT_PROVIDER protocol);

/* Ends a client: what waits or is in flight confirms BECAUSE_DESTROY before this
   returns. Inside a callback of the client it takes effect when that returns.
   NULL, and a client that was destroyed, are allowed. */
void IoTHubModuleClient_Destroy(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle);

/* Accepts a copy of a message and returns at once. If the result is OK the
   callback, unless NULL, runs exactly once. INVALID_ARG for NULL, and for a
   context without a callback; ERROR for a message that no hub takes. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SendEventAsync(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_MESSAGE_HANDLE eventMessageHandle, IOTHUB_CLIENT_EVENT_CONFIRMATION_CALLBACK eventConfirmationCallback, void *userContextCallback);

/* Another name of SendEventAsync. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SendTelemetryAsync(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_MESSAGE_HANDLE telemetryMessageHandle, IOTHUB_CLIENT_TELEMETRY_CALLBACK telemetryConfirmationCallback, void *userContextCallback);

/* Sets the output name of the message and sends it, as SendEventAsync does. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SendEventToOutputAsync(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_MESSAGE_HANDLE eventMessageHandle, const char *outputName, IOTHUB_CLIENT_EVENT_CONFIRMATION_CALLBACK eventConfirmationCallback, void *userContextCallback);

/* Stores whether accepted messages are not confirmed yet. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_GetSendStatus(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_STATUS *iotHubClientStatus);

/* Sets who is told of messages to inputs without a callback of their own, NULL for
   nobody: ERROR when there was nobody. Modules get no cloud-to-device messages. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SetMessageCallback(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_MESSAGE_CALLBACK_ASYNC messageCallback, void *userContextCallback);

/* Sets who is told of messages to an input, NULL for those without a callback of
   their own. A NULL callback removes one: ERROR when there was none. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SetInputMessageCallback(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, const char *inputName, IOTHUB_CLIENT_MESSAGE_CALLBACK_ASYNC eventHandlerCallback, void *userContextCallback);

/* Settles a message whose callback returned ASYNC_ACK, and destroys it, even when
   the result is ERROR: the connection that it came on is gone, or it did not come
   from a hub. INVALID_ARG for NULL and for ASYNC_ACK, and then it lives. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SendMessageDisposition(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_MESSAGE_HANDLE message, IOTHUBMESSAGE_DISPOSITION_RESULT disposition);

/* Sets who is told of changes of the connection, NULL for nobody. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SetConnectionStatusCallback(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_CONNECTION_STATUS_CALLBACK connectionStatusCallback, void *userContextCallback);

/* Sets how the client connects again, and how many seconds after the first attempt
   of an outage it gives up, 0 for never. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SetRetryPolicy(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_RETRY_POLICY retryPolicy, size_t retryTimeoutLimitInSeconds);

/* Stores what SetRetryPolicy has set. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_GetRetryPolicy(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_RETRY_POLICY *retryPolicy, size_t *retryTimeoutLimitInSeconds);

/* Stores when a message last came: INDEFINITE_TIME if none ever did. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_GetLastMessageReceiveTime(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, time_t *lastMessageReceiveTime);

/* Sets an option; docs/c-compatibility.md lists them. INVALID_ARG for an unknown
   name or a value out of range. The value is copied. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SetOption(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, const char *optionName, const void *value);

/* Tells the callback the whole twin, and then changes of desired properties; NULL
   ends that. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SetModuleTwinCallback(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_DEVICE_TWIN_CALLBACK moduleTwinCallback, void *userContextCallback);

/* Changes reported properties by a copy of this JSON. INVALID_ARG for NULL and for
   size 0. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SendReportedState(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, const unsigned char *reportedState, size_t size, IOTHUB_CLIENT_REPORTED_STATE_CALLBACK reportedStateCallback, void *userContextCallback);

/* Reads the twin and tells it the callback, once. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_GetTwinAsync(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_DEVICE_TWIN_CALLBACK deviceTwinCallback, void *userContextCallback);

/* Sets who is called for direct methods, NULL for nobody. ERROR when there was
   nobody, or a callback of another kind. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SetModuleMethodCallback(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_DEVICE_METHOD_CALLBACK_ASYNC moduleMethodCallback, void *userContextCallback);

/* Sets who is called for commands, NULL for nobody. ERROR when there was nobody, or
   a callback for methods. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SubscribeToCommands(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_COMMAND_CALLBACK_ASYNC commandCallback, void *userContextCallback);

/* Another name of SendReportedState. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_SendPropertiesAsync(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, const unsigned char *properties, size_t propertiesLength, IOTHUB_CLIENT_PROPERTY_ACKNOWLEDGED_CALLBACK propertyAcknowledgedCallback, void *userContextCallback);

/* Reads all properties and tells them the callback, once. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_GetPropertiesAsync(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_PROPERTIES_RECEIVED_CALLBACK propertyCallback, void *userContextCallback);

/* Tells the callback all properties, and then changes of writable ones; NULL ends
   that. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_GetPropertiesAndSubscribeToUpdatesAsync(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_PROPERTIES_RECEIVED_CALLBACK propertyUpdateCallback, void *userContextCallback);

/* Calls a method of a device; timeout is in seconds. The callback is told the
   answer, once. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_DeviceMethodInvokeAsync(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, const char *deviceId, const char *methodName, const char *methodPayload, unsigned int timeout, IOTHUB_METHOD_INVOKE_CALLBACK methodInvokeCallback, void *context);

/* Calls a method of a module; see DeviceMethodInvokeAsync. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_ModuleMethodInvokeAsync(IOTHUB_MODULE_CLIENT_HANDLE iotHubModuleClientHandle, const char *deviceId, const char *moduleId, const char *methodName, const char *methodPayload, unsigned int timeout, IOTHUB_METHOD_INVOKE_CALLBACK methodInvokeCallback, void *context);

#ifdef __cplusplus
}
#endif

#endif
