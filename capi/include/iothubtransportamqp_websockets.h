/* AMQP over WebSockets, port 443. A client cannot be created with it yet:
   that gives NULL, and the log says why. */
#ifndef IOTHUBTRANSPORTAMQP_WEBSOCKETS_H
#define IOTHUBTRANSPORTAMQP_WEBSOCKETS_H

#include "iothub_transport_ll.h"

#ifdef __cplusplus
extern "C" {
#endif

const TRANSPORT_PROVIDER *AMQP_Protocol_over_WebSocketsTls(void);

#ifdef __cplusplus
}
#endif

#endif
