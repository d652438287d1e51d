/* Names of the options of the IoT Hub clients; docs/c-compatibility.md says what
   each takes and does here. */
#ifndef IOTHUB_CLIENT_OPTIONS_H
#define IOTHUB_CLIENT_OPTIONS_H

#include "azure_c_shared_utility/const_defines.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct IOTHUB_PROXY_OPTIONS_TAG {
    const char *host_address;
    const char *username;
    const char *password;
} IOTHUB_PROXY_OPTIONS;

static STATIC_VAR_UNUSED const char *const OPTION_RETRY_INTERVAL_SEC = "retry_interval_sec";
static STATIC_VAR_UNUSED const char *const OPTION_RETRY_MAX_DELAY_SECS = "retry_max_delay_secs";
static STATIC_VAR_UNUSED const char *const OPTION_LOG_TRACE = "logtrace";
static STATIC_VAR_UNUSED const char *const OPTION_X509_CERT = "x509certificate";
static STATIC_VAR_UNUSED const char *const OPTION_X509_PRIVATE_KEY = "x509privatekey";
static STATIC_VAR_UNUSED const char *const OPTION_KEEP_ALIVE = "keepalive";
static STATIC_VAR_UNUSED const char *const OPTION_CONNECTION_TIMEOUT = "connect_timeout";
static STATIC_VAR_UNUSED const char *const OPTION_PROXY_HOST = "proxy_address";
static STATIC_VAR_UNUSED const char *const OPTION_PROXY_USERNAME = "proxy_username";
static STATIC_VAR_UNUSED const char *const OPTION_PROXY_PASSWORD = "proxy_password";
static STATIC_VAR_UNUSED const char *const OPTION_SAS_TOKEN_LIFETIME = "sas_token_lifetime";
static STATIC_VAR_UNUSED const char *const OPTION_SAS_TOKEN_REFRESH_TIME = "sas_token_refresh_time";
static STATIC_VAR_UNUSED const char *const OPTION_CBS_REQUEST_TIMEOUT = "cbs_request_timeout";
static STATIC_VAR_UNUSED const char *const OPTION_MIN_POLLING_TIME = "MinimumPollingTime";
static STATIC_VAR_UNUSED const char *const OPTION_BATCHING = "Batching";
static STATIC_VAR_UNUSED const char *const OPTION_MESSAGE_TIMEOUT = "messageTimeout";
static STATIC_VAR_UNUSED const char *const OPTION_BLOB_UPLOAD_TIMEOUT_SECS = "blob_upload_timeout_secs";
static STATIC_VAR_UNUSED const char *const OPTION_BLOB_UPLOAD_TLS_RENEGOTIATION = "blob_upload_tls_renegotiation";
static STATIC_VAR_UNUSED const char *const OPTION_NETWORK_INTERFACE_UPLOAD_TO_BLOB = "network_interface_upload_to_blob";
static STATIC_VAR_UNUSED const char *const OPTION_PRODUCT_INFO = "product_info";
static STATIC_VAR_UNUSED const char *const OPTION_AUTO_URL_ENCODE_DECODE = "auto_url_encode_decode";
static STATIC_VAR_UNUSED const char *const OPTION_SERVICE_SIDE_KEEP_ALIVE_FREQ_SECS = "svc2cl_keep_alive_timeout_secs";
static STATIC_VAR_UNUSED const char *const OPTION_C2D_KEEP_ALIVE_FREQ_SECS = "c2d_keep_alive_freq_secs";
static STATIC_VAR_UNUSED const char *const OPTION_REMOTE_IDLE_TIMEOUT_RATIO = "cl2svc_keep_alive_send_ratio";
static STATIC_VAR_UNUSED const char *const OPTION_EVENT_SEND_TIMEOUT_SECS = "event_send_timeout_secs";
static STATIC_VAR_UNUSED const char *const OPTION_DIAGNOSTIC_SAMPLING_PERCENTAGE = "diag_sampling_percentage";
static STATIC_VAR_UNUSED const char *const OPTION_DO_WORK_FREQUENCY_IN_MS = "do_work_freq_ms";
static STATIC_VAR_UNUSED const char *const OPTION_MODEL_ID = "model_id";

#ifdef __cplusplus
}
#endif

#endif
