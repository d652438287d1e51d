/* MQTT over WebSockets, port 443. */
#ifndef IOTHUBTRANSPORTMQTT_WEBSOCKETS_H
#define IOTHUBTRANSPORTMQTT_WEBSOCKETS_H

#include "iothub_transport_ll.h"

#ifdef __cplusplus
extern "C" {
#endif

const TRANSPORT_PROVIDER *MQTT_WebSocket_Protocol(void);

#ifdef __cplusplus
}
#endif

#endif
