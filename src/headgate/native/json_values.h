/* Reading the values of a line straight into their columns. */

#ifndef HEADGATE_JSON_VALUES_H
#define HEADGATE_JSON_VALUES_H

#include "json_columns.h"
#include "json_scalar.h"

#define MOST_MEMBERS 512 /* of an object */
#define DEEPEST 64       /* values in values of a key that the contract does not know */

static bool read_value(reader *r, int number);

static bool is_among(const node *n, place text, size_t size)
{
    for (int i = 0; i < n->value_count; i++)
        if (n->values[i].size == size && !memcmp(n->values[i].text, text, size))
            return true;
    return false;
}

static inline bool read_text(reader *r, const node *n, column *c)
{
    if (r->at == r->end || *r->at != '"')
        return false;
    place at = r->at + 1;
    size_t size = c->texts.size;
    enum ending ending;
    do {
        size_t run = left(at, r->end) < LONGEST_RUN ? left(at, r->end) : LONGEST_RUN;
        if (!reserve(r, &c->texts, size + run + SLACK))
            return false;
        uint8_t *out = c->texts.at + size;
        ending = text_run(&at, r->end, &out);
        size = (size_t)(out - c->texts.at);
    } while (ending == MORE);
    if (ending == WRONG || size > INT32_MAX)
        return false;
    if (n->least > 0 || n->most < INT64_MAX) {
        int64_t count = (int64_t)characters(c->texts.at + c->texts.size, size - c->texts.size);
        if (count < n->least || count > n->most)
            return false;
    }
    if (n->value_count && !is_among(n, c->texts.at + c->texts.size, size - c->texts.size))
        return false;
    c->texts.size = size;
    ends(c)[c->length + 1] = (int32_t)size;
    r->at = at;
    return true;
}

/* Bytes as PostgreSQL writes them: a backslash (in JSON two), an x and pairs of hexadecimal digits. */
static bool read_bytes(reader *r, column *c)
{
    place at = r->at;
    if (left(at, r->end) < 5 || memcmp(at, "\"\\\\x", 4) != 0)
        return false;
    at += 4;
    size_t size = c->texts.size;
    while (at < r->end && *at != '"') {
        if (left(at, r->end) < 2 || !reserve(r, &c->texts, size + 1))
            return false;
        int high = hex_digit(at[0]), low = hex_digit(at[1]);
        if (high < 0 || low < 0)
            return false;
        c->texts.at[size++] = (uint8_t)(high << 4 | low);
        at += 2;
    }
    if (at == r->end || size > INT32_MAX)
        return false;
    c->texts.size = size;
    ends(c)[c->length + 1] = (int32_t)size;
    r->at = at + 1;
    return true;
}

static inline bool read_integer(reader *r, const node *n, column *c)
{
    place at = r->at, end = r->end;
    bool negative = at < end && *at == '-';
    at += negative;
    place first = at;
    uint64_t digits = 0;
    for (; at < end && is_digit(*at); at++) {
        if (at - first >= MOST_DIGITS)
            return false;
        digits = digits * 10 + (uint64_t)(*at - '0');
    }
    if (at == first || (*first == '0' && at - first > 1) || digits > (uint64_t)INT64_MAX + negative)
        return false;
    int64_t value = negative ? (int64_t)(~digits + 1) : (int64_t)digits;
    if (value < n->least || value > n->most) /* a fraction or an exponent behind it is no end of a value */
        return false;
    if (n->value_count) {
        int i = 0;
        while (i < n->value_count && n->values[i].integer != value)
            i++;
        if (i == n->value_count)
            return false;
    }
    if (n->kind == INT32) {
        int32_t small = (int32_t)value;
        memcpy(c->main.at + c->length * 4, &small, 4);
    } else
        memcpy(c->main.at + c->length * 8, &value, 8);
    r->at = at;
    return true;
}

static inline bool read_decimal(reader *r, const node *n, column *c)
{
    number given;
    uint64_t halves[2];
    place at = read_number(r->at, r->end, &given);
    if (!at || !decimal_of(&given, n->precision, n->scale, halves))
        return false;
    if (n->precision < MOST_DIGITS && ((int64_t)halves[0] < n->least || (int64_t)halves[0] > n->most))
        return false;
    memcpy(c->main.at + c->length * 16, halves, 16);
    r->at = at;
    return true;
}

