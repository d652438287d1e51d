/* AMQP over TLS, port 5671. A client cannot be created with it yet: that
   gives NULL, and the log says why. */
#ifndef IOTHUBTRANSPORTAMQP_H
#define IOTHUBTRANSPORTAMQP_H

#include "iothub_transport_ll.h"

#ifdef __cplusplus
extern "C" {
#endif

const TRANSPORT_PROVIDER *AMQP_Protocol(void);

#ifdef __cplusplus
}
#endif

#endif
