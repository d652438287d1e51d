/* The macros by which headers of the Azure IoT SDK for C declare functions.
   Programs that declare theirs so get plain declarations. */
#ifndef UMOCK_C_PROD_H
#define UMOCK_C_PROD_H

#include "azure_macro_utils/macro_utils.h"

#define MOCKABLE_FUNCTION(modifiers, result, name, ...) \
    result modifiers name(MU_PAIRS(__VA_ARGS__))

#define MOCKABLE_FUNCTION_WITH_RETURNS(modifiers, result, name, ...) \
    MOCKABLE_FUNCTION(modifiers, result, name, __VA_ARGS__)

#endif
