/* Reading the parts of a JSON text, strictly: nothing past `end`, nothing that JSON or UTF-8 does not allow. */

#ifndef HEADGATE_JSON_SCAN_H
#define HEADGATE_JSON_SCAN_H

#include <float.h>
#include <math.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#ifdef __SSE2__
#include <emmintrin.h>
#endif

#if defined(__GNUC__)
#define APART __attribute__((noinline)) /* its memory on the stack is not its caller's */
#else
#define APART
#endif

typedef const uint8_t *place;

#define LONGEST_RUN 4096 /* bytes of a text that are written between two looks at how much room there is */
#define SLACK 32         /* bytes behind them that may be written too */
#define DEEPEST 64       /* values in values of a key that the contract does not know */
#define MOST_DIGITS 19   /* that surely fit 64 bits */

static const uint64_t TENS[] = {
    1ull, 10ull, 100ull, 1000ull, 10000ull, 100000ull, 1000000ull, 10000000ull, 100000000ull, 1000000000ull,
    10000000000ull, 100000000000ull, 1000000000000ull, 10000000000000ull, 100000000000000ull, 1000000000000000ull,
    10000000000000000ull, 100000000000000000ull, 1000000000000000000ull, 10000000000000000000ull,
};

static const double POWERS[] = {
    1e0,  1e1,  1e2,  1e3,  1e4,  1e5,  1e6,  1e7,  1e8,  1e9,  1e10, 1e11,
    1e12, 1e13, 1e14, 1e15, 1e16, 1e17, 1e18, 1e19, 1e20, 1e21, 1e22,
};

static inline place skip_blanks(place at, place end)
{
    while (at < end && *at <= ' ' && (*at == ' ' || *at == '\n' || *at == '\t' || *at == '\r'))
        at++;
    return at;
}

static inline bool is_digit(uint8_t byte)
{
    return (uint8_t)(byte - '0') < 10;
}

static inline size_t left(place at, place end)
{
    return (size_t)(end - at);
}

/* --- texts ------------------------------------------------------------------------------------------------------ */

/* The length of the character of two to four bytes that begins here; 0 when it is none that UTF-8 allows. */
static inline int wide_character(place at, place end)
{
    uint8_t first = at[0];
    size_t there = left(at, end);
    if (first < 0xC2 || first > 0xF4)
        return 0;
    if (there < 2 || (at[1] & 0xC0) != 0x80)
        return 0;
    if (first < 0xE0)
        return 2;
    if (there < 3 || (at[2] & 0xC0) != 0x80)
        return 0;
    if (first < 0xF0) {
        if ((first == 0xE0 && at[1] < 0xA0) || (first == 0xED && at[1] > 0x9F)) /* too long, or half a pair */
            return 0;
        return 3;
    }
    if (there < 4 || (at[3] & 0xC0) != 0x80)
        return 0;
    if ((first == 0xF0 && at[1] < 0x90) || (first == 0xF4 && at[1] > 0x8F))
        return 0;
    return 4;
}

static inline int hex_digit(uint8_t byte)
{
    if (is_digit(byte))
        return byte - '0';
    byte |= 0x20;
    return byte >= 'a' && byte <= 'f' ? byte - 'a' + 10 : -1;
}

/* The 16 bits that four hexadecimal digits say; -1 when there are no four. */
static inline int32_t unit(place at, place end)
{
    if (left(at, end) < 4)
        return -1;
    int32_t value = 0;
    for (int n = 0; n < 4; n++) {
        int digit = hex_digit(at[n]);
        if (digit < 0)
            return -1;
        value = value << 4 | digit;
    }
    return value;
}

/* Reads the escape behind a backslash at `*at` and moves over it; writes its one to four bytes. 0 when it is wrong, or
 * is one that is left to others: half a surrogate pair, and the character zero. */
