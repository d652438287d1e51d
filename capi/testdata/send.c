/* Sending with the clients that the program drives, against a hub: what it means
   that a message was accepted. */
#include "check.h"

static IOTHUB_MODULE_CLIENT_LL_HANDLE client;

/* A message under way, which its callback is told of by its address. */
typedef struct {
    int confirmed;
    IOTHUB_CLIENT_CONFIRMATION_RESULT result;
    int order;
} message;

static int confirmations;

static void confirm(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    message *m = (message *)context;
    m->confirmed++;
    m->result = r;
    m->order = confirmations++;
}

static int inside;

static void authenticated(IOTHUB_CLIENT_CONNECTION_STATUS s, IOTHUB_CLIENT_CONNECTION_STATUS_REASON r, void *context)
{
    CHECK(inside); /* in DoWork only */
    CHECK(context == (void *)7);
    if (s == IOTHUB_CLIENT_CONNECTION_AUTHENTICATED) {
        CHECK(r == IOTHUB_CLIENT_CONNECTION_OK);
        say("connected");
    }
}

static void work(void)
{
    inside = 1;
    IoTHubModuleClient_LL_DoWork(client);
    inside = 0;
}

static IOTHUB_MODULE_CLIENT_LL_HANDLE open_client(void)
{
    IOTHUB_MODULE_CLIENT_LL_HANDLE h = IoTHubModuleClient_LL_CreateFromConnectionString(setting("MODULE_STRING"), MQTT_Protocol);
    CHECK(h != NULL);
    CHECK(IoTHubModuleClient_LL_SetOption(h, OPTION_TRUSTED_CERT, setting("HUB_CA")) == IOTHUB_CLIENT_OK);
    return h;
}

static IOTHUB_CLIENT_RESULT send_text(const char *text, IOTHUB_CLIENT_EVENT_CONFIRMATION_CALLBACK f, void *context)
{
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString(text);
    IOTHUB_CLIENT_RESULT r = IoTHubModuleClient_LL_SendEventAsync(client, m, f, context);
    /* It is the program's again, and what is sent does not change. */
    (void)IoTHubMessage_SetMessageId(m, "changed");
    IoTHubMessage_Destroy(m);
    return r;
}

#define MANY 1000

static void many_in_order(void)
{
    static message all[MANY];
    for (int i = 0; i < MANY; i++) {
        CHECK(send_text("many", confirm, &all[i]) == IOTHUB_CLIENT_OK);
    }
    CHECK(confirmations == 0); /* nothing happens in the call */
    UNTIL(confirmations == MANY, work());
    for (int i = 0; i < MANY; i++) {
        CHECK(all[i].confirmed == 1 && all[i].result == IOTHUB_CLIENT_CONFIRMATION_OK && all[i].order == i);
    }
    IOTHUB_CLIENT_STATUS status = IOTHUB_CLIENT_SEND_STATUS_BUSY;
    CHECK(IoTHubModuleClient_LL_GetSendStatus(client, &status) == IOTHUB_CLIENT_OK && status == IOTHUB_CLIENT_SEND_STATUS_IDLE);
}

