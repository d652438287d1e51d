/* Milliseconds of a clock that never goes back. */
#ifndef TICKCOUNTER_H
#define TICKCOUNTER_H

#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef uint_fast64_t tickcounter_ms_t;
typedef struct TICK_COUNTER_INSTANCE_TAG *TICK_COUNTER_HANDLE;

/* Returns a counter that begins about now, or NULL. */
TICK_COUNTER_HANDLE tickcounter_create(void);

/* Releases a counter; NULL is allowed. */
void tickcounter_destroy(TICK_COUNTER_HANDLE tick_counter);

/* Stores the milliseconds since the counter was made. 0 is success. */
int tickcounter_get_current_ms(TICK_COUNTER_HANDLE tick_counter, tickcounter_ms_t *current_ms);

#ifdef __cplusplus
}
#endif

#endif
