/* Registering devices, in both layers: a client with a thread is the same with another
   kind of handle. */
#include "_cgo_export.h"

#include "azure_prov_client/prov_device_client.h"
#include "azure_prov_client/prov_transport_amqp_client.h"
#include "azure_prov_client/prov_transport_amqp_ws_client.h"
#include "azure_prov_client/prov_transport_http_client.h"
#include "azure_prov_client/prov_transport_mqtt_client.h"
#include "azure_prov_client/prov_transport_mqtt_ws_client.h"
#include "iothub_client_version.h"

struct PROV_DEVICE_TRANSPORT_PROVIDER_TAG {
    int transport;
};

static const PROV_DEVICE_TRANSPORT_PROVIDER providers[] = {{CAPI_MQTT}, {CAPI_MQTT_WS}, {CAPI_AMQP}, {CAPI_AMQP_WS}, {CAPI_HTTP}};

const PROV_DEVICE_TRANSPORT_PROVIDER *Prov_Device_MQTT_Protocol(void)
{
    return &providers[0];
}

const PROV_DEVICE_TRANSPORT_PROVIDER *Prov_Device_MQTT_WS_Protocol(void)
{
    return &providers[1];
}

const PROV_DEVICE_TRANSPORT_PROVIDER *Prov_Device_AMQP_Protocol(void)
{
    return &providers[2];
}

const PROV_DEVICE_TRANSPORT_PROVIDER *Prov_Device_AMQP_WS_Protocol(void)
{
    return &providers[3];
}

const PROV_DEVICE_TRANSPORT_PROVIDER *Prov_Device_HTTP_Protocol(void)
{
    return &providers[4];
}

/* Which transport protocol names, 0 for none that this library has. */
static int transport(PROV_DEVICE_TRANSPORT_PROVIDER_FUNCTION protocol)
{
    const PROV_DEVICE_TRANSPORT_PROVIDER *p = protocol == NULL ? NULL : protocol();
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++) {
        if (p == &providers[i]) {
            return p->transport;
        }
    }
    return 0;
}

PROV_DEVICE_LL_HANDLE Prov_Device_LL_Create(const char *uri, const char *scope_id, PROV_DEVICE_TRANSPORT_PROVIDER_FUNCTION protocol)
{
    return (PROV_DEVICE_LL_HANDLE)capiRegistrationCreate(CAPI_REGISTRATION_LL, (char *)uri, (char *)scope_id, transport(protocol));
}

void Prov_Device_LL_Destroy(PROV_DEVICE_LL_HANDLE handle)
{
    capiRegistrationDestroy(CAPI_REGISTRATION_LL, (uintptr_t)handle);
}

PROV_DEVICE_RESULT Prov_Device_LL_Register_Device(PROV_DEVICE_LL_HANDLE handle, PROV_DEVICE_CLIENT_REGISTER_DEVICE_CALLBACK register_callback, void *user_context, PROV_DEVICE_CLIENT_REGISTER_STATUS_CALLBACK reg_status_cb, void *status_user_ctext)
{
    return (PROV_DEVICE_RESULT)capiRegister(CAPI_REGISTRATION_LL, (uintptr_t)handle, (uintptr_t)register_callback, (uintptr_t)user_context, (uintptr_t)reg_status_cb, (uintptr_t)status_user_ctext);
}

PROV_DEVICE_RESULT Prov_Device_LL_SetOption(PROV_DEVICE_LL_HANDLE handle, const char *optionName, const void *value)
{
    return (PROV_DEVICE_RESULT)capiRegistrationOption(CAPI_REGISTRATION_LL, (uintptr_t)handle, (char *)optionName, (void *)value);
}

const char *Prov_Device_LL_GetVersionString(void)
{
    return IOTHUB_SDK_VERSION;
}

PROV_DEVICE_RESULT Prov_Device_LL_Set_Provisioning_Payload(PROV_DEVICE_LL_HANDLE handle, const char *json)
{
    return (PROV_DEVICE_RESULT)capiRegistrationSetPayload(CAPI_REGISTRATION_LL, (uintptr_t)handle, (char *)json);
}

const char *Prov_Device_LL_Get_Provisioning_Payload(PROV_DEVICE_LL_HANDLE handle)
{
    return capiRegistrationPayload(CAPI_REGISTRATION_LL, (uintptr_t)handle);
}

PROV_DEVICE_HANDLE Prov_Device_Create(const char *uri, const char *scope_id, PROV_DEVICE_TRANSPORT_PROVIDER_FUNCTION protocol)
{
    return (PROV_DEVICE_HANDLE)capiRegistrationCreate(CAPI_REGISTRATION, (char *)uri, (char *)scope_id, transport(protocol));
}

void Prov_Device_Destroy(PROV_DEVICE_HANDLE handle)
{
    capiRegistrationDestroy(CAPI_REGISTRATION, (uintptr_t)handle);
}

PROV_DEVICE_RESULT Prov_Device_Register_Device(PROV_DEVICE_HANDLE handle, PROV_DEVICE_CLIENT_REGISTER_DEVICE_CALLBACK register_callback, void *user_context, PROV_DEVICE_CLIENT_REGISTER_STATUS_CALLBACK reg_status_cb, void *status_user_ctext)
{
    return (PROV_DEVICE_RESULT)capiRegister(CAPI_REGISTRATION, (uintptr_t)handle, (uintptr_t)register_callback, (uintptr_t)user_context, (uintptr_t)reg_status_cb, (uintptr_t)status_user_ctext);
}

PROV_DEVICE_RESULT Prov_Device_SetOption(PROV_DEVICE_HANDLE handle, const char *optionName, const void *value)
{
    return (PROV_DEVICE_RESULT)capiRegistrationOption(CAPI_REGISTRATION, (uintptr_t)handle, (char *)optionName, (void *)value);
}

const char *Prov_Device_GetVersionString(void)
{
    return IOTHUB_SDK_VERSION;
}

PROV_DEVICE_RESULT Prov_Device_Set_Provisioning_Payload(PROV_DEVICE_HANDLE handle, const char *json)
{
    return (PROV_DEVICE_RESULT)capiRegistrationSetPayload(CAPI_REGISTRATION, (uintptr_t)handle, (char *)json);
}

const char *Prov_Device_Get_Provisioning_Payload(PROV_DEVICE_HANDLE handle)
{
    return capiRegistrationPayload(CAPI_REGISTRATION, (uintptr_t)handle);
}

void Prov_Device_LL_DoWork(PROV_DEVICE_LL_HANDLE handle)
{
    capiRegistrationWork((uintptr_t)handle);
}
