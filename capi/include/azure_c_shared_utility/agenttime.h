/* The time of day. */
#ifndef AGENTTIME_H
#define AGENTTIME_H

#include <time.h>

#ifdef __cplusplus
extern "C" {
#endif

time_t get_time(time_t *p);
struct tm *get_gmtime(time_t *currentTime);
char *get_ctime(time_t *timeToGet);
double get_difftime(time_t stopTime, time_t startTime);
time_t get_mktime(struct tm *cal_time);

#ifdef __cplusplus
}
#endif

#endif
