/* Registering a device with the Device Provisioning Service, on a thread of the library's:
   callbacks run there, one at a time, and no lock is held. Functions may be called from any
   thread, and inside callbacks. */
#ifndef PROV_DEVICE_CLIENT_H
#define PROV_DEVICE_CLIENT_H

#include <stddef.h>
#include <stdint.h>

#include "azure_prov_client/prov_device_ll_client.h"

#ifdef __cplusplus
extern "C" {
#endif

#ifndef PROV_DEVICE_CLIENT_INSTANCE_TYPE
typedef struct PROV_DEVICE_INSTANCE_TAG *PROV_DEVICE_HANDLE;
#define PROV_DEVICE_CLIENT_INSTANCE_TYPE
#endif

static STATIC_VAR_UNUSED const char *const PROV_OPTION_DO_WORK_FREQUENCY_IN_MS = "do_work_freq_ms";

/* Returns a client for the provisioning service at uri, "host" or "host:port", with an id
   scope, or NULL: for NULL, an id scope that cannot be one, and a transport that is not
   there. Nothing touches the network yet. */
PROV_DEVICE_HANDLE Prov_Device_Create(const char *uri, const char *scope_id, PROV_DEVICE_TRANSPORT_PROVIDER_FUNCTION protocol);

/* Ends a client, and a registration that is under way: its callbacks are not called any
   more. NULL, and a client that was destroyed, are allowed, and inside a callback it takes
   effect when that returns. */
void Prov_Device_Destroy(PROV_DEVICE_HANDLE handle);

/* Begins to register the device by what prov_dev_security_init has chosen. If the result is
   OK register_callback is called exactly once, unless the client is destroyed first, and
   may register again. INVALID_ARG for NULL; ERROR while a registration is under way, and
   when the device has nothing to prove itself with. reg_status_cb may be NULL. */
PROV_DEVICE_RESULT Prov_Device_Register_Device(PROV_DEVICE_HANDLE handle, PROV_DEVICE_CLIENT_REGISTER_DEVICE_CALLBACK register_callback, void *user_context, PROV_DEVICE_CLIENT_REGISTER_STATUS_CALLBACK reg_status_cb, void *status_user_ctext);

/* Sets an option for registrations that begin later: logtrace (bool), provisioning_timeout
   (long, seconds, 0 waits until the network has failed for a minute), registration_id,
   x509certificate, x509privatekey, TrustedCerts (texts), proxy_data (HTTP_PROXY_OPTIONS);
   do_work_freq_ms (uint16_t) is taken and does nothing.
   INVALID_ARG for NULL; ERROR for another option, and for a value that cannot be. */
PROV_DEVICE_RESULT Prov_Device_SetOption(PROV_DEVICE_HANDLE handle, const char *optionName, const void *value);

/* Returns the version of the C API. */
const char *Prov_Device_GetVersionString(void);

/* Sets a copy of JSON that goes to a custom allocation; NULL is none. INVALID_ARG for what
   is no JSON. */
PROV_DEVICE_RESULT Prov_Device_Set_Provisioning_Payload(PROV_DEVICE_HANDLE handle, const char *json);

/* Returns the JSON that came with the last assignment, or NULL. It is valid until the next
   registration has ended, or the client. */
const char *Prov_Device_Get_Provisioning_Payload(PROV_DEVICE_HANDLE handle);

#ifdef __cplusplus
}
#endif

#endif
