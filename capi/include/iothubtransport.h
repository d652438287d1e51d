/* The shared connection is declared in iothub_transport_ll.h. */
#include "iothub_transport_ll.h"
