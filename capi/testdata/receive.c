/* Receiving as a device, against a hub that the test drives: messages, methods,
   commands, the twin and properties. receive_managed.c is the same with a client
   that has a thread. */
#include "check.h"

#include "iothub_client_properties.h"

#ifdef MANAGED
typedef IOTHUB_DEVICE_CLIENT_HANDLE handle;
#define C(f) IoTHubDeviceClient_##f
#define WORK ((void)0)
#define IN_WORK true
#else
typedef IOTHUB_DEVICE_CLIENT_LL_HANDLE handle;
#define C(f) IoTHubDeviceClient_LL_##f
static bool working;
#define WORK (working = true, IoTHubDeviceClient_LL_DoWork(client), working = false)
#define IN_WORK working
#endif

static handle client;
static char mark; /* its address is the context of every callback */

/* What callbacks count may be read on another thread. */
#ifdef __cplusplus
#include <atomic>
typedef std::atomic<int> counter;
#else
typedef _Atomic int counter;
#endif

static counter connected, accepted, rejected, abandoned, later;
static counter whole, partial, got_twin, reported, stopped, all_properties, updates;
static IOTHUB_MESSAGE_HANDLE kept;

static void status_changed(IOTHUB_CLIENT_CONNECTION_STATUS s, IOTHUB_CLIENT_CONNECTION_STATUS_REASON r, void *context)
{
    CHECK(context == &mark && IN_WORK);
    if (s == IOTHUB_CLIENT_CONNECTION_AUTHENTICATED && r == IOTHUB_CLIENT_CONNECTION_OK) {
        connected++;
    }
}

static bool is(const unsigned char *p, size_t n, const char *text)
{
    return n == strlen(text) && memcmp(p, text, n) == 0;
}

static bool has(const unsigned char *p, size_t n, const char *text)
{
    char *copy = (char *)calloc(n + 1, 1);
    memcpy(copy, p, n);
    bool found = strstr(copy, text) != NULL;
    free(copy);
    return found;
}

static IOTHUBMESSAGE_DISPOSITION_RESULT message_came(IOTHUB_MESSAGE_HANDLE m, void *context)
{
    const unsigned char *p = NULL;
    size_t n = 0;
    CHECK(context == &mark && IN_WORK);
    CHECK(IoTHubMessage_GetContentType(m) == IOTHUBMESSAGE_BYTEARRAY && IoTHubMessage_GetString(m) == NULL);
    CHECK(IoTHubMessage_GetByteArray(m, &p, &n) == IOTHUB_MESSAGE_OK);
    CHECK(strcmp(IoTHubMessage_GetMessageId(m), "m%401") == 0); /* not decoded: the option is off */
    CHECK(strcmp(IoTHubMessage_GetCorrelationId(m), "c1") == 0);
    CHECK(strcmp(IoTHubMessage_GetProperty(m, "k%201"), "v%261") == 0);
    CHECK(IoTHubMessage_GetProperty(m, "none") == NULL && IoTHubMessage_GetOutputName(m) == NULL);
    if (is(p, n, "accept")) {
        accepted++;
        return IOTHUBMESSAGE_ACCEPTED;
    }
    if (is(p, n, "reject")) {
        rejected++;
        return IOTHUBMESSAGE_REJECTED;
    }
    if (is(p, n, "abandon")) {
        abandoned++;
        return IOTHUBMESSAGE_ABANDONED;
    }
    CHECK(is(p, n, "later"));
    kept = m;
    later++;
    return IOTHUBMESSAGE_ASYNC_ACK;
}

static void messages(void)
{
    const unsigned char *p;
    size_t n;
    time_t at = 0;
    CHECK(C(SetMessageCallback)(client, message_came, &mark) == IOTHUB_CLIENT_OK);
    UNTIL(connected > 0, WORK);
    say("messages");
    UNTIL(accepted == 1 && rejected == 1 && later == 1, WORK);
    CHECK(C(GetLastMessageReceiveTime)(client, &at) == IOTHUB_CLIENT_OK);
    CHECK(at > 1500000000);
    CHECK(IoTHubMessage_GetByteArray(kept, &p, &n) == IOTHUB_MESSAGE_OK && is(p, n, "later")); /* it lives */
    CHECK(C(SendMessageDisposition)(client, kept, IOTHUBMESSAGE_ACCEPTED) == IOTHUB_CLIENT_OK);
    CHECK(C(SendMessageDisposition)(client, kept, IOTHUBMESSAGE_ACCEPTED) == IOTHUB_CLIENT_INVALID_ARG);
    UNTIL(abandoned >= 1, WORK);
    CHECK(C(SetMessageCallback)(client, NULL, NULL) == IOTHUB_CLIENT_OK);
}

