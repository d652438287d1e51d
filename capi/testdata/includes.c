/* What a program may count on that includes the headers of the clients with a thread
   and nothing else: those of the clients without, strlen, and one type for a client
   of a blob. */
#include "iothub.h"
#include "iothub_device_client.h"
#include "iothub_module_client.h"

#include <stdio.h>

int main(void)
{
    IOTHUB_CLIENT_LL_UPLOADTOBLOB_CONTEXT_HANDLE blob = IoTHubDeviceClient_LL_AzureStorageCreateClient(NULL, "https://storage.example/c/b");
    IOTHUB_CLIENT_AZURE_STORAGE_CLIENT_HANDLE same = blob;
    IoTHubDeviceClient_AzureStorageDestroyClient(same);
    IoTHubModuleClient_LL_Destroy(NULL);
    IoTHubModuleClient_Destroy(NULL);
    puts(blob == NULL && strlen("x") == 1 ? "passed" : "failed");
    return 0;
}
