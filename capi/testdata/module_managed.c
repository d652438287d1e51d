/* module.c with a client that has a thread of its own. */
#define MANAGED
#include "module.c"