static inline bool read_float(reader *r, const node *n, column *c)
{
    number given;
    double value;
    place at = read_number(r->at, r->end, &given);
    if (!at)
        return false;
    if (n->kind == FLOAT32) {
        float small;
        if (!float_of(&given, &small))
            return false;
        value = (double)small;
        memcpy(c->main.at + c->length * 4, &small, 4);
    } else {
        if (!double_of(&given, &value))
            return false;
        memcpy(c->main.at + c->length * 8, &value, 8);
    }
    r->at = at;
    return value >= n->low && value <= n->high;
}

static bool read_boolean(reader *r, column *c)
{
    bool value = left(r->at, r->end) >= 4 && !memcmp(r->at, "true", 4);
    if (!value && (left(r->at, r->end) < 5 || memcmp(r->at, "false", 5) != 0))
        return false;
    r->at += value ? 4 : 5;
    set_bit(c->main.at, c->length, value);
    return true;
}

static inline bool read_time(reader *r, const node *n, column *c)
{
    if (r->at == r->end || *r->at != '"')
        return false;
    place at = r->at + 1;
    int64_t micros;
    if (n->kind == DAY) {
        int32_t days;
        if (left(at, r->end) < 10 || !read_day(at, &days))
            return false;
        at += 10;
        memcpy(c->main.at + c->length * 4, &days, 4);
    } else {
        at = n->kind == CLOCK ? read_clock(at, r->end, &micros) : read_moment(at, r->end, n->kind == INSTANT, &micros);
        if (!at)
            return false;
        memcpy(c->main.at + c->length * 8, &micros, 8);
    }
    if (at == r->end || *at != '"')
        return false;
    r->at = at + 1;
    return true;
}

static bool read_array(reader *r, const node *n, column *c)
{
    if (r->at == r->end || *r->at != '[')
        return false;
    column *items = &r->columns[n->first];
    size_t before = items->length;
    r->at = skip_blanks(r->at + 1, r->end);
    if (r->at < r->end && *r->at == ']')
        r->at++;
    else
        for (;;) {
            if (!read_value(r, n->first))
                return false;
            r->at = skip_blanks(r->at, r->end);
            if (r->at == r->end)
                return false;
            uint8_t behind = *r->at++;
            if (behind == ']')
                break;
            if (behind != ',')
                return false;
            r->at = skip_blanks(r->at, r->end);
        }
    int64_t count = (int64_t)(items->length - before);
    if (count < n->least || count > n->most || items->length > INT32_MAX)
        return false;
    ends(c)[c->length + 1] = (int32_t)items->length;
    return true;
}

static inline uint32_t hash_of(place key, size_t size)
{
    uint32_t hash = 2166136261u;
    for (size_t n = 0; n < size; n++)
        hash = (hash ^ key[n]) * 16777619u;
    return hash ^ hash >> 15;
}

/* The number of the member with this key; -1 when there is none. */
static int member_of(const layout *of, const node *n, place key, size_t size)
{
    if (!n->count)
        return -1;
    for (uint32_t slot = hash_of(key, size) & n->slot_mask; n->slots[slot]; slot = (slot + 1) & n->slot_mask) {
        const node *member = &of->nodes[n->first + n->slots[slot] - 1];
        if (member->key_size == size + 2 && !memcmp(member->key + 1, key, size))
            return n->slots[slot] - 1;
    }
    return -1;
}

/* Moves over a value that the contract does not know; `level` values are around it. */
static bool skip_value(reader *r, int level)
{
    if (r->at == r->end || level > DEEPEST)
        return false;
    uint8_t first = *r->at, last = first == '{' ? '}' : ']';
    number ignored;
    switch (first) {
    case '"':
        r->at = skip_text(r->at + 1, r->end);
        return r->at != NULL;
    case 't': case 'f': case 'n': {
        const char *word = first == 't' ? "true" : first == 'f' ? "false" : "null";
        size_t size = strlen(word);
        if (left(r->at, r->end) < size || memcmp(r->at, word, size) != 0)
            return false;
        r->at += size;
        return true;
    }
    case '{': case '[':
        break;
    default:
        r->at = read_number(r->at, r->end, &ignored);
        return r->at != NULL;
    }
    r->at = skip_blanks(r->at + 1, r->end);
    if (r->at < r->end && *r->at == last) {
        r->at++;
        return true;
    }
    for (;;) {
        if (first == '{') {
            if (r->at == r->end || *r->at != '"' || !(r->at = skip_text(r->at + 1, r->end)))
                return false;
            r->at = skip_blanks(r->at, r->end);
            if (r->at == r->end || *r->at != ':')
                return false;
            r->at = skip_blanks(r->at + 1, r->end);
        }
        if (!skip_value(r, level + 1))
            return false;
        r->at = skip_blanks(r->at, r->end);
        if (r->at == r->end)
            return false;
        uint8_t behind = *r->at++;
        if (behind == last)
            return true;
        if (behind != ',')
            return false;
        r->at = skip_blanks(r->at, r->end);
    }
}

