/* A map of strings to strings that keeps the order in which keys were added. */
#ifndef MAP_H
#define MAP_H

#include <stdbool.h>
#include <stddef.h>

#include "azure_c_shared_utility/crt_abstractions.h"
#include "azure_macro_utils/macro_utils.h"

#ifdef __cplusplus
extern "C" {
#endif

#define MAP_RESULT_VALUES \
    MAP_OK,               \
    MAP_ERROR,            \
    MAP_INVALIDARG,       \
    MAP_KEYEXISTS,        \
    MAP_KEYNOTFOUND,      \
    MAP_FILTER_REJECT

MU_DEFINE_ENUM_WITHOUT_INVALID(MAP_RESULT, MAP_RESULT_VALUES);

typedef struct MAP_HANDLE_DATA_TAG *MAP_HANDLE;

/* Is asked before a key and a value are stored; nonzero refuses them. */
typedef int (*MAP_FILTER_CALLBACK)(const char *mapProperty, const char *mapValue);

/* Returns an empty map; mapFilterFunc may be NULL. */
MAP_HANDLE Map_Create(MAP_FILTER_CALLBACK mapFilterFunc);

/* Releases a map. One that belongs to a message is released with it. */
void Map_Destroy(MAP_HANDLE handle);

/* Returns a copy of a map, its filter included, or NULL. */
MAP_HANDLE Map_Clone(MAP_HANDLE handle);

/* Stores a new key: MAP_KEYEXISTS if it is there already. */
MAP_RESULT Map_Add(MAP_HANDLE handle, const char *key, const char *value);

/* Stores a key, replacing the value it had. */
MAP_RESULT Map_AddOrUpdate(MAP_HANDLE handle, const char *key, const char *value);

/* Removes a key: MAP_KEYNOTFOUND if there is none. */
MAP_RESULT Map_Delete(MAP_HANDLE handle, const char *key);

/* Stores whether there is such a key. */
MAP_RESULT Map_ContainsKey(MAP_HANDLE handle, const char *key, bool *keyExists);

/* Stores whether some key has this value. */
MAP_RESULT Map_ContainsValue(MAP_HANDLE handle, const char *key, bool *valueExists);

/* Returns the value of a key, valid until the map changes, or NULL. */
const char *Map_GetValueFromKey(MAP_HANDLE handle, const char *key);

/* Stores all keys and values, valid until the map changes. */
MAP_RESULT Map_GetInternals(MAP_HANDLE handle, const char *const **keys, const char *const **values, size_t *count);

#ifdef __cplusplus
}
#endif

#endif
