/* Transports by name, and what a program calls first and last. */
#include "_cgo_export.h"
#include "protocol.h"

#include "iothub.h"
#include "iothub_client_version.h"
#include "iothubtransportamqp.h"
#include "iothubtransportamqp_websockets.h"
#include "iothubtransporthttp.h"
#include "iothubtransportmqtt.h"
#include "iothubtransportmqtt_websockets.h"

struct TRANSPORT_PROVIDER_TAG {
    int transport;
};

static const TRANSPORT_PROVIDER providers[] = {{CAPI_MQTT}, {CAPI_MQTT_WS}, {CAPI_AMQP}, {CAPI_AMQP_WS}, {CAPI_HTTP}};

const TRANSPORT_PROVIDER *MQTT_Protocol(void)
{
    return &providers[0];
}

const TRANSPORT_PROVIDER *MQTT_WebSocket_Protocol(void)
{
    return &providers[1];
}

const TRANSPORT_PROVIDER *AMQP_Protocol(void)
{
    return &providers[2];
}

const TRANSPORT_PROVIDER *AMQP_Protocol_over_WebSocketsTls(void)
{
    return &providers[3];
}

const TRANSPORT_PROVIDER *HTTP_Protocol(void)
{
    return &providers[4];
}

int capi_protocol(IOTHUB_CLIENT_TRANSPORT_PROVIDER protocol)
{
    const TRANSPORT_PROVIDER *p = protocol == NULL ? NULL : protocol();
    for (size_t i = 0; i < sizeof providers / sizeof *providers; i++) {
        if (p == &providers[i]) {
            return p->transport;
        }
    }
    return 0;
}

TRANSPORT_HANDLE IoTHubTransport_Create(IOTHUB_CLIENT_TRANSPORT_PROVIDER protocol, const char *iotHubName, const char *iotHubSuffix)
{
    (void)protocol, (void)iotHubName, (void)iotHubSuffix;
    capi_log(0, "IoTHubTransport_Create: MQTT cannot share a connection, and AMQP and HTTPS cannot be chosen yet");
    return NULL;
}

void IoTHubTransport_Destroy(TRANSPORT_HANDLE transportHandle)
{
    (void)transportHandle;
}

TRANSPORT_LL_HANDLE IoTHubTransport_GetLLTransport(TRANSPORT_HANDLE transportHandle)
{
    (void)transportHandle;
    return NULL;
}

int IoTHub_Init(void)
{
    return 0;
}

void IoTHub_Deinit(void)
{
}

const char *IoTHubClient_GetVersionString(void)
{
    return IOTHUB_SDK_VERSION;
}
