/* MU_FAILURE, which functions of older programs return when they fail. */
#include "azure_macro_utils/macro_utils.h"
