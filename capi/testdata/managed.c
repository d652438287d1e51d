/* Sending with clients that have a thread: from many threads at once, from
   callbacks, and with Destroy where it may be called. */
#include "check.h"

#ifdef __cplusplus
#include <atomic>
typedef std::atomic<int> counter;
#define THREAD_LOCAL thread_local
#else
typedef _Atomic int counter;
#define THREAD_LOCAL _Thread_local
#endif

#define THREADS 4
#define EACH 500

static IOTHUB_MODULE_CLIENT_HANDLE client;
static THREAD_LOCAL bool mine; /* a thread of the program, not of the library */
static counter confirmed;

typedef struct {
    counter times;
} message;

static message all[THREADS][EACH];

static IOTHUB_MODULE_CLIENT_HANDLE open_client(void)
{
    IOTHUB_MODULE_CLIENT_HANDLE h = IoTHubModuleClient_CreateFromConnectionString(setting("MODULE_STRING"), MQTT_Protocol);
    CHECK(IoTHubModuleClient_SetOption(h, OPTION_TRUSTED_CERT, setting("HUB_CA")) == IOTHUB_CLIENT_OK);
    return h;
}

static IOTHUB_CLIENT_RESULT send_text(IOTHUB_MODULE_CLIENT_HANDLE h, IOTHUB_CLIENT_EVENT_CONFIRMATION_CALLBACK f, void *context)
{
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString("text");
    IOTHUB_CLIENT_RESULT r = IoTHubModuleClient_SendEventAsync(h, m, f, context);
    IoTHubMessage_Destroy(m);
    return r;
}

static void confirm(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    IOTHUB_CLIENT_STATUS status;
    CHECK(!mine && r == IOTHUB_CLIENT_CONFIRMATION_OK);
    ((message *)context)->times++;
    /* No lock is held: this would never return. */
    CHECK(IoTHubModuleClient_GetSendStatus(client, &status) == IOTHUB_CLIENT_OK);
    confirmed++;
}

static int sender(void *arg)
{
    message *m = (message *)arg;
    mine = true;
    for (int i = 0; i < EACH; i++) {
        CHECK(send_text(client, confirm, &m[i]) == IOTHUB_CLIENT_OK);
    }
    return 0;
}

static void many_threads(void)
{
    THREAD_HANDLE threads[THREADS];
    client = open_client();
    for (int i = 0; i < THREADS; i++) {
        CHECK(ThreadAPI_Create(&threads[i], sender, all[i]) == THREADAPI_OK);
    }
    for (int i = 0; i < THREADS; i++) {
        CHECK(ThreadAPI_Join(threads[i], NULL) == THREADAPI_OK);
    }
    UNTIL(confirmed == THREADS * EACH, (void)0);
    for (int i = 0; i < THREADS; i++) {
        for (int k = 0; k < EACH; k++) {
            CHECK(all[i][k].times == 1);
        }
    }
    IoTHubModuleClient_Destroy(client);
}

static counter ok, rest;

static void count(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    (void)context;
    if (r == IOTHUB_CLIENT_CONFIRMATION_OK) {
        ok++;
    } else {
        CHECK(r == IOTHUB_CLIENT_CONFIRMATION_BECAUSE_DESTROY);
        rest++;
    }
}

/* Destroy returns when everything is confirmed, one way or the other. */
static void destroy_busy(void)
{
    client = open_client();
    for (int i = 0; i < EACH; i++) {
        CHECK(send_text(client, count, NULL) == IOTHUB_CLIENT_OK);
    }
    IoTHubModuleClient_Destroy(client);
    CHECK(ok + rest == EACH);
    IoTHubModuleClient_Destroy(client);
}

static void destroy_in_callback(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    CHECK(r == IOTHUB_CLIENT_CONFIRMATION_OK && context == NULL);
    for (int i = 0; i < EACH; i++) {
        CHECK(send_text(client, count, NULL) == IOTHUB_CLIENT_OK);
    }
    IoTHubModuleClient_Destroy(client);
    CHECK(rest == 0);
    CHECK(send_text(client, count, NULL) == IOTHUB_CLIENT_INVALID_ARG);
}

int main(void)
{
    mine = true;
    CHECK(IoTHub_Init() == 0);
    many_threads();
    destroy_busy();
    ok = rest = 0;
    client = open_client();
    CHECK(send_text(client, destroy_in_callback, NULL) == IOTHUB_CLIENT_OK);
    UNTIL(ok + rest == EACH, (void)0);
    CHECK(rest > 0);
    return result();
}
