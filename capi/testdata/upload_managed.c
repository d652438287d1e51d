/* Uploads of a device that has a thread of its own. */
#include "check.h"

#ifdef __cplusplus
#include <atomic>
typedef std::atomic<int> counter;
#define THREAD_LOCAL thread_local
#else
typedef _Atomic int counter;
#define THREAD_LOCAL _Thread_local
#endif

typedef IOTHUB_DEVICE_CLIENT_HANDLE handle;
#define C(f) IoTHubDeviceClient_##f

static THREAD_LOCAL bool mine; /* the program's thread, not the library's */
static handle client;
static counter done;
static char mark;

static handle open_client(void)
{
    handle h = C(CreateFromConnectionString)(setting("DEVICE_STRING_WS"), MQTT_WebSocket_Protocol);
    CHECK(C(SetOption)(h, OPTION_TRUSTED_CERT, setting("HUB_CA")) == IOTHUB_CLIENT_OK);
    return h;
}

static void uploaded(IOTHUB_CLIENT_FILE_UPLOAD_RESULT r, void *context)
{
    CHECK(!mine && r == FILE_UPLOAD_OK && context == &mark);
    done++;
}

static void refused(IOTHUB_CLIENT_FILE_UPLOAD_RESULT r, void *context)
{
    CHECK(!mine && r == FILE_UPLOAD_ERROR && context == &mark);
    done++;
}

static IOTHUB_CLIENT_RESULT upload(const char *name, IOTHUB_CLIENT_FILE_UPLOAD_CALLBACK f)
{
    unsigned char data[] = "hello";
    IOTHUB_CLIENT_RESULT r = C(UploadToBlobAsync)(client, name, data, 5, f, f == NULL ? NULL : &mark);
    memset(data, 'x', sizeof data); /* it was copied */
    return r;
}

static void whole(void)
{
    CHECK(upload("whole.txt", uploaded) == IOTHUB_CLIENT_OK);
    CHECK(C(UploadToBlobAsync)(client, "empty.txt", NULL, 0, uploaded, &mark) == IOTHUB_CLIENT_OK);
    CHECK(upload("../out.txt", refused) == IOTHUB_CLIENT_OK);
    CHECK(upload("quiet.txt", NULL) == IOTHUB_CLIENT_OK);
    CHECK(upload(NULL, uploaded) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(UploadToBlobAsync)(client, "x", NULL, 1, uploaded, &mark) == IOTHUB_CLIENT_INVALID_ARG);
    UNTIL(done == 3, (void)0);
}

/* A file of lines. */
typedef struct {
    int lines, given, abort_at, destroy_at;
    counter ok, failed;
    char line[32];
} lines;

static IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_RESULT next_line(IOTHUB_CLIENT_FILE_UPLOAD_RESULT r, unsigned char const **data, size_t *size, void *context)
{
    lines *l = (lines *)context;
    CHECK(!mine && l->ok + l->failed == 0);
    if (data == NULL) {
        CHECK(size == NULL);
        if (r == FILE_UPLOAD_OK) {
            l->ok++;
        } else {
            l->failed++;
        }
        return IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_OK;
    }
    *data = NULL;
    *size = 0;
    if (l->given < l->lines) {
        l->given++;
        *size = (size_t)snprintf(l->line, sizeof l->line, "line %d\n", l->given);
        *data = (unsigned char *)l->line;
    }
    if (l->given == l->destroy_at) {
        C(Destroy)(client);
    }
    return l->given == l->abort_at ? IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_ABORT : IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_OK;
}

static lines ten, aborted, last;

static void in_blocks(void)
{
    ten.lines = aborted.lines = 10;
    aborted.abort_at = 3;
    CHECK(C(UploadMultipleBlocksToBlobAsync)(client, "ten.txt", next_line, &ten) == IOTHUB_CLIENT_OK);
    CHECK(C(UploadMultipleBlocksToBlobAsync)(client, "aborted.txt", next_line, &aborted) == IOTHUB_CLIENT_OK);
    CHECK(C(UploadMultipleBlocksToBlobAsync)(client, "x", NULL, &ten) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(UploadMultipleBlocksToBlobAsync)(client, NULL, next_line, &ten) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(UploadMultipleBlocksToBlobAsync)(NULL, "x", next_line, &ten) == IOTHUB_CLIENT_INVALID_ARG);
    UNTIL(ten.ok == 1 && aborted.failed == 1, (void)0);
}

/* The four steps, which wait, on any thread. */
static void steps(const char *name)
{
    char *correlation = NULL, *uri = NULL;
    CHECK(C(AzureStorageInitializeBlobUpload)(client, name, &correlation, &uri) == IOTHUB_CLIENT_OK);
    IOTHUB_CLIENT_AZURE_STORAGE_CLIENT_HANDLE s = C(AzureStorageCreateClient)(client, uri);
    CHECK(C(AzureStoragePutBlock)(s, 0, (const uint8_t *)"one ", 4) == IOTHUB_CLIENT_OK);
    CHECK(C(AzureStoragePutBlock)(s, 1, (const uint8_t *)"two", 3) == IOTHUB_CLIENT_OK);
    CHECK(C(AzureStoragePutBlockList)(s) == IOTHUB_CLIENT_OK);
    C(AzureStorageDestroyClient)(s);
    CHECK(C(AzureStorageNotifyBlobUploadCompletion)(client, correlation, true, 200, "") == IOTHUB_CLIENT_OK);
    free(correlation);
    free(uri);
}

static counter inside;

static void confirm(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    CHECK(!mine && r == IOTHUB_CLIENT_CONFIRMATION_OK && context == &mark);
    steps("inside.txt");
    inside++;
}

static void send_message(void)
{
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString("beside an upload");
    CHECK(C(SendEventAsync)(client, m, confirm, &mark) == IOTHUB_CLIENT_OK);
    IoTHubMessage_Destroy(m);
}

int main(void)
{
    mine = true;
    CHECK(IoTHub_Init() == 0);
    client = open_client();
    whole();
    in_blocks();
    send_message();
    steps("steps.txt");
    UNTIL(inside == 1, (void)0);
    /* Destroy finishes what was accepted, */
    done = 0;
    CHECK(upload("accepted.txt", uploaded) == IOTHUB_CLIENT_OK);
    C(Destroy)(client);
    CHECK(done == 1);
    CHECK(upload("late.txt", uploaded) == IOTHUB_CLIENT_INVALID_ARG);
    /* even when the upload itself calls it. */
    client = open_client();
    last.lines = 10;
    last.destroy_at = 2;
    CHECK(C(UploadMultipleBlocksToBlobAsync)(client, "last.txt", next_line, &last) == IOTHUB_CLIENT_OK);
    UNTIL(last.ok == 1, (void)0);
    CHECK(last.given == 10);
    return result();
}
