/* Registering a device with the Device Provisioning Service. The program drives it:
   callbacks run in DoWork only, on the thread that calls it. */
#ifndef PROV_DEVICE_LL_CLIENT_H
#define PROV_DEVICE_LL_CLIENT_H

#include "azure_c_shared_utility/const_defines.h"
#include "azure_macro_utils/macro_utils.h"
#include "azure_prov_client/prov_transport.h"
#include "umock_c/umock_c_prod.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct PROV_INSTANCE_INFO_TAG *PROV_DEVICE_LL_HANDLE;

#define PROV_DEVICE_RESULT_VALUE            \
    PROV_DEVICE_RESULT_OK,                  \
    PROV_DEVICE_RESULT_INVALID_ARG,         \
    PROV_DEVICE_RESULT_SUCCESS,             \
    PROV_DEVICE_RESULT_MEMORY,              \
    PROV_DEVICE_RESULT_PARSING,             \
    PROV_DEVICE_RESULT_TRANSPORT,           \
    PROV_DEVICE_RESULT_INVALID_STATE,       \
    PROV_DEVICE_RESULT_DEV_AUTH_ERROR,      \
    PROV_DEVICE_RESULT_TIMEOUT,             \
    PROV_DEVICE_RESULT_KEY_ERROR,           \
    PROV_DEVICE_RESULT_ERROR,               \
    PROV_DEVICE_RESULT_HUB_NOT_SPECIFIED,   \
    PROV_DEVICE_RESULT_UNAUTHORIZED,        \
    PROV_DEVICE_RESULT_DISABLED

MU_DEFINE_ENUM_WITHOUT_INVALID(PROV_DEVICE_RESULT, PROV_DEVICE_RESULT_VALUE);

/* Of these CONNECTED, REGISTERING and ASSIGNING are told. */
#define PROV_DEVICE_REG_STATUS_VALUES       \
    PROV_DEVICE_REG_STATUS_CONNECTED,       \
    PROV_DEVICE_REG_STATUS_REGISTERING,     \
    PROV_DEVICE_REG_STATUS_ASSIGNING,       \
    PROV_DEVICE_REG_STATUS_ASSIGNED,        \
    PROV_DEVICE_REG_STATUS_ERROR,           \
    PROV_DEVICE_REG_HUB_NOT_SPECIFIED

MU_DEFINE_ENUM_WITHOUT_INVALID(PROV_DEVICE_REG_STATUS, PROV_DEVICE_REG_STATUS_VALUES);

static STATIC_VAR_UNUSED const char *const PROV_REGISTRATION_ID = "registration_id";
static STATIC_VAR_UNUSED const char *const PROV_OPTION_LOG_TRACE = "logtrace";
static STATIC_VAR_UNUSED const char *const PROV_OPTION_TIMEOUT = "provisioning_timeout";

/* How a registration ended. iothub_uri and device_id are NULL unless the result is OK, and
   valid during the call only. */
typedef void (*PROV_DEVICE_CLIENT_REGISTER_DEVICE_CALLBACK)(PROV_DEVICE_RESULT register_result, const char *iothub_uri, const char *device_id, void *user_context);

/* What it has come to meanwhile. */
typedef void (*PROV_DEVICE_CLIENT_REGISTER_STATUS_CALLBACK)(PROV_DEVICE_REG_STATUS reg_status, void *user_context);

typedef const PROV_DEVICE_TRANSPORT_PROVIDER *(*PROV_DEVICE_TRANSPORT_PROVIDER_FUNCTION)(void);

/* Returns a client for the provisioning service at uri, "host" or "host:port", with an id
   scope, or NULL: for NULL, an id scope that cannot be one, and a transport that is not
   there. Nothing touches the network yet. */
PROV_DEVICE_LL_HANDLE Prov_Device_LL_Create(const char *uri, const char *scope_id, PROV_DEVICE_TRANSPORT_PROVIDER_FUNCTION protocol);

/* Ends a client, and a registration that is under way: its callbacks are not called any
   more. NULL, and a client that was destroyed, are allowed, and inside a callback it takes
   effect when that returns. */
void Prov_Device_LL_Destroy(PROV_DEVICE_LL_HANDLE handle);

/* Begins to register the device by what prov_dev_security_init has chosen. If the result is
   OK register_callback is called exactly once, unless the client is destroyed first, and
   may register again. INVALID_ARG for NULL; ERROR while a registration is under way, and
   when the device has nothing to prove itself with. reg_status_cb may be NULL. */
PROV_DEVICE_RESULT Prov_Device_LL_Register_Device(PROV_DEVICE_LL_HANDLE handle, PROV_DEVICE_CLIENT_REGISTER_DEVICE_CALLBACK register_callback, void *user_context, PROV_DEVICE_CLIENT_REGISTER_STATUS_CALLBACK reg_status_cb, void *status_user_ctext);

/* Calls the callbacks that are due. NULL, and a client that was destroyed, are allowed. */
void Prov_Device_LL_DoWork(PROV_DEVICE_LL_HANDLE handle);

/* Sets an option for registrations that begin later: logtrace (bool), provisioning_timeout
   (long, seconds, 0 waits until the network has failed for a minute), registration_id,
   x509certificate, x509privatekey, TrustedCerts (texts), proxy_data (HTTP_PROXY_OPTIONS).
   INVALID_ARG for NULL; ERROR for another option, and for a value that cannot be. */
PROV_DEVICE_RESULT Prov_Device_LL_SetOption(PROV_DEVICE_LL_HANDLE handle, const char *optionName, const void *value);

/* Returns the version of the C API. */
const char *Prov_Device_LL_GetVersionString(void);

/* Sets a copy of JSON that goes to a custom allocation; NULL is none. INVALID_ARG for what
   is no JSON. */
PROV_DEVICE_RESULT Prov_Device_LL_Set_Provisioning_Payload(PROV_DEVICE_LL_HANDLE handle, const char *json);

/* Returns the JSON that came with the last assignment, or NULL. It is valid until the next
   registration has ended, or the client. */
const char *Prov_Device_LL_Get_Provisioning_Payload(PROV_DEVICE_LL_HANDLE handle);

#ifdef __cplusplus
}
#endif

#endif
