/* What a program calls before and after everything else. */
#ifndef PLATFORM_H
#define PLATFORM_H

#ifdef __cplusplus
extern "C" {
#endif

/* Nothing has to be prepared: returns 0. */
int platform_init(void);

/* Nothing has to be cleaned up. */
void platform_deinit(void);

#ifdef __cplusplus
}
#endif

#endif
