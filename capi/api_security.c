/* How devices prove themselves, by both names. Their types have the same numbers: SAS
   is what a TPM is called for a hub. */
#include "_cgo_export.h"

#include "azure_prov_client/iothub_security_factory.h"
#include "azure_prov_client/prov_security_factory.h"

int prov_dev_security_init(SECURE_DEVICE_TYPE type)
{
    return capiSecurityInit((int)type);
}

void prov_dev_security_deinit(void)
{
    capiSecurityDeinit();
}

SECURE_DEVICE_TYPE prov_dev_security_get_type(void)
{
    return (SECURE_DEVICE_TYPE)capiSecurityType();
}

int prov_dev_set_symmetric_key_info(const char *registration_name, const char *symmetric_key)
{
    return capiSecuritySetKey((char *)registration_name, (char *)symmetric_key);
}

const char *prov_dev_get_symmetric_key(void)
{
    return capiSecurityKey();
}

const char *prov_dev_get_symm_registration_name(void)
{
    return capiSecurityRegistration();
}

int iothub_security_init(IOTHUB_SECURITY_TYPE type)
{
    return capiSecurityInit((int)type);
}

void iothub_security_deinit(void)
{
    capiSecurityDeinit();
}

const void *iothub_security_interface(void)
{
    return NULL;
}

IOTHUB_SECURITY_TYPE iothub_security_type(void)
{
    return (IOTHUB_SECURITY_TYPE)capiSecurityType();
}

int iothub_security_set_symmetric_key_info(const char *registration_name, const char *symmetric_key)
{
    return capiSecuritySetKey((char *)registration_name, (char *)symmetric_key);
}

const char *iothub_security_get_symmetric_key(void)
{
    return capiSecurityKey();
}

const char *iothub_security_get_symm_registration_name(void)
{
    return capiSecurityRegistration();
}