static inline int escape(place *at, place end, uint8_t *out)
{
    place here = *at + 1;
    if (here >= end)
        return 0;
    uint8_t kind = *here++;
    *at = here;
    switch (kind) {
    case '"': case '\\': case '/': *out = kind; return 1;
    case 'b': *out = '\b'; return 1;
    case 'f': *out = '\f'; return 1;
    case 'n': *out = '\n'; return 1;
    case 'r': *out = '\r'; return 1;
    case 't': *out = '\t'; return 1;
    case 'u': break;
    default: return 0;
    }
    int32_t code = unit(here, end);
    if (code <= 0)
        return 0;
    here += 4;
    if (code >= 0xD800 && code <= 0xDFFF) {
        if (code > 0xDBFF || left(here, end) < 6 || here[0] != '\\' || here[1] != 'u')
            return 0;
        int32_t low = unit(here + 2, end);
        if (low < 0xDC00 || low > 0xDFFF)
            return 0;
        code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
        here += 6;
    }
    *at = here;
    if (code < 0x80) {
        out[0] = (uint8_t)code;
        return 1;
    }
    if (code < 0x800) {
        out[0] = (uint8_t)(0xC0 | code >> 6);
        out[1] = (uint8_t)(0x80 | (code & 0x3F));
        return 2;
    }
    if (code < 0x10000) {
        out[0] = (uint8_t)(0xE0 | code >> 12);
        out[1] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
        out[2] = (uint8_t)(0x80 | (code & 0x3F));
        return 3;
    }
    out[0] = (uint8_t)(0xF0 | code >> 18);
    out[1] = (uint8_t)(0x80 | (code >> 12 & 0x3F));
    out[2] = (uint8_t)(0x80 | (code >> 6 & 0x3F));
    out[3] = (uint8_t)(0x80 | (code & 0x3F));
    return 4;
}

/* Copies what needs no second look, up to `stop`; `*out` has room for that and SLACK bytes more. */
static inline place plain_run(place at, place stop, uint8_t **out)
{
    uint8_t *to = *out;
#ifdef __SSE2__
    const __m128i blank = _mm_set1_epi8(' '), quote = _mm_set1_epi8('"'), slash = _mm_set1_epi8('\\');
    while (left(at, stop) >= 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)at);
        /* As signed numbers, bytes of wide characters are below the blank too. */
        __m128i odd = _mm_or_si128(_mm_cmplt_epi8(bytes, blank),
                                   _mm_or_si128(_mm_cmpeq_epi8(bytes, quote), _mm_cmpeq_epi8(bytes, slash)));
        unsigned found = (unsigned)_mm_movemask_epi8(odd);
        _mm_storeu_si128((__m128i *)(void *)to, bytes);
        if (found) {
            int plain = __builtin_ctz(found);
            *out = to + plain;
            return at + plain;
        }
        at += 16;
        to += 16;
    }
#endif
    while (at < stop && *at >= ' ' && *at < 0x80 && *at != '"' && *at != '\\')
        *to++ = *at++;
    *out = to;
    return at;
}

/* How a piece of text ends. */
enum ending { WRONG, CLOSED, MORE };

/* Decodes text from `*at` on, for LONGEST_RUN bytes at most: to behind its closing quote (CLOSED), or not so far (MORE).
 * `*out` has room for LONGEST_RUN and SLACK bytes. */
static inline enum ending text_run(place *at, place end, uint8_t **out)
{
    place here = *at, stop = left(here, end) > LONGEST_RUN ? here + LONGEST_RUN : end;
    for (;;) {
        if (here < stop)
            here = plain_run(here, stop, out);
        if (here >= stop) { /* behind it after an escape or a wide character */
            *at = here;
            return here < end ? MORE : WRONG;
        }
        if (*here == '"') {
            *at = here + 1;
            return CLOSED;
        }
        if (*here == '\\') {
            int size = escape(&here, end, *out);
            if (!size)
                return WRONG;
            *out += size;
            continue;
        }
        if (*here < ' ')
            return WRONG;
        while (here < stop && *here >= 0x80) {
            int size = wide_character(here, end);
            if (!size)
                return WRONG;
            for (int n = 0; n < size; n++)
                (*out)[n] = here[n];
            *out += size;
            here += size;
        }
    }
}

/* Moves over a text whose opening quote is behind; NULL when it is wrong. */
static APART place skip_text(place at, place end)
{
    uint8_t nowhere[LONGEST_RUN + SLACK];
    for (;;) {
        uint8_t *out = nowhere;
        switch (text_run(&at, end, &out)) {
        case CLOSED: return at;
        case WRONG: return NULL;
        case MORE: break;
        }
    }
}

static inline size_t characters(place at, size_t size)
{
    size_t count = 0;
    for (size_t n = 0; n < size; n++)
        count += (at[n] & 0xC0) != 0x80;
    return count;
}

/* --- numbers ---------------------------------------------------------------------------------------------------- */

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
