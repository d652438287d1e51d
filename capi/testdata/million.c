/* A million messages from one client, whose memory does not grow: the set that is
   resident after the last quarter is that after the first, give or take. */
#include "check.h"

#define TOTAL 1000000
#define OUTSTANDING 2000

static int sent, confirmed;

static void confirm(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    CHECK(r == IOTHUB_CLIENT_CONFIRMATION_OK && context == &sent);
    confirmed++;
}

/* Resident memory in KiB. */
static long resident(void)
{
    long pages = 0, all = 0;
    FILE *f = fopen("/proc/self/statm", "r");
    CHECK(f != NULL && fscanf(f, "%ld %ld", &all, &pages) == 2);
    fclose(f);
    return pages * 4;
}

int main(void)
{
    long early = 0;
    CHECK(IoTHub_Init() == 0);
    IOTHUB_MODULE_CLIENT_LL_HANDLE client = IoTHubModuleClient_LL_CreateFromConnectionString(setting("MODULE_STRING"), MQTT_Protocol);
    CHECK(IoTHubModuleClient_LL_SetOption(client, OPTION_TRUSTED_CERT, setting("HUB_CA")) == IOTHUB_CLIENT_OK);
    while (confirmed < TOTAL && check_failures == 0) {
        while (sent < TOTAL && sent - confirmed < OUTSTANDING) {
            IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromString("{\"temperature\":21.5}");
            (void)IoTHubMessage_SetProperty(m, "alert", "false");
            CHECK(IoTHubModuleClient_LL_SendEventAsync(client, m, confirm, &sent) == IOTHUB_CLIENT_OK);
            IoTHubMessage_Destroy(m);
            sent++;
        }
        int before = confirmed;
        IoTHubModuleClient_LL_DoWork(client);
        if (early == 0 && confirmed > TOTAL / 4) {
            early = resident();
        }
        if (confirmed == before) {
            ThreadAPI_Sleep(1);
        }
    }
    long late = resident();
    fprintf(stderr, "resident after a quarter: %ld KiB, at the end: %ld KiB\n", early, late);
    CHECK(confirmed == TOTAL && late < early + 8 * 1024);
    IoTHubModuleClient_LL_Destroy(client);
    return result();
}
