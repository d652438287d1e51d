#ifndef PROTOCOL_H
#define PROTOCOL_H

#include "iothub_transport_ll.h"

/* Which transport protocol names, one of CAPI_MQTT and its like; 0 for none that
   this library has. */
int capi_protocol(IOTHUB_CLIENT_TRANSPORT_PROVIDER protocol);

#endif
