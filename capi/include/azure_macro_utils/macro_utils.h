/* Enumerations whose values have names at run time, as the public headers of the
   Azure IoT SDK for C declare them:

     #define COLOUR_VALUES RED, GREEN
     MU_DEFINE_ENUM_WITHOUT_INVALID(COLOUR, COLOUR_VALUES)          in a header
     MU_DEFINE_ENUM_STRINGS_WITHOUT_INVALID(COLOUR, COLOUR_VALUES)  in one source file
     MU_ENUM_TO_STRING(COLOUR, RED)                                 is "RED"

   A list has 1 to 64 elements. */
#ifndef MACRO_UTILS_H
#define MACRO_UTILS_H

#include <stddef.h>
#include <string.h>

#ifdef __cplusplus
#define MU_EXTERN extern "C"
#else
#define MU_EXTERN extern
#endif

/* The library defines the names of its own enumerations; a program that does it
   again, as samples do, wins. */
#if defined(__GNUC__) || defined(__clang__)
#define MU_WEAK __attribute__((weak))
#else
#define MU_WEAK
#endif

#define MU_JOIN_(a, b) a##b
#define MU_JOIN(a, b) MU_JOIN_(a, b)
#define MU_C2(a, b) MU_JOIN(a, b)
#define MU_TOSTRING_(x) #x
#define MU_TOSTRING(x) MU_TOSTRING_(x)
#define MU_EXPAND(x) x

#define MU_ARG_AT_64(a1, a2, a3, a4, a5, a6, a7, a8, a9, a10, a11, a12, a13, a14, a15, a16, a17, a18, a19, a20, a21, a22, a23, a24, a25, a26, a27, a28, a29, a30, a31, a32, a33, a34, a35, a36, a37, a38, a39, a40, a41, a42, a43, a44, a45, a46, a47, a48, a49, a50, a51, a52, a53, a54, a55, a56, a57, a58, a59, a60, a61, a62, a63, a64, n, ...) n
#define MU_COUNT(...) MU_EXPAND(MU_ARG_AT_64(__VA_ARGS__, 64, 63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41, 40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18, 17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0))

