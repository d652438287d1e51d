/* What a transport is to a program: a function to name it by, and a connection
   that several devices share. */
#ifndef IOTHUB_TRANSPORT_LL_H
#define IOTHUB_TRANSPORT_LL_H

#ifdef __cplusplus
extern "C" {
#endif

struct TRANSPORT_PROVIDER_TAG;
typedef struct TRANSPORT_PROVIDER_TAG TRANSPORT_PROVIDER;

/* MQTT_Protocol and its like. Only those of this library name a transport. */
typedef const TRANSPORT_PROVIDER *(*IOTHUB_CLIENT_TRANSPORT_PROVIDER)(void);

typedef void *TRANSPORT_LL_HANDLE;
typedef struct TRANSPORT_HANDLE_DATA_TAG *TRANSPORT_HANDLE;
typedef void *IOTHUB_DEVICE_HANDLE;
typedef struct METHOD_HANDLE_DATA_TAG *METHOD_HANDLE;

/* Returns a connection that several devices share, or NULL. MQTT cannot share
   one, so this is NULL until AMQP and HTTPS can be chosen. */
TRANSPORT_HANDLE IoTHubTransport_Create(IOTHUB_CLIENT_TRANSPORT_PROVIDER protocol, const char *iotHubName, const char *iotHubSuffix);

/* Releases a shared connection; NULL is allowed. */
void IoTHubTransport_Destroy(TRANSPORT_HANDLE transportHandle);

/* Returns what IOTHUB_CLIENT_DEVICE_CONFIG.transportHandle takes, or NULL. */
TRANSPORT_LL_HANDLE IoTHubTransport_GetLLTransport(TRANSPORT_HANDLE transportHandle);

#ifdef __cplusplus
}
#endif

#endif
