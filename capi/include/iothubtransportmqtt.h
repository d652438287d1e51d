/* MQTT over TLS, port 8883. */
#ifndef IOTHUBTRANSPORTMQTT_H
#define IOTHUBTRANSPORTMQTT_H

#include "iothub_transport_ll.h"

#ifdef __cplusplus
extern "C" {
#endif

const TRANSPORT_PROVIDER *MQTT_Protocol(void);

#ifdef __cplusplus
}
#endif

#endif
