/* The older names of what iothub_device_client.h has, for programs that use them, and
   what only they have. */
#ifndef IOTHUB_CLIENT_H
#define IOTHUB_CLIENT_H

#include "iothub_client_ll.h"
#include "iothub_client_version.h"
#include "iothub_device_client.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef IOTHUB_DEVICE_CLIENT_HANDLE IOTHUB_CLIENT_HANDLE;

#define IoTHubClient_CreateFromConnectionString IoTHubDeviceClient_CreateFromConnectionString
#define IoTHubClient_Create IoTHubDeviceClient_Create
#define IoTHubClient_CreateWithTransport IoTHubDeviceClient_CreateWithTransport
#define IoTHubClient_CreateFromDeviceAuth IoTHubDeviceClient_CreateFromDeviceAuth
#define IoTHubClient_Destroy IoTHubDeviceClient_Destroy
#define IoTHubClient_SendEventAsync IoTHubDeviceClient_SendEventAsync
#define IoTHubClient_GetSendStatus IoTHubDeviceClient_GetSendStatus
#define IoTHubClient_SetMessageCallback IoTHubDeviceClient_SetMessageCallback
#define IoTHubClient_SetConnectionStatusCallback IoTHubDeviceClient_SetConnectionStatusCallback
#define IoTHubClient_SetRetryPolicy IoTHubDeviceClient_SetRetryPolicy
#define IoTHubClient_GetRetryPolicy IoTHubDeviceClient_GetRetryPolicy
#define IoTHubClient_GetLastMessageReceiveTime IoTHubDeviceClient_GetLastMessageReceiveTime
#define IoTHubClient_SetOption IoTHubDeviceClient_SetOption
#define IoTHubClient_SetDeviceTwinCallback IoTHubDeviceClient_SetDeviceTwinCallback
#define IoTHubClient_SendReportedState IoTHubDeviceClient_SendReportedState
#define IoTHubClient_GetTwinAsync IoTHubDeviceClient_GetTwinAsync
#define IoTHubClient_SetDeviceMethodCallback IoTHubDeviceClient_SetDeviceMethodCallback
#define IoTHubClient_DeviceMethodResponse IoTHubDeviceClient_DeviceMethodResponse
#define IoTHubClient_UploadToBlobAsync IoTHubDeviceClient_UploadToBlobAsync

/* Sets who is told of direct methods, which are answered by DeviceMethodResponse;
   NULL for nobody. ERROR when there was nobody, or a callback of another kind. */
IOTHUB_CLIENT_RESULT IoTHubClient_SetDeviceMethodCallback_Ex(IOTHUB_CLIENT_HANDLE iotHubClientHandle, IOTHUB_CLIENT_INBOUND_DEVICE_METHOD_CALLBACK inboundDeviceMethodCallback, void *userContextCallback);

/* Uploads a file in blocks that the callback provides, and cannot abort; otherwise
   as UploadMultipleBlocksToBlobAsyncEx. */
IOTHUB_CLIENT_RESULT IoTHubClient_UploadMultipleBlocksToBlobAsync(IOTHUB_CLIENT_HANDLE iotHubClientHandle, const char *destinationFileName, IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_CALLBACK getDataCallback, void *context);

/* Another name of IoTHubDeviceClient_UploadMultipleBlocksToBlobAsync. */
IOTHUB_CLIENT_RESULT IoTHubClient_UploadMultipleBlocksToBlobAsyncEx(IOTHUB_CLIENT_HANDLE iotHubClientHandle, const char *destinationFileName, IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_CALLBACK_EX getDataCallbackEx, void *context);

#ifdef __cplusplus
}
#endif

#endif
