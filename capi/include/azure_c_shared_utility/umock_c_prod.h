/* The older place of umock_c/umock_c_prod.h. */
#include "umock_c/umock_c_prod.h"
