/* A module against a hub with routes: outputs, inputs, its twin, and calling
   methods of its device. module_managed.c is the same with a client that has a
   thread. Both use MQTT over WebSockets. */
#include "check.h"

#ifdef MANAGED
typedef IOTHUB_MODULE_CLIENT_HANDLE handle;
#define C(f) IoTHubModuleClient_##f
#define WORK ((void)0)
#else
typedef IOTHUB_MODULE_CLIENT_LL_HANDLE handle;
#define C(f) IoTHubModuleClient_LL_##f
#define WORK IoTHubModuleClient_LL_DoWork(client)
#endif

#ifdef __cplusplus
#include <atomic>
typedef std::atomic<int> counter;
#else
typedef _Atomic int counter;
#endif

static handle client;
static counter in1, others, removed, sent, followed, called;
static IOTHUB_MESSAGE_HANDLE kept;
static char mark, other_mark;

static void was_sent(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    CHECK(r == IOTHUB_CLIENT_CONFIRMATION_OK && context == &mark);
    sent++;
}

static void send_to(const char *output)
{
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString(output);
    CHECK(IoTHubMessage_SetProperty(m, "from", output) == IOTHUB_MESSAGE_OK);
    CHECK(C(SendEventToOutputAsync)(client, m, output, was_sent, &mark) == IOTHUB_CLIENT_OK);
    IoTHubMessage_Destroy(m);
}

static IOTHUBMESSAGE_DISPOSITION_RESULT input1(IOTHUB_MESSAGE_HANDLE m, void *context)
{
    CHECK(context == &mark);
    CHECK(strcmp(IoTHubMessage_GetInputName(m), "in1") == 0);
    CHECK(strcmp(IoTHubMessage_GetConnectionDeviceId(m), "dev1") == 0);
    CHECK(strcmp(IoTHubMessage_GetConnectionModuleId(m), "mod1") == 0);
    CHECK(strcmp(IoTHubMessage_GetProperty(m, "from"), "out1") == 0);
    /* A filter: the message goes on as another one. */
    IOTHUB_MESSAGE_HANDLE copy = IoTHubMessage_Clone(m);
    CHECK(C(SendEventToOutputAsync)(client, copy, "out2", was_sent, &mark) == IOTHUB_CLIENT_OK);
    IoTHubMessage_Destroy(copy);
    in1++;
    return IOTHUBMESSAGE_ACCEPTED;
}

static IOTHUBMESSAGE_DISPOSITION_RESULT any_input(IOTHUB_MESSAGE_HANDLE m, void *context)
{
    CHECK(context == &other_mark && strcmp(IoTHubMessage_GetInputName(m), "in2") == 0);
    kept = m; /* settled later, which clients of the C SDK cannot do for inputs */
    others++;
    return IOTHUBMESSAGE_ASYNC_ACK;
}

static IOTHUBMESSAGE_DISPOSITION_RESULT by_default(IOTHUB_MESSAGE_HANDLE m, void *context)
{
    CHECK(context == NULL && strcmp(IoTHubMessage_GetInputName(m), "in1") == 0);
    removed++;
    return IOTHUBMESSAGE_ACCEPTED;
}

static void inputs(void)
{
    CHECK(C(SetInputMessageCallback)(client, "in1", input1, &mark) == IOTHUB_CLIENT_OK);
    CHECK(C(SetMessageCallback)(client, any_input, &other_mark) == IOTHUB_CLIENT_OK);
    send_to("out1");
    UNTIL(in1 == 1 && others == 1 && sent == 2, WORK);
    CHECK(C(SendMessageDisposition)(client, kept, IOTHUBMESSAGE_ACCEPTED) == IOTHUB_CLIENT_OK);
    /* Without a callback of its own an input is handled as the others. */
    CHECK(C(SetInputMessageCallback)(client, "in1", NULL, NULL) == IOTHUB_CLIENT_OK);
    CHECK(C(SetInputMessageCallback)(client, NULL, by_default, NULL) == IOTHUB_CLIENT_OK);
    send_to("out1");
    UNTIL(removed == 1 && sent == 3, WORK);
}

