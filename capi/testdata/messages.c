/* Messages, maps, properties and the shared utility: nothing needs a hub. */
#include "check.h"

#include "azure_c_shared_utility/agenttime.h"
#include "azure_c_shared_utility/crt_abstractions.h"
#include "azure_c_shared_utility/map.h"
#include "azure_c_shared_utility/platform.h"
#include "azure_c_shared_utility/xlogging.h"
#include "iothub_client_properties.h"
#include "iothub_message.h"

#include <stdarg.h>

/* A program may have enumerations of its own, and define names again that the
   library has, as samples do. */
#define COLOUR_VALUES RED, GREEN, BLUE
MU_DEFINE_ENUM_WITHOUT_INVALID(COLOUR, COLOUR_VALUES);
MU_DEFINE_ENUM_STRINGS_WITHOUT_INVALID(COLOUR, COLOUR_VALUES);
MU_DEFINE_ENUM_FROM_STRING(COLOUR, COLOUR_VALUES);
#define SHAPE_VALUES ROUND, SQUARE
MU_DEFINE_ENUM(SHAPE, SHAPE_VALUES);
MU_DEFINE_ENUM_STRINGS(SHAPE, SHAPE_VALUES);
MU_DEFINE_ENUM_STRINGS_WITHOUT_INVALID(IOTHUB_CLIENT_CONFIRMATION_RESULT, IOTHUB_CLIENT_CONFIRMATION_RESULT_VALUES);

MOCKABLE_FUNCTION(, int, twice, int, n);
int twice(int n)
{
    return 2 * n;
}

static void bodies(void)
{
    unsigned char bytes[] = {1, 0, 2};
    const unsigned char *p = NULL;
    size_t n = 0;
    CHECK(IoTHubMessage_CreateFromByteArray(NULL, 1) == NULL);
    CHECK(IoTHubMessage_CreateFromString(NULL) == NULL);
    CHECK(IoTHubMessage_Clone(NULL) == NULL);
    IoTHubMessage_Destroy(NULL);
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromByteArray(NULL, 0);
    CHECK(IoTHubMessage_GetByteArray(m, &p, &n) == IOTHUB_MESSAGE_OK && n == 0 && p != NULL);
    IoTHubMessage_Destroy(m);
    m = IoTHubMessage_CreateFromByteArray(bytes, sizeof bytes);
    bytes[0] = 9; /* it has its own */
    CHECK(IoTHubMessage_GetByteArray(m, &p, &n) == IOTHUB_MESSAGE_OK && n == 3 && p[0] == 1 && p[2] == 2);
    CHECK(IoTHubMessage_GetByteArray(m, NULL, &n) == IOTHUB_MESSAGE_INVALID_ARG);
    CHECK(IoTHubMessage_GetByteArray(m, &p, NULL) == IOTHUB_MESSAGE_INVALID_ARG);
    CHECK(IoTHubMessage_GetByteArray(NULL, &p, &n) == IOTHUB_MESSAGE_INVALID_ARG);
    CHECK(IoTHubMessage_GetString(m) == NULL);
    CHECK(IoTHubMessage_GetContentType(m) == IOTHUBMESSAGE_BYTEARRAY);
    IoTHubMessage_Destroy(m);
    CHECK(IoTHubMessage_GetContentType(m) == IOTHUBMESSAGE_UNKNOWN);
    m = IoTHubMessage_CreateFromString("text");
    CHECK(strcmp(IoTHubMessage_GetString(m), "text") == 0);
    CHECK(IoTHubMessage_GetByteArray(m, &p, &n) == IOTHUB_MESSAGE_INVALID_ARG);
    CHECK(IoTHubMessage_GetContentType(m) == IOTHUBMESSAGE_STRING);
    IoTHubMessage_Destroy(m);
    CHECK(IoTHubMessage_GetString(m) == NULL);
}

