/* What programs include for HTTP_PROXY_OPTIONS. */
#ifndef HTTP_PROXY_IO_H
#define HTTP_PROXY_IO_H

#include "azure_c_shared_utility/shared_util_options.h"

#endif
