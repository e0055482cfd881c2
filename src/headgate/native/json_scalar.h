/* Reading the numbers and times of JSON: exactly, or not at all. */

#ifndef HEADGATE_JSON_SCALAR_H
#define HEADGATE_JSON_SCALAR_H

#include <float.h>
#include <math.h>

#include "json_text.h"

#define MOST_DIGITS 19 /* that surely fit 64 bits */

static const uint64_t TENS[] = {
    1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull, 100000000ull, 1000000000ull,
    10000000000ull, 100000000000ull, 1000000000000ull, 10000000000000ull, 100000000000000ull, 1000000000000000ull,
    10000000000000000ull, 100000000000000000ull, 1000000000000000000ull, 10000000000000000000ull,
};

static const double POWERS[] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

/* A number as it was written: digits x 10^power. */
typedef struct {
    uint64_t digits;
    int32_t power;
    bool negative, pointed, scaled; /* has a minus, a point, an exponent */
    bool fits;                      /* all its digits and its power are here */
} number;

/* Moves over a number; NULL when it is none. */
static inline place read_number(place at, place end, number *found)
{
    uint64_t digits = 0;
    int32_t power = 0;
    int count = 0;
    found->negative = at < end && *at == '-';
    at += found->negative;
    found->pointed = found->scaled = false;
    if (at >= end || !is_digit(*at))
        return NULL;
    if (*at == '0')
        at++;
    else
        for (; at < end && is_digit(*at); at++) {
            if (count < MOST_DIGITS)
                digits = digits * 10 + (uint64_t)(*at - '0');
            count += count <= MOST_DIGITS;
        }
    if (at < end && *at == '.') {
        found->pointed = true;
        at++;
        place first = at;
        for (; at < end && is_digit(*at); at++) {
            if (count < MOST_DIGITS) {
                digits = digits * 10 + (uint64_t)(*at - '0');
                power -= power > -400;
            }
            count += count <= MOST_DIGITS && digits;
        }
        if (at == first)
            return NULL;
    }
    found->fits = count <= MOST_DIGITS && power > -400;
    if (at < end && (*at | 0x20) == 'e') {
        found->scaled = true;
        at++;
        bool minus = at < end && *at == '-';
        at += at < end && (*at == '-' || *at == '+');
        place first = at;
        int32_t exponent = 0;
        for (; at < end && is_digit(*at); at++)
            exponent = exponent < 10000 ? exponent * 10 + (*at - '0') : exponent;
        if (at == first)
            return NULL;
        power += minus ? -exponent : exponent;
    }
    found->digits = digits;
    found->power = power;
    return at;
}

#ifdef __SIZEOF_INT128__
__extension__ typedef unsigned __int128 wide;

static inline int bits(uint64_t value)
{
    return 64 - __builtin_clzll(value);
}

/* The double nearest to a number of 16 or 17 digits, computed exactly. False when the double, written with as many
 * digits, gives another number. */
static inline bool long_double_of(uint64_t digits, int places, double *value)
{
    uint64_t divisor = TENS[places];
    int shift = 54 - bits(digits) + bits(divisor);
    if (shift < 0 || shift > 63 + 54)
        return false;
    wide over = (wide)digits << shift;
    uint64_t quotient = (uint64_t)(over / divisor); /* of 54 or 55 bits */
    bool rest = over % divisor != 0;
    int extra = bits(quotient) - 53;
    uint64_t low = quotient & ((1ull << extra) - 1), half = 1ull << (extra - 1), mantissa = quotient >> extra;
    mantissa += low > half || (low == half && (rest || (mantissa & 1)));
    int down = shift - extra;
    if (down <= 0 || down > 120)
        return false;
    wide product = (wide)mantissa * divisor, part = product & (((wide)1 << down) - 1), middle = (wide)1 << (down - 1);
    if (part == middle || (uint64_t)(product >> down) + (part > middle) != digits)
        return false;
    *value = ldexp((double)mantissa, -down);
    return true;
}
#endif

/* The double that a number surely is: nearest to it, and written with as many digits the same number again. */
static inline bool double_of(const number *given, double *value)
{
    uint64_t digits = given->digits;
    int32_t power = given->power;
    if (!given->fits || FLT_EVAL_METHOD != 0)
        return false;
    if (digits == 0) {
        if (given->scaled || (given->negative && !given->pointed))
            return false; /* readers differ about these */
        *value = given->negative ? -0.0 : 0.0;
        return true;
    }
    while (digits >= TENS[15] && power < 0 && digits % 10 == 0) {
        digits /= 10;
        power++;
    }
    if (digits < TENS[15] && power >= -22 && power <= 22)
        *value = power < 0 ? (double)digits / POWERS[-power] : (double)digits * POWERS[power];
    else if (power == 0 && digits <= 1ull << 53)
        *value = (double)digits;
#ifdef __SIZEOF_INT128__
    else if (digits < TENS[17] && power < 0 && power >= -MOST_DIGITS) {
        if (!long_double_of(digits, -power, value))
            return false;
    }
#endif
    else
        return false;
    if (given->negative)
        *value = -*value;
    return true;
}

