/* What a program calls first and last. */
#ifndef IOTHUB_H
#define IOTHUB_H

#ifdef __cplusplus
extern "C" {
#endif

/* Prepares the library. Returns 0. */
int IoTHub_Init(void);

/* Ends the use of the library. Clients are destroyed before. */
void IoTHub_Deinit(void);

#ifdef __cplusplus
}
#endif

#endif
