/* A program that uses the older names, and what only they have: methods that are
   answered later, and blocks that cannot be aborted. */
#include "check.h"
#include "iothub_client.h"
#include "iothub_client_ll.h"

#ifdef __cplusplus
#include <atomic>
typedef std::atomic<int> counter;
#else
typedef _Atomic int counter;
#endif

static IOTHUB_CLIENT_LL_HANDLE ll;
static IOTHUB_CLIENT_HANDLE client;
static counter calls, given, ended, connected;
static METHOD_HANDLE waiting;

static int called(const char *name, const unsigned char *payload, size_t size, METHOD_HANDLE method, void *context)
{
    CHECK(strcmp(name, "later") == 0 && size == 1 && payload[0] == '7' && context == &calls);
    waiting = method;
    calls++;
    return 0;
}

static const unsigned char answer[] = "{\"done\":true}";

static void get_data(IOTHUB_CLIENT_FILE_UPLOAD_RESULT r, unsigned char const **data, size_t *size, void *context)
{
    CHECK(r == FILE_UPLOAD_OK && context == &given);
    if (data == NULL) {
        ended++;
        return;
    }
    *data = given < 3 ? answer : NULL;
    *size = given < 3 ? sizeof answer - 1 : 0;
    given++;
}

static IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_RESULT get_data_ex(IOTHUB_CLIENT_FILE_UPLOAD_RESULT r, unsigned char const **data, size_t *size, void *context)
{
    get_data(r, data, size, context);
    return IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_OK;
}

static void older_ll(void)
{
    ll = IoTHubClient_LL_CreateFromConnectionString(setting("DEVICE_STRING_WS"), MQTT_WebSocket_Protocol);
    CHECK(IoTHubClient_LL_SetOption(ll, OPTION_TRUSTED_CERT, setting("HUB_CA")) == IOTHUB_CLIENT_OK);
    CHECK(IoTHubClient_LL_SetDeviceMethodCallback_Ex(NULL, called, &calls) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(IoTHubClient_LL_SetDeviceMethodCallback_Ex(ll, called, &calls) == IOTHUB_CLIENT_OK);
    say("ll");
    UNTIL(calls == 1, IoTHubClient_LL_DoWork(ll));
    METHOD_HANDLE method = waiting;
    CHECK(IoTHubClient_LL_DeviceMethodResponse(ll, method, answer, sizeof answer - 1, 201) == IOTHUB_CLIENT_OK);
    CHECK(IoTHubClient_LL_DeviceMethodResponse(ll, method, answer, sizeof answer - 1, 201) == IOTHUB_CLIENT_INVALID_ARG);
    say("answered");
    UNTIL(calls == 2, IoTHubClient_LL_DoWork(ll)); /* one that nobody answers any more */
    CHECK(IoTHubClient_LL_UploadMultipleBlocksToBlob(ll, "old.txt", get_data, &given) == IOTHUB_CLIENT_OK);
    CHECK(given == 4 && ended == 1);
    given = ended = 0;
    CHECK(IoTHubClient_LL_UploadMultipleBlocksToBlobEx(ll, "old ex.txt", get_data_ex, &given) == IOTHUB_CLIENT_OK);
    CHECK(given == 4 && ended == 1);
    IoTHubClient_LL_Destroy(ll);
    CHECK(IoTHubClient_LL_DeviceMethodResponse(ll, waiting, NULL, 0, 200) == IOTHUB_CLIENT_INVALID_ARG);
}

static void status_changed(IOTHUB_CLIENT_CONNECTION_STATUS s, IOTHUB_CLIENT_CONNECTION_STATUS_REASON r, void *context)
{
    CHECK(context == NULL);
    (void)r;
    connected += s == IOTHUB_CLIENT_CONNECTION_AUTHENTICATED;
}

static void older(void)
{
    calls = 0;
    client = IoTHubClient_CreateFromConnectionString(setting("DEVICE_STRING_WS"), MQTT_WebSocket_Protocol);
    CHECK(IoTHubClient_SetOption(client, OPTION_TRUSTED_CERT, setting("HUB_CA")) == IOTHUB_CLIENT_OK);
    CHECK(IoTHubClient_SetConnectionStatusCallback(client, status_changed, NULL) == IOTHUB_CLIENT_OK);
    CHECK(IoTHubClient_SetDeviceMethodCallback_Ex(client, called, &calls) == IOTHUB_CLIENT_OK);
    UNTIL(connected == 1, (void)0); /* the hub has noticed that the other client is gone */
    say("threaded");
    UNTIL(calls == 1, (void)0);
    CHECK(IoTHubClient_DeviceMethodResponse(client, waiting, NULL, 0, 202) == IOTHUB_CLIENT_OK);
    given = ended = 0;
    CHECK(IoTHubClient_UploadMultipleBlocksToBlobAsync(client, "older.txt", get_data, &given) == IOTHUB_CLIENT_OK);
    UNTIL(ended == 1, (void)0);
    CHECK(given == 4);
    given = ended = 0;
    CHECK(IoTHubClient_UploadMultipleBlocksToBlobAsyncEx(client, "older ex.txt", get_data_ex, &given) == IOTHUB_CLIENT_OK);
    UNTIL(ended == 1, (void)0);
    IoTHubClient_Destroy(client);
}

int main(void)
{
    CHECK(IoTHub_Init() == 0);
    older_ll();
    older();
    return result();
}