/* MU_EACH(f, x, a, b, …) is f(x, a) f(x, b) … */
#define MU_EACH_1(f, x, a) f(x, a)
#define MU_EACH_2(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_1(f, x, __VA_ARGS__))
#define MU_EACH_3(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_2(f, x, __VA_ARGS__))
#define MU_EACH_4(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_3(f, x, __VA_ARGS__))
#define MU_EACH_5(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_4(f, x, __VA_ARGS__))
#define MU_EACH_6(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_5(f, x, __VA_ARGS__))
#define MU_EACH_7(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_6(f, x, __VA_ARGS__))
#define MU_EACH_8(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_7(f, x, __VA_ARGS__))
#define MU_EACH_9(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_8(f, x, __VA_ARGS__))
#define MU_EACH_10(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_9(f, x, __VA_ARGS__))
#define MU_EACH_11(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_10(f, x, __VA_ARGS__))
#define MU_EACH_12(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_11(f, x, __VA_ARGS__))
#define MU_EACH_13(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_12(f, x, __VA_ARGS__))
#define MU_EACH_14(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_13(f, x, __VA_ARGS__))
#define MU_EACH_15(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_14(f, x, __VA_ARGS__))
#define MU_EACH_16(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_15(f, x, __VA_ARGS__))
#define MU_EACH_17(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_16(f, x, __VA_ARGS__))
#define MU_EACH_18(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_17(f, x, __VA_ARGS__))
#define MU_EACH_19(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_18(f, x, __VA_ARGS__))
#define MU_EACH_20(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_19(f, x, __VA_ARGS__))
#define MU_EACH_21(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_20(f, x, __VA_ARGS__))
#define MU_EACH_22(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_21(f, x, __VA_ARGS__))
#define MU_EACH_23(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_22(f, x, __VA_ARGS__))
#define MU_EACH_24(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_23(f, x, __VA_ARGS__))
#define MU_EACH_25(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_24(f, x, __VA_ARGS__))
#define MU_EACH_26(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_25(f, x, __VA_ARGS__))
#define MU_EACH_27(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_26(f, x, __VA_ARGS__))
#define MU_EACH_28(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_27(f, x, __VA_ARGS__))
#define MU_EACH_29(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_28(f, x, __VA_ARGS__))
#define MU_EACH_30(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_29(f, x, __VA_ARGS__))
#define MU_EACH_31(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_30(f, x, __VA_ARGS__))
#define MU_EACH_32(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_31(f, x, __VA_ARGS__))
#define MU_EACH_33(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_32(f, x, __VA_ARGS__))
#define MU_EACH_34(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_33(f, x, __VA_ARGS__))
#define MU_EACH_35(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_34(f, x, __VA_ARGS__))
#define MU_EACH_36(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_35(f, x, __VA_ARGS__))
#define MU_EACH_37(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_36(f, x, __VA_ARGS__))
#define MU_EACH_38(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_37(f, x, __VA_ARGS__))
#define MU_EACH_39(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_38(f, x, __VA_ARGS__))
#define MU_EACH_40(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_39(f, x, __VA_ARGS__))
#define MU_EACH_41(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_40(f, x, __VA_ARGS__))
#define MU_EACH_42(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_41(f, x, __VA_ARGS__))
#define MU_EACH_43(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_42(f, x, __VA_ARGS__))
#define MU_EACH_44(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_43(f, x, __VA_ARGS__))
#define MU_EACH_45(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_44(f, x, __VA_ARGS__))
#define MU_EACH_46(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_45(f, x, __VA_ARGS__))
#define MU_EACH_47(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_46(f, x, __VA_ARGS__))
#define MU_EACH_48(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_47(f, x, __VA_ARGS__))
#define MU_EACH_49(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_48(f, x, __VA_ARGS__))
#define MU_EACH_50(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_49(f, x, __VA_ARGS__))
#define MU_EACH_51(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_50(f, x, __VA_ARGS__))
#define MU_EACH_52(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_51(f, x, __VA_ARGS__))
#define MU_EACH_53(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_52(f, x, __VA_ARGS__))
#define MU_EACH_54(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_53(f, x, __VA_ARGS__))
#define MU_EACH_55(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_54(f, x, __VA_ARGS__))
#define MU_EACH_56(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_55(f, x, __VA_ARGS__))
#define MU_EACH_57(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_56(f, x, __VA_ARGS__))
#define MU_EACH_58(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_57(f, x, __VA_ARGS__))
#define MU_EACH_59(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_58(f, x, __VA_ARGS__))
#define MU_EACH_60(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_59(f, x, __VA_ARGS__))
#define MU_EACH_61(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_60(f, x, __VA_ARGS__))
#define MU_EACH_62(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_61(f, x, __VA_ARGS__))
#define MU_EACH_63(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_62(f, x, __VA_ARGS__))
#define MU_EACH_64(f, x, a, ...) f(x, a) MU_EXPAND(MU_EACH_63(f, x, __VA_ARGS__))
#define MU_EACH(f, x, ...) MU_EXPAND(MU_JOIN(MU_EACH_, MU_COUNT(__VA_ARGS__))(f, x, __VA_ARGS__))

/* MU_PAIRS(T, a, U, b) is T a, U b. */
#define MU_PAIRS_1(a) void
#define MU_PAIRS_2(t, a) t a
#define MU_PAIRS_4(t, a, ...) t a, MU_EXPAND(MU_PAIRS_2(__VA_ARGS__))
#define MU_PAIRS_6(t, a, ...) t a, MU_EXPAND(MU_PAIRS_4(__VA_ARGS__))
#define MU_PAIRS_8(t, a, ...) t a, MU_EXPAND(MU_PAIRS_6(__VA_ARGS__))
#define MU_PAIRS_10(t, a, ...) t a, MU_EXPAND(MU_PAIRS_8(__VA_ARGS__))
#define MU_PAIRS_12(t, a, ...) t a, MU_EXPAND(MU_PAIRS_10(__VA_ARGS__))
#define MU_PAIRS_14(t, a, ...) t a, MU_EXPAND(MU_PAIRS_12(__VA_ARGS__))
#define MU_PAIRS_16(t, a, ...) t a, MU_EXPAND(MU_PAIRS_14(__VA_ARGS__))
#define MU_PAIRS_18(t, a, ...) t a, MU_EXPAND(MU_PAIRS_16(__VA_ARGS__))
#define MU_PAIRS_20(t, a, ...) t a, MU_EXPAND(MU_PAIRS_18(__VA_ARGS__))
#define MU_PAIRS_22(t, a, ...) t a, MU_EXPAND(MU_PAIRS_20(__VA_ARGS__))
#define MU_PAIRS_24(t, a, ...) t a, MU_EXPAND(MU_PAIRS_22(__VA_ARGS__))
#define MU_PAIRS_26(t, a, ...) t a, MU_EXPAND(MU_PAIRS_24(__VA_ARGS__))
#define MU_PAIRS_28(t, a, ...) t a, MU_EXPAND(MU_PAIRS_26(__VA_ARGS__))
#define MU_PAIRS_30(t, a, ...) t a, MU_EXPAND(MU_PAIRS_28(__VA_ARGS__))
#define MU_PAIRS_32(t, a, ...) t a, MU_EXPAND(MU_PAIRS_30(__VA_ARGS__))
#define MU_PAIRS_34(t, a, ...) t a, MU_EXPAND(MU_PAIRS_32(__VA_ARGS__))
#define MU_PAIRS_36(t, a, ...) t a, MU_EXPAND(MU_PAIRS_34(__VA_ARGS__))
#define MU_PAIRS_38(t, a, ...) t a, MU_EXPAND(MU_PAIRS_36(__VA_ARGS__))
#define MU_PAIRS_40(t, a, ...) t a, MU_EXPAND(MU_PAIRS_38(__VA_ARGS__))
#define MU_PAIRS(...) MU_EXPAND(MU_JOIN(MU_PAIRS_, MU_COUNT(__VA_ARGS__))(__VA_ARGS__))