/* Everything a message can have, which the test reads at the hub. */
static void everything(bool encode)
{
    const unsigned char body[] = {0, 1, 2, 254, 255};
    IOTHUB_MESSAGE_DIAGNOSTIC_PROPERTY_DATA diagnostics = {(char *)"abcd1234", (char *)"1506054179"};
    CHECK(IoTHubModuleClient_LL_SetOption(client, OPTION_AUTO_URL_ENCODE_DECODE, &encode) == IOTHUB_CLIENT_OK);
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromByteArray(body, sizeof body);
    CHECK(IoTHubMessage_SetMessageId(m, "id-1") == IOTHUB_MESSAGE_OK);
    CHECK(IoTHubMessage_SetCorrelationId(m, "corr-1") == IOTHUB_MESSAGE_OK);
    CHECK(IoTHubMessage_SetContentTypeSystemProperty(m, encode ? "application/json" : "application%2fjson") == IOTHUB_MESSAGE_OK);
    CHECK(IoTHubMessage_SetContentEncodingSystemProperty(m, "utf-8") == IOTHUB_MESSAGE_OK);
    CHECK(IoTHubMessage_SetMessageCreationTimeUtcSystemProperty(m, "2020-07-01T01:00:00.346Z") == IOTHUB_MESSAGE_OK);
    CHECK(IoTHubMessage_SetComponentName(m, "thermostat1") == IOTHUB_MESSAGE_OK);
    CHECK(IoTHubMessage_SetDiagnosticPropertyData(m, &diagnostics) == IOTHUB_MESSAGE_OK);
    CHECK(IoTHubMessage_SetProperty(m, "a&b", "c=d /?#") == IOTHUB_MESSAGE_OK);
    CHECK(Map_AddOrUpdate(IoTHubMessage_Properties(m), "plain", encode ? "100%" : "100%25") == MAP_OK);
    message state = {0, IOTHUB_CLIENT_CONFIRMATION_ERROR, 0};
    CHECK(IoTHubModuleClient_LL_SendEventToOutputAsync(client, m, "out1", confirm, &state) == IOTHUB_CLIENT_OK);
    IoTHubMessage_Destroy(m);
    UNTIL(state.confirmed, work());
    CHECK(state.result == IOTHUB_CLIENT_CONFIRMATION_OK);
}

static void refused(void)
{
    static unsigned char large[256 * 1024 + 1];
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromByteArray(large, sizeof large);
    message state = {0, IOTHUB_CLIENT_CONFIRMATION_OK, 0};
    CHECK(IoTHubModuleClient_LL_SendEventAsync(client, m, confirm, &state) == IOTHUB_CLIENT_ERROR);
    IoTHubMessage_Destroy(m);
    m = IoTHubMessage_CreateFromString("x");
    CHECK(IoTHubMessage_SetMessageCreationTimeUtcSystemProperty(m, "yesterday") == IOTHUB_MESSAGE_OK);
    CHECK(IoTHubModuleClient_LL_SendEventAsync(client, m, confirm, &state) == IOTHUB_CLIENT_ERROR);
    IoTHubMessage_Destroy(m);
    CHECK(IoTHubModuleClient_LL_SendEventAsync(client, m, confirm, &state) == IOTHUB_CLIENT_INVALID_ARG);
    work();
    CHECK(state.confirmed == 0); /* what was refused never confirms */
}

/* A callback that sends, looks at the status, sets options and works, which does
   nothing there. */
static int again;

static void send_again(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    int *left = (int *)context;
    bool on = true;
    IOTHUB_CLIENT_STATUS status;
    CHECK(inside && r == IOTHUB_CLIENT_CONFIRMATION_OK);
    again++;
    if (--*left > 0) {
        CHECK(send_text("again", send_again, context) == IOTHUB_CLIENT_OK);
    }
    CHECK(IoTHubModuleClient_LL_GetSendStatus(client, &status) == IOTHUB_CLIENT_OK);
    CHECK(IoTHubModuleClient_LL_SetOption(client, OPTION_AUTO_URL_ENCODE_DECODE, &on) == IOTHUB_CLIENT_OK);
    int before = again;
    IoTHubModuleClient_LL_DoWork(client);
    CHECK(again == before);
}

static void in_callback(void)
{
    int left = 20;
    CHECK(send_text("again", send_again, &left) == IOTHUB_CLIENT_OK);
    UNTIL(left == 0, work());
    CHECK(again == 20);
}

/* A callback that destroys the client: what waits then is answered, and the
   handle is stale at once. */
static int destroyed_ok, destroyed_rest;

