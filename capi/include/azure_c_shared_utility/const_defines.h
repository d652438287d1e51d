/* STATIC_VAR_UNUSED marks variables of headers that not every program uses. */
#ifndef CONST_DEFINES_H
#define CONST_DEFINES_H

#if defined(__GNUC__) || defined(__clang__)
#define STATIC_VAR_UNUSED __attribute__((unused))
#else
#define STATIC_VAR_UNUSED
#endif

#endif
