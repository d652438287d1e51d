/* A module that the program drives: nothing happens, and no callback runs, but in
   DoWork and Destroy, on the thread that calls them. A client is used by one thread
   at a time. */
#ifndef IOTHUB_MODULE_CLIENT_LL_H
#define IOTHUB_MODULE_CLIENT_LL_H

#include <time.h>

#include "iothub_client_core_common.h"
#include "iothub_client_options.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct IOTHUB_MODULE_CLIENT_LL_INSTANCE_TAG *IOTHUB_MODULE_CLIENT_LL_HANDLE;

/* Returns a client for what the connection string names, or NULL: for NULL, a
   string that cannot be read, or a transport that is not there. Nothing touches
   the network yet. */
IOTHUB_MODULE_CLIENT_LL_HANDLE IoTHubModuleClient_LL_CreateFromConnectionString(const char *connectionString, IOTHUB_CLIENT_TRANSPORT_PROVIDER protocol);

/* Returns a client for the module that IoT Edge has started this program as, or NULL
   when variables are missing; the log names them all. protocol must be MQTT_Protocol.
   The daemon signs, and says whom to trust, at each connection. For development
   EdgeHubConnectionString comes first, with EdgeModuleCACertificateFile.*/
IOTHUB_MODULE_CLIENT_LL_HANDLE IoTHubModuleClient_LL_CreateFromEnvironment(IOTHUB_CLIENT_TRANSPORT_PROVIDER protocol);

/* Ends a client: what waits or is in flight confirms BECAUSE_DESTROY before this
   returns. Inside a callback of the client it takes effect when that returns.
   NULL, and a client that was destroyed, are allowed. */
void IoTHubModuleClient_LL_Destroy(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle);

/* Accepts a copy of a message and returns at once. If the result is OK the
   callback, unless NULL, runs exactly once. INVALID_ARG for NULL, and for a
   context without a callback; ERROR for a message that no hub takes. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SendEventAsync(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_MESSAGE_HANDLE eventMessageHandle, IOTHUB_CLIENT_EVENT_CONFIRMATION_CALLBACK eventConfirmationCallback, void *userContextCallback);

/* Another name of SendEventAsync. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SendTelemetryAsync(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_MESSAGE_HANDLE telemetryMessageHandle, IOTHUB_CLIENT_TELEMETRY_CALLBACK telemetryConfirmationCallback, void *userContextCallback);

/* Sets the output name of the message and sends it, as SendEventAsync does. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SendEventToOutputAsync(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_MESSAGE_HANDLE eventMessageHandle, const char *outputName, IOTHUB_CLIENT_EVENT_CONFIRMATION_CALLBACK eventConfirmationCallback, void *userContextCallback);

/* Stores whether accepted messages are not confirmed yet. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_GetSendStatus(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_STATUS *iotHubClientStatus);

/* Sets who is told of messages to inputs without a callback of their own, NULL for
   nobody: ERROR when there was nobody. Modules get no cloud-to-device messages. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SetMessageCallback(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_MESSAGE_CALLBACK_ASYNC messageCallback, void *userContextCallback);

/* Sets who is told of messages to an input, NULL for those without a callback of
   their own. A NULL callback removes one: ERROR when there was none. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SetInputMessageCallback(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, const char *inputName, IOTHUB_CLIENT_MESSAGE_CALLBACK_ASYNC eventHandlerCallback, void *userContextCallback);

/* Settles a message whose callback returned ASYNC_ACK, and destroys it, even when
   the result is ERROR: the connection that it came on is gone, or it did not come
   from a hub. INVALID_ARG for NULL and for ASYNC_ACK, and then it lives. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SendMessageDisposition(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_MESSAGE_HANDLE message, IOTHUBMESSAGE_DISPOSITION_RESULT disposition);

/* Sets who is told of changes of the connection, NULL for nobody. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SetConnectionStatusCallback(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_CONNECTION_STATUS_CALLBACK connectionStatusCallback, void *userContextCallback);

/* Sets how the client connects again, and how many seconds after the first attempt
   of an outage it gives up, 0 for never. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SetRetryPolicy(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_RETRY_POLICY retryPolicy, size_t retryTimeoutLimitInSeconds);

/* Stores what SetRetryPolicy has set. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_GetRetryPolicy(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_RETRY_POLICY *retryPolicy, size_t *retryTimeoutLimitInSeconds);

/* Stores when a message last came: INDEFINITE_TIME if none ever did. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_GetLastMessageReceiveTime(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, time_t *lastMessageReceiveTime);

/* Connects, reads, writes and runs the callbacks that are due, without blocking.
   Nothing else does. In a callback it does nothing. */
void IoTHubModuleClient_LL_DoWork(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle);

/* Sets an option; docs/c-compatibility.md lists them. INVALID_ARG for an unknown
   name or a value out of range. The value is copied. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SetOption(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, const char *optionName, const void *value);

/* Tells the callback the whole twin, and then changes of desired properties; NULL
   ends that. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SetModuleTwinCallback(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_DEVICE_TWIN_CALLBACK moduleTwinCallback, void *userContextCallback);

/* Changes reported properties by a copy of this JSON. INVALID_ARG for NULL and for
   size 0. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SendReportedState(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, const unsigned char *reportedState, size_t size, IOTHUB_CLIENT_REPORTED_STATE_CALLBACK reportedStateCallback, void *userContextCallback);

/* Reads the twin and tells it the callback, once. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_GetTwinAsync(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_DEVICE_TWIN_CALLBACK deviceTwinCallback, void *userContextCallback);

/* Sets who is called for direct methods, NULL for nobody. ERROR when there was
   nobody, or a callback of another kind. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SetModuleMethodCallback(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_DEVICE_METHOD_CALLBACK_ASYNC moduleMethodCallback, void *userContextCallback);

/* Sets who is called for commands, NULL for nobody. ERROR when there was nobody, or
   a callback for methods. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SubscribeToCommands(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_COMMAND_CALLBACK_ASYNC commandCallback, void *userContextCallback);

/* Another name of SendReportedState. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_SendPropertiesAsync(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, const unsigned char *properties, size_t propertiesLength, IOTHUB_CLIENT_PROPERTY_ACKNOWLEDGED_CALLBACK propertyAcknowledgedCallback, void *userContextCallback);

/* Reads all properties and tells them the callback, once. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_GetPropertiesAsync(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_PROPERTIES_RECEIVED_CALLBACK propertyCallback, void *userContextCallback);

/* Tells the callback all properties, and then changes of writable ones; NULL ends
   that. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_GetPropertiesAndSubscribeToUpdatesAsync(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, IOTHUB_CLIENT_PROPERTIES_RECEIVED_CALLBACK propertyUpdateCallback, void *userContextCallback);

/* Calls a method of a device and waits; timeout is in seconds. *responsePayload is
   the program's to free. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_DeviceMethodInvoke(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, const char *deviceId, const char *methodName, const char *methodPayload, unsigned int timeout, int *responseStatus, unsigned char **responsePayload, size_t *responsePayloadSize);

/* Calls a method of a module and waits; see DeviceMethodInvoke. */
IOTHUB_CLIENT_RESULT IoTHubModuleClient_LL_ModuleMethodInvoke(IOTHUB_MODULE_CLIENT_LL_HANDLE iotHubModuleClientHandle, const char *deviceId, const char *moduleId, const char *methodName, const char *methodPayload, unsigned int timeout, int *responseStatus, unsigned char **responsePayload, size_t *responsePayloadSize);

#ifdef __cplusplus
}
#endif

#endif
