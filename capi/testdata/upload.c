/* Uploads of a device that the program drives: whole files, files in blocks, and the
   four steps one by one. */
#include "check.h"

#ifdef __cplusplus
#define THREAD_LOCAL thread_local
#else
#define THREAD_LOCAL _Thread_local
#endif

typedef IOTHUB_DEVICE_CLIENT_LL_HANDLE handle;
#define C(f) IoTHubDeviceClient_LL_##f

static THREAD_LOCAL bool here; /* the program's only thread */
static handle client;
static char mark;

static handle open_client(void)
{
    handle h = C(CreateFromConnectionString)(setting("DEVICE_STRING_WS"), MQTT_WebSocket_Protocol);
    CHECK(C(SetOption)(h, OPTION_TRUSTED_CERT, setting("HUB_CA")) == IOTHUB_CLIENT_OK);
    return h;
}

static IOTHUB_CLIENT_RESULT upload(const char *name, const char *text)
{
    return C(UploadToBlob)(client, name, (const unsigned char *)text, strlen(text));
}

static int confirmed;

static void confirm(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    CHECK(r == IOTHUB_CLIENT_CONFIRMATION_OK && context == &mark);
    CHECK(upload("inside.txt", "from a callback") == IOTHUB_CLIENT_OK);
    confirmed++;
}

static void whole(void)
{
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString("beside an upload");
    CHECK(C(SendEventAsync)(client, m, confirm, &mark) == IOTHUB_CLIENT_OK);
    IoTHubMessage_Destroy(m);
    CHECK(upload("whole.txt", "hello") == IOTHUB_CLIENT_OK);
    CHECK(C(UploadToBlob)(client, "empty.txt", NULL, 0) == IOTHUB_CLIENT_OK);
    CHECK(confirmed == 0); /* callbacks wait for DoWork */
    UNTIL(confirmed == 1, C(DoWork)(client));
    CHECK(upload("../out.txt", "hello") == IOTHUB_CLIENT_ERROR);
    CHECK(C(UploadToBlob)(client, NULL, (const unsigned char *)"x", 1) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(UploadToBlob)(client, "x", NULL, 1) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(UploadToBlob)(NULL, "x", (const unsigned char *)"x", 1) == IOTHUB_CLIENT_INVALID_ARG);
}

/* A file of lines. */
typedef struct {
    int lines, given, abort_at, destroy_at, ended;
    IOTHUB_CLIENT_FILE_UPLOAD_RESULT end;
    char line[32];
} lines;

static IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_RESULT next_line(IOTHUB_CLIENT_FILE_UPLOAD_RESULT r, unsigned char const **data, size_t *size, void *context)
{
    lines *l = (lines *)context;
    CHECK(here);
    CHECK(l->ended == 0);
    if (data == NULL || size == NULL) {
        CHECK(data == NULL && size == NULL);
        l->ended++;
        l->end = r;
        return IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_OK;
    }
    CHECK(r == FILE_UPLOAD_OK);
    if (l->given == l->lines) {
        *data = NULL;
        *size = 0;
        return IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_OK;
    }
    l->given++;
    *size = (size_t)snprintf(l->line, sizeof l->line, "line %d\n", l->given); /* over the one before */
    *data = (unsigned char *)l->line;
    if (l->given == l->destroy_at) {
        C(Destroy)(client);
        CHECK(upload("late.txt", "late") == IOTHUB_CLIENT_INVALID_ARG);
    }
    return l->given == l->abort_at ? IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_ABORT : IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_OK;
}

static lines of(int n)
{
    lines l;
    memset(&l, 0, sizeof l);
    l.lines = n;
    return l;
}

static void in_blocks(void)
{
    lines ten = of(10), none = of(0), aborted = of(10), refused = of(1);
    aborted.abort_at = 3;
    CHECK(C(UploadMultipleBlocksToBlob)(client, "ten.txt", next_line, &ten) == IOTHUB_CLIENT_OK);
    CHECK(ten.given == 10 && ten.ended == 1 && ten.end == FILE_UPLOAD_OK);
    CHECK(C(UploadMultipleBlocksToBlob)(client, "none.txt", next_line, &none) == IOTHUB_CLIENT_OK);
    CHECK(none.ended == 1 && none.end == FILE_UPLOAD_OK);
    CHECK(C(UploadMultipleBlocksToBlob)(client, "aborted.txt", next_line, &aborted) == IOTHUB_CLIENT_ERROR);
    CHECK(aborted.given == 3 && aborted.ended == 1 && aborted.end == FILE_UPLOAD_ERROR);
    CHECK(C(UploadMultipleBlocksToBlob)(client, "../out.txt", next_line, &refused) == IOTHUB_CLIENT_ERROR);
    CHECK(refused.given == 0 && refused.ended == 1 && refused.end == FILE_UPLOAD_ERROR);
    CHECK(C(UploadMultipleBlocksToBlob)(client, NULL, next_line, &ten) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(UploadMultipleBlocksToBlob)(client, "x", NULL, &ten) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(UploadMultipleBlocksToBlob)(NULL, "x", next_line, &ten) == IOTHUB_CLIENT_INVALID_ARG);
}

