/* What the test programs share. They are C11 and C++17 at once. */
#ifndef CHECK_H
#define CHECK_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "azure_c_shared_utility/shared_util_options.h"
#include "azure_c_shared_utility/threadapi.h"
#include "azure_c_shared_utility/tickcounter.h"
#include "iothub.h"
#include "iothub_client_options.h"
#include "iothub_device_client.h"
#include "iothub_device_client_ll.h"
#include "iothub_module_client.h"
#include "iothub_module_client_ll.h"
#include "iothubtransportamqp.h"
#include "iothubtransportamqp_websockets.h"
#include "iothubtransporthttp.h"
#include "iothubtransportmqtt.h"
#include "iothubtransportmqtt_websockets.h"

static int check_failures;

#define CHECK(condition)                                                               \
    do {                                                                               \
        if (!(condition)) {                                                            \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #condition);    \
            check_failures++;                                                          \
        }                                                                              \
    } while (0)

/* What a program is given by its environment. */
static inline const char *setting(const char *name)
{
    const char *value = getenv(name);
    if (value == NULL) {
        fprintf(stderr, "%s is not set\n", name);
        exit(2);
    }
    return value;
}

/* Evaluates step until condition holds, or fails after half a minute. */
#define UNTIL(condition, step)                                                             \
    do {                                                                                   \
        TICK_COUNTER_HANDLE until_clock = tickcounter_create();                            \
        tickcounter_ms_t until_ms = 0;                                                     \
        while (!(condition) && until_ms < 30000) {                                         \
            step;                                                                          \
            ThreadAPI_Sleep(1);                                                            \
            tickcounter_get_current_ms(until_clock, &until_ms);                            \
        }                                                                                  \
        tickcounter_destroy(until_clock);                                                  \
        CHECK(condition);                                                                  \
    } while (0)

/* Tells the test that drives the program that it may go on. */
static inline void say(const char *word)
{
    printf("%s\n", word);
    fflush(stdout);
}

static inline int result(void)
{
    IoTHub_Deinit();
    if (check_failures == 0) {
        say("passed");
    }
    return check_failures != 0;
}

#endif
