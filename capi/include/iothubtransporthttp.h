/* HTTPS, port 443. A client cannot be created with it yet: that gives NULL,
   and the log says why. */
#ifndef IOTHUBTRANSPORTHTTP_H
#define IOTHUBTRANSPORTHTTP_H

#include "iothub_transport_ll.h"

#ifdef __cplusplus
extern "C" {
#endif

const TRANSPORT_PROVIDER *HTTP_Protocol(void);

#ifdef __cplusplus
}
#endif

#endif
