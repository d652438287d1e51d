/* The older place of azure_macro_utils/macro_utils.h. */
#include "azure_macro_utils/macro_utils.h"