/* The size of the key that begins here, behind its quote; false when an escape is in it, or what no text may hold. */
static bool key_size(place at, place end, size_t *size)
{
    place here = at;
    while (here < end && *here != '"') {
        int more = *here < 0x80 ? *here >= ' ' && *here != '\\' : wide_character(here, end);
        if (!more)
            return false;
        here += more;
    }
    *size = left(at, here);
    return here < end;
}

/* Whether the key of a member, in its quotes, stands here. */
static inline bool is_key(place at, place end, const node *member)
{
    size_t size = member->key_size;
    if (left(at, end) <= size)
        return false;
#ifdef __SSE2__
    if (size <= 16 && left(at, end) >= 16) { /* a call would cost more than the comparison */
        __m128i here = _mm_loadu_si128((const __m128i *)(const void *)at);
        __m128i key = _mm_loadu_si128((const __m128i *)(const void *)member->key);
        return ((unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(here, key)) | ~0u << size) == ~0u;
    }
#endif
    return !memcmp(at, member->key, size);
}

static bool read_object(reader *r, const node *n)
{
    const node *members = &r->layout->nodes[n->first];
    uint64_t seen[MOST_MEMBERS / 64];
    int next = 0, found = 0;
    place at = r->at, end = r->end;
    if (at == end || *at != '{')
        return false;
    memset(seen, 0, ((size_t)n->count + 63) / 64 * 8);
    at = skip_blanks(at + 1, end);
    if (at < end && *at == '}')
        at++;
    else
        for (;;) {
            if (at == end || *at != '"')
                return false;
            int member = next;
            if (next < n->count && is_key(at, end, &members[next]))
                at += members[next].key_size;
            else {
                size_t size;
                if (!key_size(++at, end, &size))
                    return false;
                member = member_of(r->layout, n, at, size);
                if (member < 0 && r->layout->closed)
                    return false;
                at += size + 1;
            }
            at = skip_blanks(at, end);
            if (at == end || *at != ':')
                return false;
            r->at = skip_blanks(at + 1, end);
            if (member < 0) {
                if (!skip_value(r, 0))
                    return false;
            } else {
                uint64_t bit = 1ull << (member & 63);
                if (seen[member >> 6] & bit)
                    return false;
                seen[member >> 6] |= bit;
                if (!read_value(r, n->first + member))
                    return false;
                next = member + 1;
                found++;
            }
            at = skip_blanks(r->at, end);
            if (at == end)
                return false;
            uint8_t behind = *at++;
            if (behind == '}')
                break;
            if (behind != ',')
                return false;
            at = skip_blanks(at, end);
        }
    r->at = at;
    if (found < n->count)
        for (int member = 0; member < n->count; member++)
            if (!(seen[member >> 6] >> (member & 63) & 1)
                && (members[member].required || !add_null(r, n->first + member)))
                return false;
    return true;
}

/* One value of a node, at which the reader is. */
static bool read_value(reader *r, int number)
{
    const node *n = &r->layout->nodes[number];
    column *c = &r->columns[number];
    if (r->at < r->end && *r->at == 'n') {
        if (n->required || left(r->at, r->end) < 4 || memcmp(r->at, "null", 4) != 0)
            return false;
        r->at += 4;
        return add_null(r, number);
    }
    if (!one_more(r, c, n->kind))
        return false;
    bool right = false;
    switch (n->kind) {
    case TEXT: right = read_text(r, n, c); break;
    case INT32: case INT64: right = read_integer(r, n, c); break;
    case FLOAT32: case FLOAT64: right = read_float(r, n, c); break;
    case DECIMAL: right = read_decimal(r, n, c); break;
    case BOOLEAN: right = read_boolean(r, c); break;
    case DAY: case CLOCK: case MOMENT: case INSTANT: right = read_time(r, n, c); break;
    case BYTES: right = read_bytes(r, c); break;
    case OBJECT: right = read_object(r, n); break;
    case ARRAY: right = read_array(r, n, c); break;
    case KINDS: break;
    }
    if (right)
        there(c);
    return right;
}

static bool read_line(reader *r)
{
    size_t rows = r->columns[0].length;
    r->at = skip_blanks(r->at, r->end);
    if (r->at < r->end && *r->at == '{' && read_value(r, 0) && skip_blanks(r->at, r->end) == r->end)
        return true;
    cut(r, 0, rows);
    return false;
}

#endif
