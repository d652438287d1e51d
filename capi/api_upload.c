/* Uploads of both layers of devices: P is the prefix of the functions, H the type
   of the handle, K its kind, S the type of a client for a blob. */
#include "_cgo_export.h"
#include "iothub_device_client.h"
#include "iothub_device_client_ll.h"

#define N(x) ((uintptr_t)(x))
#define RESULT(x) ((IOTHUB_CLIENT_RESULT)(x))

#define STORAGE(P, H, S, K)                                                                                                                \
    IOTHUB_CLIENT_RESULT P##_AzureStorageInitializeBlobUpload(H h, const char *name, char **correlation, char **uri)                       \
    {                                                                                                                                      \
        return RESULT(capiUploadBegin(K, N(h), (char *)name, correlation, uri));                                                           \
    }                                                                                                                                      \
    S P##_AzureStorageCreateClient(H h, const char *uri)                                                                                   \
    {                                                                                                                                      \
        return (S)capiBlobOpen(K, N(h), (char *)uri);                                                                                      \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_AzureStoragePutBlock(S s, uint32_t number, const uint8_t *data, size_t size)                                  \
    {                                                                                                                                      \
        return RESULT(capiBlobPut(N(s), number, (unsigned char *)data, size));                                                             \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_AzureStoragePutBlockList(S s)                                                                                 \
    {                                                                                                                                      \
        return RESULT(capiBlobCommit(N(s)));                                                                                               \
    }                                                                                                                                      \
    void P##_AzureStorageDestroyClient(S s)                                                                                                \
    {                                                                                                                                      \
        capiBlobClose(N(s));                                                                                                               \
    }                                                                                                                                      \
    IOTHUB_CLIENT_RESULT P##_AzureStorageNotifyBlobUploadCompletion(H h, const char *correlation, bool ok, int code, const char *message)  \
    {                                                                                                                                      \
        return RESULT(capiUploadEnd(K, N(h), (char *)correlation, ok, code, (char *)message));                                             \
    }

STORAGE(IoTHubDeviceClient_LL, IOTHUB_DEVICE_CLIENT_LL_HANDLE, IOTHUB_CLIENT_LL_AZURE_STORAGE_CLIENT_HANDLE, CAPI_DEVICE_LL)
STORAGE(IoTHubDeviceClient, IOTHUB_DEVICE_CLIENT_HANDLE, IOTHUB_CLIENT_AZURE_STORAGE_CLIENT_HANDLE, CAPI_DEVICE)

IOTHUB_CLIENT_RESULT IoTHubDeviceClient_LL_UploadToBlob(IOTHUB_DEVICE_CLIENT_LL_HANDLE h, const char *name, const unsigned char *source, size_t size)
{
    return RESULT(capiUpload(CAPI_DEVICE_LL, N(h), (char *)name, (unsigned char *)source, size));
}

IOTHUB_CLIENT_RESULT IoTHubDeviceClient_LL_UploadMultipleBlocksToBlob(IOTHUB_DEVICE_CLIENT_LL_HANDLE h, const char *name, IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_CALLBACK_EX f, void *context)
{
    return RESULT(capiUploadBlocks(CAPI_DEVICE_LL, N(h), (char *)name, true, N(f), N(context)));
}

IOTHUB_CLIENT_RESULT IoTHubDeviceClient_UploadToBlobAsync(IOTHUB_DEVICE_CLIENT_HANDLE h, const char *name, const unsigned char *source, size_t size, IOTHUB_CLIENT_FILE_UPLOAD_CALLBACK f, void *context)
{
    return RESULT(capiUploadAsync(CAPI_DEVICE, N(h), (char *)name, (unsigned char *)source, size, N(f), N(context)));
}

IOTHUB_CLIENT_RESULT IoTHubDeviceClient_UploadMultipleBlocksToBlobAsync(IOTHUB_DEVICE_CLIENT_HANDLE h, const char *name, IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_CALLBACK_EX f, void *context)
{
    return RESULT(capiUploadBlocks(CAPI_DEVICE, N(h), (char *)name, true, N(f), N(context)));
}