static int method_called(const char *name, const unsigned char *p, size_t n, unsigned char **r, size_t *rn, void *context)
{
    CHECK(context == &mark && IN_WORK && *r == NULL);
    if (strcmp(name, "echo") == 0) {
        *r = (unsigned char *)malloc(n);
        memcpy(*r, p, n);
        *rn = n;
        return 200;
    }
    if (strcmp(name, "not json") == 0) {
        *r = (unsigned char *)malloc(1);
        **r = '{';
        *rn = 1;
        return 200;
    }
    if (strcmp(name, "stop") == 0) {
        stopped++;
    }
    return 404; /* and no payload */
}

static void methods(void)
{
    CHECK(C(SetDeviceMethodCallback)(client, method_called, &mark) == IOTHUB_CLIENT_OK);
    say("methods");
    UNTIL(stopped == 1, WORK);
    CHECK(C(SetDeviceMethodCallback)(client, NULL, NULL) == IOTHUB_CLIENT_OK);
}

static void command_called(const IOTHUB_CLIENT_COMMAND_REQUEST *q, IOTHUB_CLIENT_COMMAND_RESPONSE *r, void *context)
{
    static const char answer[] = "{\"done\":true}";
    CHECK(context == &mark && IN_WORK && q->structVersion == 1 && r->structVersion == 1 && r->statusCode == 500);
    if (strcmp(q->commandName, "stop") == 0) {
        CHECK(q->componentName == NULL);
        stopped++;
        r->statusCode = 200;
        return;
    }
    CHECK(strcmp(q->componentName, "thermostat1") == 0 && strcmp(q->commandName, "reboot") == 0);
    CHECK(is(q->payload, q->payloadLength, "{\"delay\":3}"));
    r->payload = (unsigned char *)malloc(sizeof answer - 1);
    memcpy(r->payload, answer, sizeof answer - 1);
    r->payloadLength = sizeof answer - 1;
    r->statusCode = 202;
}

static void commands(void)
{
    CHECK(C(SubscribeToCommands)(client, command_called, &mark) == IOTHUB_CLIENT_OK);
    say("commands");
    UNTIL(stopped == 2, WORK);
}

static void twin_came(DEVICE_TWIN_UPDATE_STATE s, const unsigned char *p, size_t n, void *context)
{
    CHECK(context == &mark && IN_WORK);
    if (s == DEVICE_TWIN_UPDATE_COMPLETE) {
        CHECK(has(p, n, "\"desired\":{") && has(p, n, "\"reported\":{") && has(p, n, "\"$version\":"));
        whole++;
        say("twin");
    } else {
        CHECK(has(p, n, "\"interval\":5") && has(p, n, "\"$version\":2") && !has(p, n, "desired"));
        partial++;
    }
}

static void twin_read(DEVICE_TWIN_UPDATE_STATE s, const unsigned char *p, size_t n, void *context)
{
    CHECK(context == &mark && IN_WORK && s == DEVICE_TWIN_UPDATE_COMPLETE);
    CHECK(has(p, n, "\"interval\":5") && has(p, n, "\"color\":\"red\""));
    got_twin++;
}

static void was_reported(int status, void *context)
{
    CHECK(context == &mark && IN_WORK && status == 204);
    reported++;
}

static void twins(void)
{
    unsigned char patch[] = "{\"color\":\"red\"}";
    CHECK(C(SetDeviceTwinCallback)(client, twin_came, &mark) == IOTHUB_CLIENT_OK);
    UNTIL(partial == 1, WORK);
    CHECK(whole == 1);
    CHECK(C(SendReportedState)(client, patch, sizeof patch - 1, was_reported, &mark) == IOTHUB_CLIENT_OK);
    memset(patch, 'x', sizeof patch); /* it was copied */
    UNTIL(reported == 1, WORK);
    CHECK(C(GetTwinAsync)(client, twin_read, &mark) == IOTHUB_CLIENT_OK);
    UNTIL(got_twin == 1, WORK);
    CHECK(C(SetDeviceTwinCallback)(client, NULL, NULL) == IOTHUB_CLIENT_OK);
}

