/* Registering over HTTPS, port 443. */
#ifndef PROV_TRANSPORT_HTTP_CLIENT_H
#define PROV_TRANSPORT_HTTP_CLIENT_H

#include "azure_prov_client/prov_transport.h"

#ifdef __cplusplus
extern "C" {
#endif

const PROV_DEVICE_TRANSPORT_PROVIDER *Prov_Device_HTTP_Protocol(void);

#ifdef __cplusplus
}
#endif

#endif