static void twin_came(DEVICE_TWIN_UPDATE_STATE s, const unsigned char *p, size_t n, void *context)
{
    CHECK(s == DEVICE_TWIN_UPDATE_COMPLETE && p != NULL && n > 0 && context == &mark);
    followed++;
}

static int method_called(const char *name, const unsigned char *p, size_t n, unsigned char **r, size_t *rn, void *context)
{
    CHECK(strcmp(name, "poke") == 0 && context == &mark);
#ifdef MANAGED
    CHECK(n == 2 && memcmp(p, "{}", 2) == 0);
#else
    CHECK(p != NULL && n == 0);
#endif
    (void)r, (void)rn;
    called++;
    return 200;
}

#ifdef MANAGED
static counter echoed;

static void answered(IOTHUB_CLIENT_RESULT r, int status, unsigned char *p, size_t n, void *context)
{
    CHECK(r == IOTHUB_CLIENT_OK && status == 200 && n == 2 && memcmp(p, "42", 2) == 0 && context == &mark);
    echoed++;
}

static void unanswered(IOTHUB_CLIENT_RESULT r, int status, unsigned char *p, size_t n, void *context)
{
    CHECK(r == IOTHUB_CLIENT_ERROR && status == 0 && n == 0 && context == &mark);
    (void)p;
    echoed++;
}

static void invoke(void)
{
    CHECK(C(DeviceMethodInvokeAsync)(client, NULL, "echo", "42", 60, answered, &mark) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(DeviceMethodInvokeAsync)(client, "dev1", "echo", "42", 60, answered, &mark) == IOTHUB_CLIENT_OK);
    UNTIL(echoed == 1, WORK);
    CHECK(C(ModuleMethodInvokeAsync)(client, "dev1", "nobody", "echo", "42", 60, unanswered, &mark) == IOTHUB_CLIENT_OK);
    UNTIL(echoed == 2, WORK);
    CHECK(C(ModuleMethodInvokeAsync)(client, "dev1", NULL, "echo", "42", 60, unanswered, &mark) == IOTHUB_CLIENT_INVALID_ARG);
}
#else
static void invoke(void)
{
    int status = 0;
    unsigned char *p = NULL;
    size_t n = 0;
    int before = sent;
    send_to("nowhere"); /* its callback waits for DoWork, whatever a call waits for */
    CHECK(C(DeviceMethodInvoke)(client, "dev1", "echo", "42", 60, &status, &p, &n) == IOTHUB_CLIENT_OK);
    CHECK(status == 200 && n == 2 && memcmp(p, "42", 2) == 0 && sent == before);
    free(p);
    UNTIL(sent == before + 1, WORK);
    CHECK(C(ModuleMethodInvoke)(client, "dev1", "nobody", "echo", "42", 0, &status, &p, &n) == IOTHUB_CLIENT_ERROR);
    CHECK(C(DeviceMethodInvoke)(client, "dev1", "echo", "42", 60, NULL, &p, &n) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(DeviceMethodInvoke)(NULL, "dev1", "echo", "42", 60, &status, &p, &n) == IOTHUB_CLIENT_INVALID_ARG);
    CHECK(C(ModuleMethodInvoke)(client, "dev1", "nobody", NULL, "42", 0, &status, &p, &n) == IOTHUB_CLIENT_INVALID_ARG);
}
#endif

int main(void)
{
    bool on = true;
    CHECK(IoTHub_Init() == 0);
    client = C(CreateFromConnectionString)(setting("MODULE_STRING_WS"), MQTT_WebSocket_Protocol);
    CHECK(C(SetOption)(client, OPTION_TRUSTED_CERT, setting("HUB_CA")) == IOTHUB_CLIENT_OK);
    CHECK(C(SetOption)(client, OPTION_AUTO_URL_ENCODE_DECODE, &on) == IOTHUB_CLIENT_OK);
    inputs();
    CHECK(C(SetModuleTwinCallback)(client, twin_came, &mark) == IOTHUB_CLIENT_OK);
    UNTIL(followed == 1, WORK);
    CHECK(C(SetModuleMethodCallback)(client, method_called, &mark) == IOTHUB_CLIENT_OK);
    say("poke");
    UNTIL(called == 1, WORK);
    invoke();
    C(Destroy)(client);
    return result();
}
