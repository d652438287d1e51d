/* The few functions of the shared utility that programs use. */
#define _POSIX_C_SOURCE 200809L

#include "azure_c_shared_utility/agenttime.h"
#include "azure_c_shared_utility/crt_abstractions.h"
#include "azure_c_shared_utility/platform.h"
#include "azure_c_shared_utility/threadapi.h"
#include "azure_c_shared_utility/tickcounter.h"
#include "azure_c_shared_utility/xlogging.h"

#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef _WIN32
#include <windows.h>
#else
#include <pthread.h>
#include <time.h>
#endif

int platform_init(void)
{
    return 0;
}

void platform_deinit(void)
{
}

int mallocAndStrcpy_s(char **destination, const char *source)
{
    if (destination == NULL || source == NULL) {
        return 1;
    }
    size_t size = strlen(source) + 1;
    char *copy = malloc(size);
    if (copy == NULL) {
        return 1;
    }
    memcpy(copy, source, size);
    *destination = copy;
    return 0;
}

int size_tToString(char *destination, size_t destinationSize, size_t value)
{
    if (destination == NULL) {
        return 1;
    }
    int n = snprintf(destination, destinationSize, "%zu", value);
    return n < 0 || (size_t)n >= destinationSize;
}

int unsignedIntToString(char *destination, size_t destinationSize, unsigned int value)
{
    return size_tToString(destination, destinationSize, value);
}

/* --- the log --- */

static void log_to_stderr(LOG_CATEGORY category, const char *file, const char *func, int line, unsigned int options, const char *format, ...)
{
    (void)func;
    va_list args;
    va_start(args, format);
    fprintf(stderr, "%s: ", category == AZ_LOG_ERROR ? "Error" : "Info");
    if (line > 0) {
        fprintf(stderr, "%s:%d: ", file, line);
    }
    vfprintf(stderr, format, args);
    if (options & LOG_LINE) {
        fputc('\n', stderr);
    }
    va_end(args);
}

static LOGGER_LOG log_function = log_to_stderr;

void xlogging_set_log_function(LOGGER_LOG f)
{
    __atomic_store_n(&log_function, f, __ATOMIC_RELEASE);
}

LOGGER_LOG xlogging_get_log_function(void)
{
    return __atomic_load_n(&log_function, __ATOMIC_ACQUIRE);
}

/* --- time --- */

struct TICK_COUNTER_INSTANCE_TAG {
    uint64_t start;
};

static uint64_t now_ms(void)
{
#ifdef _WIN32
    return GetTickCount64();
#else
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000;
#endif
}

TICK_COUNTER_HANDLE tickcounter_create(void)
{
    TICK_COUNTER_HANDLE t = malloc(sizeof *t);
    if (t != NULL) {
        t->start = now_ms();
    }
    return t;
}

void tickcounter_destroy(TICK_COUNTER_HANDLE t)
{
    free(t);
}

int tickcounter_get_current_ms(TICK_COUNTER_HANDLE t, tickcounter_ms_t *current_ms)
{
    if (t == NULL || current_ms == NULL) {
        return 1;
    }
    *current_ms = now_ms() - t->start;
    return 0;
}

time_t get_time(time_t *p)
{
    return time(p);
}

struct tm *get_gmtime(time_t *currentTime)
{
    return gmtime(currentTime);
}

char *get_ctime(time_t *timeToGet)
{
    return ctime(timeToGet);
}

double get_difftime(time_t stopTime, time_t startTime)
{
    return difftime(stopTime, startTime);
}

time_t get_mktime(struct tm *cal_time)
{
    return mktime(cal_time);
}

/* --- threads --- */

typedef struct {
#ifdef _WIN32
    HANDLE thread;
#else
    pthread_t thread;
#endif
    THREAD_START_FUNC func;
    void *arg;
    int result;
} thread_data;

static _Thread_local thread_data *this_thread;

#ifdef _WIN32
static DWORD WINAPI run_thread(LPVOID p)
#else
static void *run_thread(void *p)
#endif
{
    this_thread = p;
    this_thread->result = this_thread->func(this_thread->arg);
    return 0;
}

THREADAPI_RESULT ThreadAPI_Create(THREAD_HANDLE *threadHandle, THREAD_START_FUNC func, void *arg)
{
    if (threadHandle == NULL || func == NULL) {
        return THREADAPI_INVALID_ARG;
    }
    thread_data *t = malloc(sizeof *t);
    if (t == NULL) {
        return THREADAPI_NO_MEMORY;
    }
    t->func = func;
    t->arg = arg;
    t->result = 0;
#ifdef _WIN32
    t->thread = CreateThread(NULL, 0, run_thread, t, 0, NULL);
    if (t->thread == NULL) {
#else
    if (pthread_create(&t->thread, NULL, run_thread, t) != 0) {
#endif
        free(t);
        return THREADAPI_ERROR;
    }
    *threadHandle = t;
    return THREADAPI_OK;
}

THREADAPI_RESULT ThreadAPI_Join(THREAD_HANDLE threadHandle, int *res)
{
    thread_data *t = threadHandle;
    if (t == NULL) {
        return THREADAPI_INVALID_ARG;
    }
#ifdef _WIN32
    if (WaitForSingleObject(t->thread, INFINITE) != WAIT_OBJECT_0) {
        return THREADAPI_ERROR;
    }
    CloseHandle(t->thread);
#else
    if (pthread_join(t->thread, NULL) != 0) {
        return THREADAPI_ERROR;
    }
#endif
    if (res != NULL) {
        *res = t->result;
    }
    free(t);
    return THREADAPI_OK;
}

void ThreadAPI_Exit(int res)
{
    if (this_thread != NULL) {
        this_thread->result = res;
    }
#ifdef _WIN32
    ExitThread(0);
#else
    pthread_exit(NULL);
#endif
}

void ThreadAPI_Sleep(unsigned int milliseconds)
{
#ifdef _WIN32
    Sleep(milliseconds);
#else
    struct timespec t = {.tv_sec = milliseconds / 1000, .tv_nsec = (long)(milliseconds % 1000) * 1000000};
    while (nanosleep(&t, &t) != 0) {
    }
#endif
}
