/* What only the older names of the device client have. */
#include "_cgo_export.h"
#include "iothub_client.h"

#define N(x) ((uintptr_t)(x))
#define RESULT(x) ((IOTHUB_CLIENT_RESULT)(x))

IOTHUB_CLIENT_RESULT IoTHubClient_LL_SetDeviceMethodCallback_Ex(IOTHUB_CLIENT_LL_HANDLE h, IOTHUB_CLIENT_INBOUND_DEVICE_METHOD_CALLBACK f, void *context)
{
    return RESULT(capiSetMethodCallback(CAPI_DEVICE_LL, N(h), CAPI_METHOD_LATER, N(f), N(context)));
}

IOTHUB_CLIENT_RESULT IoTHubClient_SetDeviceMethodCallback_Ex(IOTHUB_CLIENT_HANDLE h, IOTHUB_CLIENT_INBOUND_DEVICE_METHOD_CALLBACK f, void *context)
{
    return RESULT(capiSetMethodCallback(CAPI_DEVICE, N(h), CAPI_METHOD_LATER, N(f), N(context)));
}

IOTHUB_CLIENT_RESULT IoTHubClient_LL_UploadMultipleBlocksToBlob(IOTHUB_CLIENT_LL_HANDLE h, const char *name, IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_CALLBACK f, void *context)
{
    return RESULT(capiUploadBlocks(CAPI_DEVICE_LL, N(h), (char *)name, false, N(f), N(context)));
}

IOTHUB_CLIENT_RESULT IoTHubClient_LL_UploadMultipleBlocksToBlobEx(IOTHUB_CLIENT_LL_HANDLE h, const char *name, IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_CALLBACK_EX f, void *context)
{
    return IoTHubDeviceClient_LL_UploadMultipleBlocksToBlob(h, name, f, context);
}

IOTHUB_CLIENT_RESULT IoTHubClient_UploadMultipleBlocksToBlobAsync(IOTHUB_CLIENT_HANDLE h, const char *name, IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_CALLBACK f, void *context)
{
    return RESULT(capiUploadBlocks(CAPI_DEVICE, N(h), (char *)name, false, N(f), N(context)));
}

IOTHUB_CLIENT_RESULT IoTHubClient_UploadMultipleBlocksToBlobAsyncEx(IOTHUB_CLIENT_HANDLE h, const char *name, IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_CALLBACK_EX f, void *context)
{
    return IoTHubDeviceClient_UploadMultipleBlocksToBlobAsync(h, name, f, context);
}
