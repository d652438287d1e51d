/* Where the library says what went wrong, and programs may, too. */
#ifndef XLOGGING_H
#define XLOGGING_H

#include "azure_macro_utils/macro_utils.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef enum LOG_CATEGORY_TAG { AZ_LOG_ERROR, AZ_LOG_INFO, AZ_LOG_TRACE } LOG_CATEGORY;

#define LOG_NONE 0x00
#define LOG_LINE 0x01

/* Takes one entry of the log, on any thread. */
typedef void (*LOGGER_LOG)(LOG_CATEGORY log_category, const char *file, const char *func, int line, unsigned int options, const char *format, ...);

/* Replaces where the log goes, which is standard error; NULL is nowhere. */
void xlogging_set_log_function(LOGGER_LOG log_function);

/* Returns where the log goes. */
LOGGER_LOG xlogging_get_log_function(void);

#define LOG(log_category, log_options, ...)                                                              \
    do {                                                                                                 \
        LOGGER_LOG xlogging_function = xlogging_get_log_function();                                      \
        if (xlogging_function != NULL) {                                                                 \
            xlogging_function(log_category, __FILE__, __func__, __LINE__, log_options, __VA_ARGS__);     \
        }                                                                                                \
    } while (0)

#define LogError(...) LOG(AZ_LOG_ERROR, LOG_LINE, __VA_ARGS__)
#define LogInfo(...) LOG(AZ_LOG_INFO, LOG_LINE, __VA_ARGS__)
#define LogTrace(...) LOG(AZ_LOG_TRACE, LOG_LINE, __VA_ARGS__)

#ifdef __cplusplus
}
#endif

#endif
