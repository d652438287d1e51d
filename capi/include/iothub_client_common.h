/* The older name of iothub_client_core_common.h. */
#include "iothub_client_core_common.h"
