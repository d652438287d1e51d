/* How devices prove themselves to a provisioning service. */
#ifndef PROV_SECURITY_FACTORY_H
#define PROV_SECURITY_FACTORY_H

#include "azure_macro_utils/macro_utils.h"
#include "umock_c/umock_c_prod.h"

#ifdef __cplusplus
extern "C" {
#endif

#define SECURE_DEVICE_TYPE_VALUES \
    SECURE_DEVICE_TYPE_UNKNOWN,   \
    SECURE_DEVICE_TYPE_TPM,       \
    SECURE_DEVICE_TYPE_X509,      \
    SECURE_DEVICE_TYPE_HTTP_EDGE, \
    SECURE_DEVICE_TYPE_SYMMETRIC_KEY

MU_DEFINE_ENUM_WITHOUT_INVALID(SECURE_DEVICE_TYPE, SECURE_DEVICE_TYPE_VALUES);

/* Chooses how devices of this process prove themselves: SYMMETRIC_KEY, X509, or TPM: the
   one of this machine, or at the device or socket that the variable IOTHUB_TPM_DEVICE
   names. 0 when that is so now; not 0 for another type, when another was chosen already,
   and when there is no TPM. It chooses the type of iothub_security_init as well. */
int prov_dev_security_init(SECURE_DEVICE_TYPE hsm_type);

/* Forgets the type and the key. Clients that were created live on. */
void prov_dev_security_deinit(void);

/* Returns the type that was chosen, UNKNOWN before. */
SECURE_DEVICE_TYPE prov_dev_security_get_type(void);

/* Sets a copy of the registration id and of the key, base64. 0 unless one is NULL. */
int prov_dev_set_symmetric_key_info(const char *registration_name, const char *symmetric_key);

/* Returns the key that was set, or NULL. It is valid until it is set again or
   forgotten. */
const char *prov_dev_get_symmetric_key(void);

/* Returns the registration id that was set, or NULL, as prov_dev_get_symmetric_key. */
const char *prov_dev_get_symm_registration_name(void);

#ifdef __cplusplus
}
#endif

#endif