static void properties_came(IOTHUB_CLIENT_PROPERTY_PAYLOAD_TYPE t, const unsigned char *p, size_t n, void *context)
{
    IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE d = NULL;
    IOTHUB_CLIENT_PROPERTY_PARSED property;
    bool more = false;
    int version = 0, count = 0;
    CHECK(context == &mark && IN_WORK);
    CHECK(IoTHubClient_Properties_Deserializer_Create(t, p, n, &d) == IOTHUB_CLIENT_OK);
    CHECK(IoTHubClient_Properties_Deserializer_GetVersion(d, &version) == IOTHUB_CLIENT_OK);
    memset(&property, 0, sizeof property);
    property.structVersion = IOTHUB_CLIENT_PROPERTY_PARSED_STRUCT_VERSION_1;
    for (;;) {
        CHECK(IoTHubClient_Properties_Deserializer_GetNext(d, &property, &more) == IOTHUB_CLIENT_OK);
        if (!more) {
            break;
        }
        if (t == IOTHUB_CLIENT_PROPERTY_PAYLOAD_WRITABLE_UPDATES) {
            CHECK(property.propertyType == IOTHUB_CLIENT_PROPERTY_TYPE_WRITABLE && strcmp(property.componentName, "thermostat1") == 0);
            CHECK(strcmp(property.name, "target") == 0 && strcmp(property.value.str, "21.5") == 0 && property.valueLength == 4);
        }
        count++;
        IoTHubClient_Properties_DeserializerProperty_Destroy(&property);
    }
    IoTHubClient_Properties_Deserializer_Destroy(d);
    if (t == IOTHUB_CLIENT_PROPERTY_PAYLOAD_ALL) {
        CHECK(version == 2 && count == 2); /* interval and color */
        all_properties++;
        say("properties");
        return;
    }
    CHECK(version == 3 && count == 1);
    IOTHUB_CLIENT_PROPERTY_WRITABLE_RESPONSE answer = {IOTHUB_CLIENT_PROPERTY_WRITABLE_RESPONSE_STRUCT_VERSION_1, "target", "21.5", 200, version, NULL};
    unsigned char *out = NULL;
    size_t length = 0;
    CHECK(IoTHubClient_Properties_Serializer_CreateWritableResponse(&answer, 1, "thermostat1", &out, &length) == IOTHUB_CLIENT_OK);
    CHECK(C(SendPropertiesAsync)(client, out, length, was_reported, &mark) == IOTHUB_CLIENT_OK);
    IoTHubClient_Properties_Serializer_Destroy(out);
    updates++;
}

static void properties(void)
{
    CHECK(C(GetPropertiesAndSubscribeToUpdatesAsync)(client, properties_came, &mark) == IOTHUB_CLIENT_OK);
    UNTIL(updates == 1 && reported == 2, WORK);
    CHECK(all_properties == 1);
}

/* The last method destroys the client and is answered all the same. */
static int destroy_in_method(const char *name, const unsigned char *p, size_t n, unsigned char **r, size_t *rn, void *context)
{
    (void)name, (void)p, (void)n, (void)r, (void)rn;
    CHECK(context == &mark && IN_WORK);
    C(Destroy)(client);
    stopped++;
    return 299;
}

/* So that a write is under way when the method comes. */
static void noise(void)
{
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString("noise");
    (void)C(SendEventAsync)(client, m, NULL, NULL);
    IoTHubMessage_Destroy(m);
}

int main(void)
{
    CHECK(IoTHub_Init() == 0);
    client = C(CreateFromConnectionString)(setting("DEVICE_STRING"), MQTT_Protocol);
    CHECK(C(SetOption)(client, OPTION_TRUSTED_CERT, setting("HUB_CA")) == IOTHUB_CLIENT_OK);
    CHECK(C(SetConnectionStatusCallback)(client, status_changed, &mark) == IOTHUB_CLIENT_OK);
    messages();
    methods();
    commands();
    twins();
    properties();
    CHECK(C(SubscribeToCommands)(client, NULL, NULL) == IOTHUB_CLIENT_OK);
    CHECK(C(SetDeviceMethodCallback)(client, destroy_in_method, &mark) == IOTHUB_CLIENT_OK);
    /* When this is answered, the hub has seen the subscription. */
    CHECK(C(GetTwinAsync)(client, twin_read, &mark) == IOTHUB_CLIENT_OK);
    UNTIL(got_twin == 2, WORK);
    say("destroy");
    UNTIL(stopped == 3, (noise(), WORK));
    CHECK(C(GetTwinAsync)(client, twin_read, &mark) == IOTHUB_CLIENT_INVALID_ARG);
    C(Destroy)(client);
    say("destroyed");
    UNTIL(getchar() == EOF, (void)0); /* the test has seen the answer */
    return result();
}
