/* The version of the API that the library has. */
#ifndef IOTHUB_CLIENT_VERSION_H
#define IOTHUB_CLIENT_VERSION_H

#define IOTHUB_SDK_VERSION "1.15.0"

#ifdef __cplusplus
extern "C" {
#endif

/* Returns IOTHUB_SDK_VERSION, the version of the C API that this library
   offers, not its own. */
const char *IoTHubClient_GetVersionString(void);

#ifdef __cplusplus
}
#endif

#endif