/* Every text of a message: set, read, replaced, cloned, and refused. */
#define TEXT(name)                                                                   \
    do {                                                                             \
        IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString("");                \
        char value[] = "first";                                                      \
        CHECK(IoTHubMessage_Get##name(m) == NULL);                                   \
        CHECK(IoTHubMessage_Set##name(m, NULL) == IOTHUB_MESSAGE_INVALID_ARG);       \
        CHECK(IoTHubMessage_Set##name(NULL, value) == IOTHUB_MESSAGE_INVALID_ARG);   \
        CHECK(IoTHubMessage_Get##name(NULL) == NULL);                                \
        CHECK(IoTHubMessage_Set##name(m, value) == IOTHUB_MESSAGE_OK);               \
        value[0] = 'x';                                                              \
        const char *s = IoTHubMessage_Get##name(m);                                  \
        CHECK(strcmp(s, "first") == 0 && s == IoTHubMessage_Get##name(m));           \
        IOTHUB_MESSAGE_HANDLE c = IoTHubMessage_Clone(m);                            \
        CHECK(IoTHubMessage_Set##name(m, "") == IOTHUB_MESSAGE_OK);                  \
        CHECK(strcmp(IoTHubMessage_Get##name(m), "") == 0);                          \
        IoTHubMessage_Destroy(m);                                                    \
        CHECK(strcmp(IoTHubMessage_Get##name(c), "first") == 0);                     \
        IoTHubMessage_Destroy(c);                                                    \
        CHECK(IoTHubMessage_Get##name(c) == NULL);                                   \
    } while (0)

static void texts(void)
{
    TEXT(ContentTypeSystemProperty);
    TEXT(ContentEncodingSystemProperty);
    TEXT(MessageId);
    TEXT(CorrelationId);
    TEXT(OutputName);
    TEXT(InputName);
    TEXT(ConnectionModuleId);
    TEXT(ConnectionDeviceId);
    TEXT(MessageCreationTimeUtcSystemProperty);
    TEXT(MessageUserIdSystemProperty);
    TEXT(ComponentName);
}

static void message_properties(void)
{
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString("");
    CHECK(IoTHubMessage_SetProperty(m, NULL, "v") == IOTHUB_MESSAGE_INVALID_ARG);
    CHECK(IoTHubMessage_SetProperty(m, "k", NULL) == IOTHUB_MESSAGE_INVALID_ARG);
    CHECK(IoTHubMessage_SetProperty(NULL, "k", "v") == IOTHUB_MESSAGE_INVALID_ARG);
    CHECK(IoTHubMessage_SetProperty(m, "k\n", "v") == IOTHUB_MESSAGE_INVALID_TYPE);
    CHECK(IoTHubMessage_SetProperty(m, "k", "\xc3\xa9") == IOTHUB_MESSAGE_INVALID_TYPE);
    CHECK(IoTHubMessage_SetProperty(m, "k", "v") == IOTHUB_MESSAGE_OK);
    CHECK(IoTHubMessage_SetProperty(m, "k", "w") == IOTHUB_MESSAGE_OK);
    CHECK(strcmp(IoTHubMessage_GetProperty(m, "k"), "w") == 0);
    CHECK(IoTHubMessage_GetProperty(m, "none") == NULL && IoTHubMessage_GetProperty(m, NULL) == NULL);
    CHECK(IoTHubMessage_Properties(NULL) == NULL);
    MAP_HANDLE map = IoTHubMessage_Properties(m);
    CHECK(map != NULL && map == IoTHubMessage_Properties(m));
    CHECK(Map_AddOrUpdate(map, "k2", "v\x7f") == MAP_FILTER_REJECT);
    CHECK(Map_AddOrUpdate(map, "k2", "v2") == MAP_OK);
    CHECK(strcmp(IoTHubMessage_GetProperty(m, "k2"), "v2") == 0);
    IOTHUB_MESSAGE_HANDLE c = IoTHubMessage_Clone(m);
    Map_Destroy(map); /* it is the message's: nothing happens */
    CHECK(strcmp(Map_GetValueFromKey(map, "k"), "w") == 0);
    IoTHubMessage_Destroy(m);
    CHECK(Map_GetValueFromKey(map, "k") == NULL);
    CHECK(Map_Add(map, "k", "v") == MAP_INVALIDARG);
    CHECK(strcmp(IoTHubMessage_GetProperty(c, "k"), "w") == 0);

    IOTHUB_MESSAGE_DIAGNOSTIC_PROPERTY_DATA d = {(char *)"12345678", NULL};
    CHECK(IoTHubMessage_GetDiagnosticPropertyData(c) == NULL);
    CHECK(IoTHubMessage_SetDiagnosticPropertyData(c, &d) == IOTHUB_MESSAGE_INVALID_ARG);
    CHECK(IoTHubMessage_SetDiagnosticPropertyData(c, NULL) == IOTHUB_MESSAGE_INVALID_ARG);
    d.diagnosticCreationTimeUtc = (char *)"1506054179";
    CHECK(IoTHubMessage_SetDiagnosticPropertyData(c, &d) == IOTHUB_MESSAGE_OK);
    const IOTHUB_MESSAGE_DIAGNOSTIC_PROPERTY_DATA *got = IoTHubMessage_GetDiagnosticPropertyData(c);
    CHECK(strcmp(got->diagnosticId, "12345678") == 0 && strcmp(got->diagnosticCreationTimeUtc, "1506054179") == 0);

    CHECK(!IoTHubMessage_IsSecurityMessage(c) && !IoTHubMessage_IsSecurityMessage(NULL));
    CHECK(IoTHubMessage_SetAsSecurityMessage(NULL) == IOTHUB_MESSAGE_INVALID_ARG);
    CHECK(IoTHubMessage_SetAsSecurityMessage(c) == IOTHUB_MESSAGE_OK && IoTHubMessage_IsSecurityMessage(c));
    CHECK(strcmp(IoTHubMessage_GetContentEncodingSystemProperty(c), "application/json") == 0);
    m = IoTHubMessage_Clone(c);
    CHECK(IoTHubMessage_IsSecurityMessage(m) && IoTHubMessage_GetDiagnosticPropertyData(m) != NULL);
    IoTHubMessage_Destroy(c);
    IoTHubMessage_Destroy(m);
}

static int no_secrets(const char *key, const char *value)
{
    return strcmp(key, "secret") == 0 || strcmp(value, "secret") == 0;
}

static void maps(void)
{
    bool found = true;
    const char *const *keys = NULL;
    const char *const *values = NULL;
    size_t n = 9;
    MAP_HANDLE m = Map_Create(no_secrets);
    CHECK(Map_GetInternals(m, &keys, &values, &n) == MAP_OK && n == 0);
    CHECK(Map_Add(m, "b", "1") == MAP_OK);
    CHECK(Map_Add(m, "a", "2") == MAP_OK);
    CHECK(Map_Add(m, "a", "3") == MAP_KEYEXISTS);
    CHECK(Map_AddOrUpdate(m, "a", "3") == MAP_OK);
    CHECK(Map_Add(m, "secret", "3") == MAP_FILTER_REJECT);
    CHECK(Map_AddOrUpdate(m, "a", "secret") == MAP_FILTER_REJECT);
    CHECK(Map_Add(m, NULL, "3") == MAP_INVALIDARG && Map_Add(m, "a", NULL) == MAP_INVALIDARG && Map_Add(NULL, "a", "b") == MAP_INVALIDARG);
    CHECK(Map_GetInternals(m, &keys, &values, &n) == MAP_OK && n == 2);
    CHECK(strcmp(keys[0], "b") == 0 && strcmp(values[0], "1") == 0 && strcmp(keys[1], "a") == 0 && strcmp(values[1], "3") == 0);
    CHECK(Map_GetInternals(m, NULL, &values, &n) == MAP_INVALIDARG);
    CHECK(Map_ContainsKey(m, "a", &found) == MAP_OK && found);
    CHECK(Map_ContainsKey(m, "c", &found) == MAP_OK && !found);
    CHECK(Map_ContainsValue(m, "3", &found) == MAP_OK && found);
    CHECK(Map_ContainsValue(m, "2", &found) == MAP_OK && !found);
    CHECK(Map_ContainsKey(m, "a", NULL) == MAP_INVALIDARG && Map_ContainsValue(m, NULL, &found) == MAP_INVALIDARG);
    MAP_HANDLE c = Map_Clone(m);
    CHECK(Map_Delete(m, "b") == MAP_OK && Map_Delete(m, "b") == MAP_KEYNOTFOUND && Map_Delete(m, NULL) == MAP_INVALIDARG);
    CHECK(Map_GetValueFromKey(m, "b") == NULL && strcmp(Map_GetValueFromKey(c, "b"), "1") == 0);
    CHECK(Map_Add(c, "secret", "x") == MAP_FILTER_REJECT);
    Map_Destroy(m);
    Map_Destroy(m);
    Map_Destroy(c);
    Map_Destroy(NULL);
    CHECK(Map_Clone(m) == NULL && Map_GetValueFromKey(c, "b") == NULL);
}

static void properties(void)
{
    static const char whole[] = "{\"desired\":{\"$version\":4},\"reported\":{}}";
    IOTHUB_CLIENT_PROPERTY_REPORTED p = {IOTHUB_CLIENT_PROPERTY_REPORTED_STRUCT_VERSION_1, "name", "\"value\""};
    IOTHUB_CLIENT_PROPERTY_WRITABLE_RESPONSE w = {IOTHUB_CLIENT_PROPERTY_WRITABLE_RESPONSE_STRUCT_VERSION_1, "name", "1", 200, 4, "fine"};
    IOTHUB_CLIENT_PROPERTIES_DESERIALIZER_HANDLE d = NULL;
    IOTHUB_CLIENT_PROPERTY_PARSED parsed;
    unsigned char *out = NULL;
    size_t n = 0;
    int version = 0;
    bool more = true;
    CHECK(IoTHubClient_Properties_Serializer_CreateReported(&p, 1, NULL, &out, &n) == IOTHUB_CLIENT_OK);
    CHECK(n == 16 && memcmp(out, "{\"name\":\"value\"}", n) == 0);
    IoTHubClient_Properties_Serializer_Destroy(out);
    IoTHubClient_Properties_Serializer_Destroy(NULL);
    CHECK(IoTHubClient_Properties_Serializer_CreateReported(NULL, 1, NULL, &out, &n) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(IoTHubClient_Properties_Serializer_CreateReported(&p, 0, NULL, &out, &n) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(IoTHubClient_Properties_Serializer_CreateReported(&p, 1, NULL, NULL, &n) == IOTHUB_CLIENT_INVALID_ARG);
    p.structVersion = 2;
    CHECK(IoTHubClient_Properties_Serializer_CreateReported(&p, 1, NULL, &out, &n) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(IoTHubClient_Properties_Serializer_CreateWritableResponse(&w, 1, "comp", &out, &n) == IOTHUB_CLIENT_OK);
    static const char want[] = "{\"comp\":{\"__t\":\"c\",\"name\":{\"value\":1,\"ac\":200,\"av\":4,\"ad\":\"fine\"}}}";
    CHECK(n == sizeof want - 1 && memcmp(out, want, n) == 0);
    IoTHubClient_Properties_Serializer_Destroy(out);
    w.name = NULL;
    CHECK(IoTHubClient_Properties_Serializer_CreateWritableResponse(&w, 1, NULL, &out, &n) == IOTHUB_CLIENT_INVALID_ARG);

    const unsigned char *payload = (const unsigned char *)whole;
    CHECK(IoTHubClient_Properties_Deserializer_Create(IOTHUB_CLIENT_PROPERTY_PAYLOAD_ALL, NULL, 1, &d) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(IoTHubClient_Properties_Deserializer_Create(IOTHUB_CLIENT_PROPERTY_PAYLOAD_ALL, payload, 0, &d) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(IoTHubClient_Properties_Deserializer_Create(IOTHUB_CLIENT_PROPERTY_PAYLOAD_ALL, payload, 3, &d) == IOTHUB_CLIENT_ERROR);
    CHECK(IoTHubClient_Properties_Deserializer_Create(IOTHUB_CLIENT_PROPERTY_PAYLOAD_WRITABLE_UPDATES, payload, sizeof whole - 1, &d) == IOTHUB_CLIENT_ERROR);
    CHECK(IoTHubClient_Properties_Deserializer_Create(IOTHUB_CLIENT_PROPERTY_PAYLOAD_ALL, payload, sizeof whole - 1, &d) == IOTHUB_CLIENT_OK);
    CHECK(IoTHubClient_Properties_Deserializer_GetVersion(d, &version) == IOTHUB_CLIENT_OK && version == 4);
    CHECK(IoTHubClient_Properties_Deserializer_GetVersion(d, NULL) == IOTHUB_CLIENT_INVALID_ARG);
    memset(&parsed, 0, sizeof parsed);
    CHECK(IoTHubClient_Properties_Deserializer_GetNext(d, &parsed, &more) == IOTHUB_CLIENT_INVALID_ARG); /* no structVersion */
    parsed.structVersion = IOTHUB_CLIENT_PROPERTY_PARSED_STRUCT_VERSION_1;
    CHECK(IoTHubClient_Properties_Deserializer_GetNext(d, &parsed, &more) == IOTHUB_CLIENT_OK && !more);
    IoTHubClient_Properties_DeserializerProperty_Destroy(&parsed);
    IoTHubClient_Properties_DeserializerProperty_Destroy(NULL);
    IoTHubClient_Properties_Deserializer_Destroy(d);
    IoTHubClient_Properties_Deserializer_Destroy(d);
    CHECK(IoTHubClient_Properties_Deserializer_GetVersion(d, &version) == IOTHUB_CLIENT_INVALID_ARG);
}

static void enumerations(void)
{
    COLOUR c = RED;
    CHECK(BLUE == 2 && ROUND == 1 && strcmp(MU_ENUM_TO_STRING(COLOUR, GREEN), "GREEN") == 0);
    CHECK(COLOUR_FromString("BLUE", &c) == 0 && c == BLUE && COLOUR_FromString("PINK", &c) != 0);
    CHECK(strcmp(SHAPEStrings(SQUARE), "SQUARE") == 0 && twice(2) == 4);
    CHECK(IOTHUB_CLIENT_INDEFINITE_TIME == 4 && IOTHUB_CLIENT_CONFIRMATION_ERROR == 3 && IOTHUB_CLIENT_SEND_STATUS_BUSY == 1);
    CHECK(IOTHUBMESSAGE_ASYNC_ACK == 3 && IOTHUB_CLIENT_RETRY_RANDOM == 6 && IOTHUB_CLIENT_CONNECTION_UNAUTHENTICATED == 1);
    CHECK(IOTHUB_CLIENT_CONNECTION_QUOTA_EXCEEDED == 8 && IOTHUB_CLIENT_CONNECTION_OK == 6 && FILE_UPLOAD_ERROR == 1);
    CHECK(IOTHUB_CLIENT_FILE_UPLOAD_GET_DATA_ABORT == 1 && DEVICE_TWIN_UPDATE_PARTIAL == 1 && IOTHUB_CLIENT_PROPERTY_PAYLOAD_WRITABLE_UPDATES == 1);
    CHECK(IOTHUB_MESSAGE_BECAUSE_DESTROY == 4 && IOTHUBMESSAGE_UNKNOWN == 2 && IOTHUB_CLIENT_PROPERTY_TYPE_WRITABLE == 1 && MAP_FILTER_REJECT == 5);
    CHECK(strcmp(MU_ENUM_TO_STRING(IOTHUB_CLIENT_RESULT, IOTHUB_CLIENT_INVALID_SIZE), "IOTHUB_CLIENT_INVALID_SIZE") == 0);
    CHECK(strcmp(IOTHUB_CLIENT_CONFIRMATION_RESULTStrings(IOTHUB_CLIENT_CONFIRMATION_OK), "IOTHUB_CLIENT_CONFIRMATION_OK") == 0);
    CHECK(strcmp(IOTHUB_CLIENT_CONNECTION_STATUS_REASONStrings(IOTHUB_CLIENT_CONNECTION_NO_PING_RESPONSE), "IOTHUB_CLIENT_CONNECTION_NO_PING_RESPONSE") == 0);
    CHECK(IOTHUB_CLIENT_RESULTStrings((IOTHUB_CLIENT_RESULT)99) == NULL);
}

static int logged;

static void log_it(LOG_CATEGORY category, const char *file, const char *func, int line, unsigned int options, const char *format, ...)
{
    char text[200];
    va_list args;
    (void)file, (void)func, (void)line, (void)options;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    CHECK(category == AZ_LOG_ERROR && strstr(text, "SendEventAsync") != NULL);
    logged++;
}

static int add(void *p)
{
    ++*(int *)p;
    return 7;
}

static int leave(void *p)
{
    ++*(int *)p;
    ThreadAPI_Exit(8);
    return 0;
}

static void utility(void)
{
    THREAD_HANDLE t;
    int n = 0, res = 0;
    char *copy = NULL;
    char digits[4];
    CHECK(platform_init() == 0);
    platform_deinit();
    LOGGER_LOG before = xlogging_get_log_function();
    xlogging_set_log_function(log_it);
    CHECK(IoTHubModuleClient_LL_SendEventAsync(NULL, NULL, NULL, NULL) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(logged == 1);
    LogError("SendEventAsync %d", 2);
    CHECK(logged == 2);
    xlogging_set_log_function(NULL);
    CHECK(IoTHubModuleClient_LL_SendEventAsync(NULL, NULL, NULL, NULL) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(logged == 2);
    xlogging_set_log_function(before);

    CHECK(ThreadAPI_Create(NULL, add, &n) == THREADAPI_INVALID_ARG && ThreadAPI_Create(&t, NULL, &n) == THREADAPI_INVALID_ARG);
    CHECK(ThreadAPI_Join(NULL, &res) == THREADAPI_INVALID_ARG);
    CHECK(ThreadAPI_Create(&t, add, &n) == THREADAPI_OK && ThreadAPI_Join(t, &res) == THREADAPI_OK && n == 1 && res == 7);
    CHECK(ThreadAPI_Create(&t, leave, &n) == THREADAPI_OK && ThreadAPI_Join(t, &res) == THREADAPI_OK && n == 2 && res == 8);

    TICK_COUNTER_HANDLE clock = tickcounter_create();
    tickcounter_ms_t ms = 0;
    ThreadAPI_Sleep(20);
    CHECK(tickcounter_get_current_ms(clock, &ms) == 0 && ms >= 19);
    CHECK(tickcounter_get_current_ms(NULL, &ms) != 0 && tickcounter_get_current_ms(clock, NULL) != 0);
    tickcounter_destroy(clock);
    tickcounter_destroy(NULL);

    time_t now = get_time(NULL);
    CHECK(now > 1500000000 && get_gmtime(&now) != NULL && get_ctime(&now) != NULL && get_difftime(now, now) == 0);
    CHECK(mallocAndStrcpy_s(&copy, "abc") == 0 && strcmp(copy, "abc") == 0 && mallocAndStrcpy_s(NULL, "abc") != 0);
    free(copy);
    CHECK(size_tToString(digits, sizeof digits, 123) == 0 && strcmp(digits, "123") == 0 && unsignedIntToString(digits, sizeof digits, 1234) != 0);
}

int main(void)
{
    CHECK(IoTHub_Init() == 0);
    bodies();
    texts();
    message_properties();
    maps();
    properties();
    enumerations();
    utility();
    return result();
}