/* The float that a number of at most six digits surely is: through the double it is rounded as it is at once. */
static inline bool float_of(const number *given, float *value)
{
    double large;
    if (given->digits >= 1000000 || given->power < -8 || given->power > 8 || !double_of(given, &large))
        return false;
    *value = (float)large;
    return true;
}

/* The number x 10^scale as an integer of two halves, when it is one of at most `precision` digits. */
static inline bool decimal_of(const number *given, int precision, int scale, uint64_t halves[2])
{
    if (!given->fits || given->scaled)
        return false;
    int more = scale + given->power; /* the power is no greater than 0 */
    if (more < 0)
        return false;
    uint64_t digits = given->digits, high = 0, low = digits;
    int most = precision - more;
    if (digits && (most <= 0 || (most < 20 && digits >= TENS[most])))
        return false;
    if (digits && more) {
#ifdef __SIZEOF_INT128__
        wide whole = digits;
        for (; more > 19; more -= 19)
            whole *= TENS[19];
        whole *= TENS[more];
        high = (uint64_t)(whole >> 64);
        low = (uint64_t)whole;
#else
        if (precision > 19)
            return false;
        low = digits * TENS[more];
#endif
    }
    if (given->negative) {
        low = ~low + 1;
        high = ~high + (low == 0);
    }
    halves[0] = low;
    halves[1] = high;
    return true;
}

/* --- times ------------------------------------------------------------------------------------------------------ */

/* A number of two digits, or -1. */
static inline int pair(place at)
{
    return is_digit(at[0]) && is_digit(at[1]) ? (at[0] - '0') * 10 + (at[1] - '0') : -1;
}

/* The days since 1970 of YYYY-MM-DD. `at` has ten bytes. */
static inline bool read_day(place at, int32_t *days)
{
    static const uint8_t LONGEST[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int century = pair(at), year = pair(at + 2), month = pair(at + 5), day = pair(at + 8);
    if (century < 0 || year < 0 || month < 1 || month > 12 || day < 1 || at[4] != '-' || at[7] != '-')
        return false;
    year += century * 100;
    bool leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (year < 1 || day > LONGEST[month - 1] + (month == 2 && leap))
        return false;
    /* Days of a year that begins in March: the leap day is its last. */
    int y = year - (month <= 2), era = y / 400, of_era = y - era * 400;
    int of_year = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1;
    *days = era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468;
    return true;
}

/* The microseconds of HH:MM:SS, which may have one to six digits of a fraction behind it; NULL when it is none. */
static inline place read_clock(place at, place end, int64_t *micros)
{
    if (left(at, end) < 8)
        return NULL;
    int hour = pair(at), minute = pair(at + 3), second = pair(at + 6);
    if (hour < 0 || hour > 23 || minute < 0 || minute > 59 || second < 0 || second > 59 || at[2] != ':' || at[5] != ':')
        return NULL;
    int64_t value = (hour * 3600 + minute * 60 + second) * INT64_C(1000000);
    at += 8;
    if (at < end && *at == '.') {
        int32_t fraction = 0, place_value = 100000;
        place first = ++at;
        for (; at < end && is_digit(*at); at++, place_value /= 10) {
            if (!place_value)
                return NULL;
            fraction += (*at - '0') * place_value;
        }
        if (at == first)
            return NULL;
        value += fraction;
    }
    *micros = value;
    return at;
}

#define FIRST_MICRO INT64_C(-62135596800000000) /* of year 1 */
#define LAST_MICRO INT64_C(253402300799999999)  /* of year 9999 */

/* The microseconds since 1970 of a day, `T` or a blank, and a time; a zone if `zoned`, and none if not. */
static inline place read_moment(place at, place end, bool zoned, int64_t *micros)
{
    int32_t days;
    if (left(at, end) < 19 || !read_day(at, &days) || (at[10] != 'T' && at[10] != ' '))
        return NULL;
    int64_t value;
    at = read_clock(at + 11, end, &value);
    if (!at)
        return NULL;
    value += days * INT64_C(86400000000);
    if (zoned) {
        if (at < end && *at == 'Z')
            at++;
        else {
            if (left(at, end) < 6 || (*at != '+' && *at != '-'))
                return NULL;
            int colon = at[3] == ':', hours = pair(at + 1), minutes = pair(at + 3 + colon);
            if (hours < 0 || hours > 14 || minutes < 0 || minutes > 59)
                return NULL;
            int64_t ahead = (hours * 60 + minutes) * INT64_C(60000000);
            value += *at == '-' ? ahead : -ahead;
            at += 5 + colon;
        }
        if (value < FIRST_MICRO || value > LAST_MICRO)
            return NULL;
    }
    *micros = value;
    return at;
}

#endif
