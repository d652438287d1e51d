/* The few functions of C libraries that programs written for the Azure IoT SDK
   take from here. */
#ifndef CRT_ABSTRACTIONS_H
#define CRT_ABSTRACTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#ifdef __cplusplus
extern "C" {
#endif

/* Copies source to *destination, for the caller to free. 0 is success. */
int mallocAndStrcpy_s(char **destination, const char *source);

/* Writes value in decimal. 0 is success, nonzero that it does not fit. */
int unsignedIntToString(char *destination, size_t destinationSize, unsigned int value);
int size_tToString(char *destination, size_t destinationSize, size_t value);

#ifdef __cplusplus
}
#endif

#ifndef _MSC_VER
#ifndef sprintf_s
#define sprintf_s snprintf
#endif
#endif

#endif
