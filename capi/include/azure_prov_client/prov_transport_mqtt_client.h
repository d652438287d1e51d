/* Registering over MQTT and TLS, port 8883. It is not for TPMs. */
#ifndef PROV_TRANSPORT_MQTT_CLIENT_H
#define PROV_TRANSPORT_MQTT_CLIENT_H

#include "azure_prov_client/prov_transport.h"

#ifdef __cplusplus
extern "C" {
#endif

const PROV_DEVICE_TRANSPORT_PROVIDER *Prov_Device_MQTT_Protocol(void);

#ifdef __cplusplus
}
#endif

#endif
