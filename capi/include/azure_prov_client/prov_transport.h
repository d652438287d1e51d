/* Protocols that are spoken with a provisioning service, by name. */
#ifndef PROV_TRANSPORT_H
#define PROV_TRANSPORT_H

#ifdef __cplusplus
extern "C" {
#endif

/* A protocol: what one of the functions in prov_transport_….h returns. */
typedef struct PROV_DEVICE_TRANSPORT_PROVIDER_TAG PROV_DEVICE_TRANSPORT_PROVIDER;

#ifdef __cplusplus
}
#endif

#endif