#define MU_ENUM_ELEMENT_(x, name) name,
#define MU_ENUM_CASE_(x, name) \
    case name:               \
        return #name;
#define MU_ENUM_MATCH_(value, name)   \
    if (strcmp(text, #name) == 0) {   \
        *(value) = name;              \
        return 0;                     \
    }

/* Declares an enumeration that begins with 0, and nameStrings. */
#define MU_DEFINE_ENUM_WITHOUT_INVALID(name, ...)                           \
    typedef enum name##_TAG { MU_EACH(MU_ENUM_ELEMENT_, , __VA_ARGS__) } name; \
    MU_EXTERN const char *MU_JOIN(name, Strings)(name value)

/* The same, with name_INVALID before the first element, as 0. */
#define MU_DEFINE_ENUM(name, ...) \
    MU_DEFINE_ENUM_WITHOUT_INVALID(name, MU_JOIN(name, _INVALID), __VA_ARGS__)

/* Defines nameStrings, which is NULL for what is no element. */
#define MU_DEFINE_ENUM_STRINGS_WITHOUT_INVALID(name, ...) \
    MU_EXTERN const char *MU_JOIN(name, Strings)(name value); \
    const char *MU_JOIN(name, Strings)(name value)        \
    {                                                     \
        switch (value) {                                  \
            MU_EACH(MU_ENUM_CASE_, , __VA_ARGS__)         \
        default:                                          \
            return NULL;                                  \
        }                                                 \
    }                                                     \
    typedef name MU_JOIN(name, _AFTER_STRINGS)

#define MU_DEFINE_ENUM_STRINGS(name, ...) \
    MU_DEFINE_ENUM_STRINGS_WITHOUT_INVALID(name, __VA_ARGS__)

/* Defines name_FromString, which is 0 for the name of an element. */
#define MU_DEFINE_ENUM_FROM_STRING(name, ...)                            \
    MU_EXTERN int MU_JOIN(name, _FromString)(const char *text, name *value); \
    int MU_JOIN(name, _FromString)(const char *text, name *value)        \
    {                                                                    \
        if (text == NULL || value == NULL) {                             \
            return 1;                                                    \
        }                                                                \
        MU_EACH(MU_ENUM_MATCH_, value, __VA_ARGS__)                      \
        return 1;                                                        \
    }                                                                    \
    typedef name MU_JOIN(name, _AFTER_FROM_STRING)

#define MU_ENUM_TO_STRING(name, value) MU_JOIN(name, Strings)(value)
#define MU_STRING_TO_ENUM(text, name, value) MU_JOIN(name, _FromString)(text, value)

/* The names of older programs. */
#define DEFINE_ENUM MU_DEFINE_ENUM
#define DEFINE_ENUM_STRINGS MU_DEFINE_ENUM_STRINGS
#define ENUM_TO_STRING MU_ENUM_TO_STRING

#define MU_FAILURE __LINE__
#ifndef __FAILURE__
#define __FAILURE__ MU_FAILURE
#endif

#endif
