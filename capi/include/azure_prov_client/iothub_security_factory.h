/* How devices prove themselves to a hub without a connection string that says so. */
#ifndef IOTHUB_SECURITY_FACTORY_H
#define IOTHUB_SECURITY_FACTORY_H

#include "azure_macro_utils/macro_utils.h"
#include "umock_c/umock_c_prod.h"

#ifdef __cplusplus
extern "C" {
#endif

#define IOTHUB_SECURITY_TYPE_VALUES \
    IOTHUB_SECURITY_TYPE_UNKNOWN,   \
    IOTHUB_SECURITY_TYPE_SAS,       \
    IOTHUB_SECURITY_TYPE_X509,      \
    IOTHUB_SECURITY_TYPE_HTTP_EDGE, \
    IOTHUB_SECURITY_TYPE_SYMMETRIC_KEY

MU_DEFINE_ENUM_WITHOUT_INVALID(IOTHUB_SECURITY_TYPE, IOTHUB_SECURITY_TYPE_VALUES);

/* Chooses how clients from CreateFromDeviceAuth, and of connection strings with
   UseProvisioning=true, prove themselves: by the key of
   iothub_security_set_symmetric_key_info, for X509 by a certificate that is set as
   options of the client or was registered with, for SAS by the TPM. 0 when that is so now; not 0 for another type, and when
   another was chosen already. It chooses the type of prov_dev_security_init as well. */
int iothub_security_init(IOTHUB_SECURITY_TYPE sec_type);

/* Forgets the type and the key. Clients that were created live on. */
void iothub_security_deinit(void);

/* Returns NULL: there is no table of functions for hardware. */
const void *iothub_security_interface(void);

/* Returns the type that was chosen, UNKNOWN before. */
IOTHUB_SECURITY_TYPE iothub_security_type(void);

/* Another name of prov_dev_set_symmetric_key_info. */
int iothub_security_set_symmetric_key_info(const char *registration_name, const char *symmetric_key);

/* Returns the key that was set, or NULL. It is valid until it is set again or
   forgotten. */
const char *iothub_security_get_symmetric_key(void);

/* Returns the registration id that was set, or NULL, as
   iothub_security_get_symmetric_key. */
const char *iothub_security_get_symm_registration_name(void);

#ifdef __cplusplus
}
#endif

#endif