static void destroy_it(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    CHECK(context == NULL);
    if (r == IOTHUB_CLIENT_CONFIRMATION_OK) {
        destroyed_ok++;
    } else {
        CHECK(r == IOTHUB_CLIENT_CONFIRMATION_BECAUSE_DESTROY);
        destroyed_rest++;
    }
    IOTHUB_MODULE_CLIENT_LL_HANDLE h = client;
    if (destroyed_ok == 1 && destroyed_rest == 0) {
        CHECK(send_text("waits", destroy_it, NULL) == IOTHUB_CLIENT_OK);
        IoTHubModuleClient_LL_Destroy(h);
        CHECK(destroyed_rest == 0); /* later, not inside this */
    }
    IoTHubModuleClient_LL_Destroy(h);
    CHECK(send_text("late", destroy_it, NULL) == IOTHUB_CLIENT_INVALID_ARG);
}

static void destroy_in_callback(void)
{
    CHECK(send_text("first", destroy_it, NULL) == IOTHUB_CLIENT_OK);
    UNTIL(destroyed_rest == 1, work());
    CHECK(destroyed_ok == 1);
    work();
    CHECK(destroyed_ok + destroyed_rest == 2);
}

/* Destroy answers in the call, in order, and a callback that sends then is told
   that it is too late. */
static void send_late(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    confirm(r, context);
    CHECK(send_text("late", confirm, context) == IOTHUB_CLIENT_INVALID_ARG);
}

static void destroy_waiting(void)
{
    message all[3];
    memset(all, 0, sizeof all);
    client = open_client();
    confirmations = 0;
    for (int i = 0; i < 3; i++) {
        CHECK(send_text("never", send_late, &all[i]) == IOTHUB_CLIENT_OK);
    }
    IoTHubModuleClient_LL_Destroy(client);
    for (int i = 0; i < 3; i++) {
        CHECK(all[i].confirmed == 1 && all[i].result == IOTHUB_CLIENT_CONFIRMATION_BECAUSE_DESTROY && all[i].order == i);
    }
}

/* A message that no hub takes in time, with a client that cannot connect. */
static void message_timeout(void)
{
    tickcounter_ms_t timeout = 20, off = 0;
    message state = {0, IOTHUB_CLIENT_CONFIRMATION_OK, 0}, patient = {0, IOTHUB_CLIENT_CONFIRMATION_OK, 0};
    client = IoTHubModuleClient_LL_CreateFromConnectionString("HostName=127.0.0.1:1;DeviceId=d;ModuleId=m;SharedAccessKey=c2VjcmV0", MQTT_Protocol);
    CHECK(IoTHubModuleClient_LL_SetOption(client, OPTION_MESSAGE_TIMEOUT, &timeout) == IOTHUB_CLIENT_OK);
    CHECK(send_text("impatient", confirm, &state) == IOTHUB_CLIENT_OK);
    CHECK(IoTHubModuleClient_LL_SetOption(client, OPTION_MESSAGE_TIMEOUT, &off) == IOTHUB_CLIENT_OK);
    CHECK(send_text("patient", confirm, &patient) == IOTHUB_CLIENT_OK);
    UNTIL(state.confirmed, work());
    CHECK(state.result == IOTHUB_CLIENT_CONFIRMATION_MESSAGE_TIMEOUT && patient.confirmed == 0);
    IoTHubModuleClient_LL_Destroy(client);
    CHECK(patient.confirmed == 1 && patient.result == IOTHUB_CLIENT_CONFIRMATION_BECAUSE_DESTROY);
}

int main(void)
{
    CHECK(IoTHub_Init() == 0);
    client = open_client();
    CHECK(IoTHubModuleClient_LL_SetConnectionStatusCallback(client, authenticated, (void *)7) == IOTHUB_CLIENT_OK);
    many_in_order();
    everything(true);
    everything(false);
    refused();
    in_callback();
    destroy_in_callback();
    destroy_waiting();
    message_timeout();
    return result();
}
