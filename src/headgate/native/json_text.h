/* Reading the texts of JSON, strictly: nothing past `end`, nothing that JSON or UTF-8 does not allow. */

#ifndef HEADGATE_JSON_TEXT_H
#define HEADGATE_JSON_TEXT_H

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

#endif
