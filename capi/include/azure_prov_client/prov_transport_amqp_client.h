/* Registering over AMQP. A client cannot be created with it yet: that gives NULL, and the
   log says why. */
#ifndef PROV_TRANSPORT_AMQP_CLIENT_H
#define PROV_TRANSPORT_AMQP_CLIENT_H

#include "azure_prov_client/prov_transport.h"

#ifdef __cplusplus
extern "C" {
#endif

const PROV_DEVICE_TRANSPORT_PROVIDER *Prov_Device_AMQP_Protocol(void);

#ifdef __cplusplus
}
#endif

#endif
