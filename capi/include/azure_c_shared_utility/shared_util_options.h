/* Names of options that are not of the IoT Hub client's own making; see
   docs/c-compatibility.md for what each does here. */
#ifndef SHARED_UTIL_OPTIONS_H
#define SHARED_UTIL_OPTIONS_H

#include "azure_c_shared_utility/const_defines.h"
#include "azure_macro_utils/macro_utils.h"

#ifdef __cplusplus
extern "C" {
#endif

/* The value of OPTION_HTTP_PROXY. username and password are both set or both
   NULL. Everything is copied. */
typedef struct HTTP_PROXY_OPTIONS_TAG {
    const char *host_address;
    int port;
    const char *username;
    const char *password;
} HTTP_PROXY_OPTIONS;

typedef enum OPTION_OPENSSL_KEY_TYPE_TAG { KEY_TYPE_DEFAULT, KEY_TYPE_ENGINE } OPTION_OPENSSL_KEY_TYPE;

static STATIC_VAR_UNUSED const char *const OPTION_HTTP_PROXY = "proxy_data";
static STATIC_VAR_UNUSED const char *const OPTION_HTTP_TIMEOUT = "timeout";
static STATIC_VAR_UNUSED const char *const OPTION_TRUSTED_CERT = "TrustedCerts";
static STATIC_VAR_UNUSED const char *const OPTION_OPENSSL_CIPHER_SUITE = "CipherSuite";
static STATIC_VAR_UNUSED const char *const OPTION_OPENSSL_ENGINE = "Engine";
static STATIC_VAR_UNUSED const char *const OPTION_OPENSSL_PRIVATE_KEY_TYPE = "x509PrivatekeyType";
static STATIC_VAR_UNUSED const char *const OPTION_X509_ECC_CERT = "x509EccCertificate";
static STATIC_VAR_UNUSED const char *const OPTION_X509_ECC_KEY = "x509EccAliasKey";
static STATIC_VAR_UNUSED const char *const OPTION_CURL_LOW_SPEED_LIMIT = "CURLOPT_LOW_SPEED_LIMIT";
static STATIC_VAR_UNUSED const char *const OPTION_CURL_LOW_SPEED_TIME = "CURLOPT_LOW_SPEED_TIME";
static STATIC_VAR_UNUSED const char *const OPTION_CURL_FRESH_CONNECT = "CURLOPT_FRESH_CONNECT";
static STATIC_VAR_UNUSED const char *const OPTION_CURL_FORBID_REUSE = "CURLOPT_FORBID_REUSE";
static STATIC_VAR_UNUSED const char *const OPTION_CURL_VERBOSE = "CURLOPT_VERBOSE";
static STATIC_VAR_UNUSED const char *const OPTION_CURL_INTERFACE = "CURLOPT_INTERFACE";
static STATIC_VAR_UNUSED const char *const OPTION_NET_INT_MAC_ADDRESS = "net_interface_mac_address";
static STATIC_VAR_UNUSED const char *const OPTION_SET_TLS_RENEGOTIATION = "tls_renegotiation";
static STATIC_VAR_UNUSED const char *const OPTION_TLS_VERSION = "tls_version";
static STATIC_VAR_UNUSED const char *const OPTION_ADDRESS_TYPE = "ADDRESS_TYPE";
static STATIC_VAR_UNUSED const char *const SU_OPTION_X509_CERT = "x509certificate";
static STATIC_VAR_UNUSED const char *const SU_OPTION_X509_PRIVATE_KEY = "x509privatekey";

#ifdef __cplusplus
}
#endif

#endif
