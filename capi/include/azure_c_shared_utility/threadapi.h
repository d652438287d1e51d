/* Threads, the same way on every system. */
#ifndef THREADAPI_H
#define THREADAPI_H

#include "azure_macro_utils/macro_utils.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef int (*THREAD_START_FUNC)(void *);

#define THREADAPI_RESULT_VALUES \
    THREADAPI_OK,               \
    THREADAPI_INVALID_ARG,      \
    THREADAPI_NO_MEMORY,        \
    THREADAPI_ERROR

MU_DEFINE_ENUM_WITHOUT_INVALID(THREADAPI_RESULT, THREADAPI_RESULT_VALUES);

typedef void *THREAD_HANDLE;

/* Starts func(arg) on a thread of its own, to be joined. */
THREADAPI_RESULT ThreadAPI_Create(THREAD_HANDLE *threadHandle, THREAD_START_FUNC func, void *arg);

/* Waits for a thread to end and releases the handle; res, which may be NULL,
   gets what its function returned. A handle is joined once. */
THREADAPI_RESULT ThreadAPI_Join(THREAD_HANDLE threadHandle, int *res);

/* Ends the calling thread, which ThreadAPI_Create has started. */
void ThreadAPI_Exit(int res);

/* Suspends the calling thread. */
void ThreadAPI_Sleep(unsigned int milliseconds);

#ifdef __cplusplus
}
#endif

#endif
