/* Telemetry as fast as it goes, from C: see ../ll.go, which is the same in Go.

     program CONNECTION_STRING CA_PEM SIZE SECONDS EACH

   EACH 1 makes a message for each send, 0 sends one again and again. It prints how
   many messages were confirmed, in how many seconds, of how many seconds of CPU. */
#define _POSIX_C_SOURCE 200809L
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>

#include "azure_c_shared_utility/shared_util_options.h"
#include "azure_c_shared_utility/threadapi.h"
#include "iothub.h"
#include "iothub_module_client_ll.h"
#include "iothubtransportmqtt.h"

#define BURST 1024
#define OUTSTANDING 10000

static IOTHUB_MODULE_CLIENT_LL_HANDLE client;
static unsigned char *payload;
static size_t size;
static long sent, confirmed, failed;

static void confirm(IOTHUB_CLIENT_CONFIRMATION_RESULT r, void *context)
{
    (void)context;
    confirmed++;
    failed += r != IOTHUB_CLIENT_CONFIRMATION_OK;
}

static IOTHUB_MESSAGE_HANDLE make(void)
{
    IOTHUB_MESSAGE_HANDLE m = IoTHubMessage_CreateFromByteArray(payload, size);
    failed += IoTHubMessage_SetProperty(m, "temperatureAlert", "true") != IOTHUB_MESSAGE_OK;
    failed += IoTHubMessage_SetProperty(m, "line", "seven") != IOTHUB_MESSAGE_OK;
    failed += IoTHubMessage_SetProperty(m, "plant", "north") != IOTHUB_MESSAGE_OK;
    return m;
}

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu(void)
{
    struct rusage u;
    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) + (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

/* Sends for that long and waits for all confirmations. */
static void flood(double seconds, int each)
{
    double end = now() + seconds;
    IOTHUB_MESSAGE_HANDLE m = make();
    for (int sending = 1; sending || confirmed < sent;) {
        int room = sending && sent - confirmed < OUTSTANDING;
        for (int i = 0; i < BURST && room; i++) {
            if (each) {
                IoTHubMessage_Destroy(m);
                m = make();
            }
            failed += IoTHubModuleClient_LL_SendEventAsync(client, m, confirm, NULL) != IOTHUB_CLIENT_OK;
            room = ++sent - confirmed < OUTSTANDING;
        }
        long before = confirmed;
        IoTHubModuleClient_LL_DoWork(client);
        if (!room && confirmed == before) {
            ThreadAPI_Sleep(1);
        }
        sending = sending && now() < end && failed == 0;
    }
    IoTHubMessage_Destroy(m);
}

int main(int argc, char **argv)
{
    if (argc != 6 || IoTHub_Init() != 0) {
        return 2;
    }
    size = strtoul(argv[3], NULL, 10);
    double seconds = strtod(argv[4], NULL);
    int each = argv[5][0] == '1';
    payload = malloc(size + 1);
    for (size_t i = 0; i < size; i++) {
        payload[i] = (unsigned char)('a' + i % 26);
    }
    client = IoTHubModuleClient_LL_CreateFromConnectionString(argv[1], MQTT_Protocol);
    if (client == NULL || IoTHubModuleClient_LL_SetOption(client, OPTION_TRUSTED_CERT, argv[2]) != IOTHUB_CLIENT_OK) {
        return 2;
    }
    flood(seconds / 5, each); /* connects, and warms up */
    long from = confirmed;
    double began = now(), used = cpu();
    flood(seconds, each);
    printf("%ld %.6f %.6f\n", confirmed - from, now() - began, cpu() - used);
    IoTHubModuleClient_LL_Destroy(client);
    IoTHub_Deinit();
    free(payload);
    return failed != 0;
}