static IOTHUB_CLIENT_RESULT put(IOTHUB_CLIENT_LL_AZURE_STORAGE_CLIENT_HANDLE s, uint32_t number, const char *text)
{
    return C(AzureStoragePutBlock)(s, number, (const uint8_t *)text, strlen(text));
}

static void step_by_step(void)
{
    char *correlation = NULL, *uri = NULL;
    CHECK(C(AzureStorageInitializeBlobUpload)(client, NULL, &correlation, &uri) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(AzureStorageInitializeBlobUpload)(client, "x", NULL, &uri) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(AzureStorageInitializeBlobUpload)(client, "x", &correlation, NULL) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(AzureStorageInitializeBlobUpload)(client, "../x", &correlation, &uri) == IOTHUB_CLIENT_ERROR);
    CHECK(correlation == NULL && uri == NULL);
    CHECK(C(AzureStorageInitializeBlobUpload)(client, "steps.txt", &correlation, &uri) == IOTHUB_CLIENT_OK);
    CHECK(correlation != NULL && strncmp(uri, "https://", 8) == 0);
    CHECK(C(AzureStorageCreateClient)(client, NULL) == NULL);
    CHECK(C(AzureStorageCreateClient)(client, "http://storage.example/c/b") == NULL);
    IOTHUB_CLIENT_LL_AZURE_STORAGE_CLIENT_HANDLE s = C(AzureStorageCreateClient)(client, uri);
    CHECK(s != NULL);
    CHECK(put(s, 0, "wrong") == IOTHUB_CLIENT_OK);
    CHECK(put(s, 1, " two") == IOTHUB_CLIENT_OK);
    CHECK(put(s, 49999, " three") == IOTHUB_CLIENT_OK);
    CHECK(put(s, 0, "one") == IOTHUB_CLIENT_OK);
    CHECK(put(s, 50000, "x") == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(put(s, 2, "") == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(AzureStoragePutBlock)(s, 2, NULL, 1) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(AzureStoragePutBlockList)(s) == IOTHUB_CLIENT_OK);
    C(AzureStorageDestroyClient)(s);
    C(AzureStorageDestroyClient)(s);
    CHECK(put(s, 0, "x") == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(AzureStoragePutBlockList)(s) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(AzureStorageNotifyBlobUploadCompletion)(client, NULL, true, 200, "") == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(AzureStorageNotifyBlobUploadCompletion)(client, correlation, true, 200, NULL) == IOTHUB_CLIENT_OK);
    CHECK(C(AzureStorageNotifyBlobUploadCompletion)(client, correlation, true, 200, "") == IOTHUB_CLIENT_ERROR);
    free(correlation);
    free(uri);
    CHECK(C(AzureStorageInitializeBlobUpload)(client, "failed.txt", &correlation, &uri) == IOTHUB_CLIENT_OK);
    CHECK(C(AzureStorageNotifyBlobUploadCompletion)(client, correlation, false, 507, "no room") == IOTHUB_CLIENT_OK);
    free(correlation);
    free(uri);
}

/* Destroy takes effect when the callback returns, and ends the upload. */
static void destroy_inside(void)
{
    lines l = of(10);
    l.destroy_at = 2;
    CHECK(C(UploadMultipleBlocksToBlob)(client, "destroyed.txt", next_line, &l) == IOTHUB_CLIENT_ERROR);
    CHECK(l.given == 2 && l.ended == 1 && l.end == FILE_UPLOAD_ERROR);
    CHECK(upload("late.txt", "late") == IOTHUB_CLIENT_INVALID_ARG);
}

/* A client for a blob outlives its device, but does nothing then. */
static void orphan(void)
{
    char *correlation, *uri;
    client = open_client();
    CHECK(C(AzureStorageInitializeBlobUpload)(client, "orphan.txt", &correlation, &uri) == IOTHUB_CLIENT_OK);
    IOTHUB_CLIENT_LL_AZURE_STORAGE_CLIENT_HANDLE s = C(AzureStorageCreateClient)(client, uri);
    C(Destroy)(client);
    CHECK(put(s, 0, "x") == IOTHUB_CLIENT_ERROR);
    CHECK(C(AzureStoragePutBlockList)(s) == IOTHUB_CLIENT_ERROR);
    C(AzureStorageDestroyClient)(s);
    free(correlation);
    free(uri);
}

int main(void)
{
    here = true;
    CHECK(IoTHub_Init() == 0);
    client = open_client();
    whole();
    in_blocks();
    step_by_step();
    destroy_inside();
    orphan();
    return result();
}
