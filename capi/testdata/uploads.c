/* Thousands of files from one client, whose memory does not grow: the set that is
   resident at the end is that after the first quarter, give or take. */
#include "check.h"

#define TOTAL 2000
#define C(f) IoTHubDeviceClient_LL_##f

static long resident(void)
{
    long pages = 0, all = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f != NULL && fscanf(f, "%ld %ld", &all, &pages) == 2);
    fclose(f);
    return pages * 4;
}

static int left;

static IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_RESULT block(IOTHUB_CLIENT_FILE_UPLOAD_RESULT r, unsigned char const **data, size_t *size, void *context)
{
    CHECK(r == FILE_UPLOAD_OK && context == &left);
    if (data != NULL) {
        *data = (const unsigned char *)"block";
        *size = left > 0 ? 5 : 0;
        left--;
    }
    return IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_OK;
}

/* One file in each of the three ways. */
static void upload(IOTHUB_DEVICE_CLIENT_LL_HANDLE client, int i)
{
    char *correlation = NULL, *uri = NULL;
    IOTHUB_CLIENT_LL_AZURE_STORAGE_CLIENT_HANDLE s;
    switch (i % 3) {
    case 0:
        CHECK(C(UploadToBlob)(client, "a", (const unsigned char *)"file", 4) == IOTHUB_CLIENT_OK);
        break;
    case 1:
        left = 3;
        CHECK(C(UploadMultipleBlocksToBlob)(client, "b", block, &left) == IOTHUB_CLIENT_OK);
        break;
    default:
        CHECK(C(AzureStorageInitializeBlobUpload)(client, "c", &correlation, &uri) == IOTHUB_CLIENT_OK);
        s = C(AzureStorageCreateClient)(client, uri);
        CHECK(C(AzureStoragePutBlock)(s, 0, (const uint8_t *)"block", 5) == IOTHUB_CLIENT_OK);
        CHECK(C(AzureStoragePutBlockList)(s) == IOTHUB_CLIENT_OK);
        C(AzureStorageDestroyClient)(s);
        CHECK(C(AzureStorageNotifyBlobUploadCompletion)(client, correlation, true, 200, "") == IOTHUB_CLIENT_OK);
        free(correlation);
        free(uri);
    }
}

int main(void)
{
    long early = 0;
    CHECK(IoTHub_Init() == 0);
    IOTHUB_DEVICE_CLIENT_LL_HANDLE client = C(CreateFromConnectionString)(setting("DEVICE_STRING_WS"), MQTT_WebSocket_Protocol);
    CHECK(C(SetOption)(client, OPTION_TRUSTED_CERT, setting("HUB_CA")) == IOTHUB_CLIENT_OK);
    for (int i = 0; i < TOTAL && check_failures == 0; i++) {
        upload(client, i);
        C(DoWork)(client);
        if (i == TOTAL / 4) {
            early = resident();
        }
    }
    long late = resident();
    fprintf(stderr, "resident after a quarter: %ld KiB, at the end: %ld KiB\n", early, late);
    CHECK(late < early + 8 * 1024);
    C(Destroy)(client);
    return result();
}
