/* What crosses between Go and C: Go calls the functions here, C those that Go
   exports. Handles, functions and contexts of the program cross as numbers, so
   that Go never takes one for a pointer of its own. */
#ifndef BRIDGE_H
#define BRIDGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* What a handle stands for. */
enum {
    CAPI_DEVICE_LL = 1,
    CAPI_MODULE_LL,
    CAPI_DEVICE,
    CAPI_MODULE,
    CAPI_MESSAGE,
    CAPI_MAP,
    CAPI_DESERIALIZER,
    CAPI_METHOD,
    CAPI_BLOB,
    CAPI_REGISTRATION_LL,
    CAPI_REGISTRATION
};

/* Transports. */
enum {
    CAPI_MQTT = 1,
    CAPI_MQTT_WS,
    CAPI_AMQP,
    CAPI_AMQP_WS,
    CAPI_HTTP
};

/* How methods are answered. */
enum {
    CAPI_METHOD_NOW,
    CAPI_METHOD_LATER,
    CAPI_COMMAND
};

/* How devices prove themselves. A TPM is SAS for a hub. */
enum {
    CAPI_TPM = 1,
    CAPI_X509 = 2,
    CAPI_SYMMETRIC_KEY = 4
};

/* Texts of a message. */
enum {
    CAPI_MESSAGE_ID,
    CAPI_CORRELATION_ID,
    CAPI_CONTENT_TYPE,
    CAPI_CONTENT_ENCODING,
    CAPI_OUTPUT_NAME,
    CAPI_INPUT_NAME,
    CAPI_CONNECTION_MODULE_ID,
    CAPI_CONNECTION_DEVICE_ID,
    CAPI_CREATION_TIME,
    CAPI_USER_ID,
    CAPI_COMPONENT_NAME,
    CAPI_TEXTS
};

/* A confirmation that is due. */
typedef struct {
    uintptr_t callback;
    uintptr_t context;
    int32_t result;
} capi_confirmation;

/* A property of Plug and Play, as the program gives it. */
typedef struct {
    const char *name;
    const char *value;
    const char *description;
    int result;
    int version;
} capi_property;

/* Calls of the program's functions. */
void capi_call_confirmations(const capi_confirmation *confirmations, size_t n);
void capi_call_status(uintptr_t callback, uintptr_t context, int status, int reason);
int capi_call_message(uintptr_t callback, uintptr_t context, uintptr_t message);
void capi_call_twin(uintptr_t callback, uintptr_t context, int state, const unsigned char *payload, size_t size);
void capi_call_reported(uintptr_t callback, uintptr_t context, int status);
int capi_call_method(uintptr_t callback, uintptr_t context, const char *name, const unsigned char *payload, size_t size, unsigned char **response, size_t *response_size);
void capi_call_inbound(uintptr_t callback, uintptr_t context, const char *name, const unsigned char *payload, size_t size, uintptr_t method);
int capi_call_command(uintptr_t callback, uintptr_t context, const char *component, const char *name, const unsigned char *payload, size_t size, unsigned char **response, size_t *response_size);
void capi_call_invoked(uintptr_t callback, uintptr_t context, int result, int status, unsigned char *payload, size_t size);
void capi_call_uploaded(uintptr_t callback, uintptr_t context, int result);
bool capi_call_block(uintptr_t callback, uintptr_t context, bool can_abort, unsigned char **block, size_t *size);
void capi_call_blocks_end(uintptr_t callback, uintptr_t context, bool can_abort, int result);
void capi_call_registered(uintptr_t callback, uintptr_t context, int result, const char *hub, const char *device);
void capi_call_registering(uintptr_t callback, uintptr_t context, int status);
int capi_call_filter(uintptr_t callback, const char *key, const char *value);

/* A number that only this thread has. */
uintptr_t capi_thread(void);

/* Whether Go has an environment apart from that of C, and the i-th variable of C's,
   NULL behind the last. */
bool capi_environment_is_apart(void);
const char *capi_environment(size_t i);

/* An entry of the log: category 0 is an error, 1 information. */
void capi_log(int category, const char *text);

#endif
