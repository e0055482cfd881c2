/* What lines may hold, and the Arrow columns that they become. */

#ifndef HEADGATE_JSON_COLUMNS_H
#define HEADGATE_JSON_COLUMNS_H

#include <stdlib.h>

#include "json_text.h"

enum kind { TEXT, INT32, INT64, FLOAT32, FLOAT64, DECIMAL, BOOLEAN, DAY, CLOCK, MOMENT, INSTANT, BYTES, OBJECT, ARRAY, KINDS };

/* Bytes of a value in the main buffer; 0 for bits and for kinds that have none there. */
static const uint8_t WIDTHS[KINDS] = {4, 4, 8, 4, 8, 16, 0, 4, 8, 8, 8, 4, 0, 4};

typedef struct {
    uint8_t *at;
    size_t size, room;
} buffer;

/* A value of the contract that texts or integers are compared with. */
typedef struct {
    uint8_t *text;
    size_t size;
    int64_t integer;
} allowed;

typedef struct {
    enum kind kind;
    bool required;     /* may be neither null nor missing */
    int level;         /* how deep it stands */
    int first, count;  /* children */
    int precision, scale;
    int64_t least, most; /* of an integer or unscaled decimal, of characters, of items */
    double low, high;
    allowed *values; /* one of them it must be, when there are any */
    int value_count;
    uint8_t *key; /* in quotes; 16 bytes may be read of it, however short it is */
    size_t key_size;
    uint16_t *slots; /* of an object: hash of a key -> 1 + number of a child */
    uint32_t slot_mask;
    size_t expected; /* bytes of texts that a row of the last lines had */
} node;

typedef struct {
    node *nodes; /* the first is the line's object; children stand behind their parents */
    int count;
    bool closed; /* unknown keys are refused */
} layout;

/* A column being written. Without `nulls` there is no bitmap of validity: all values are there. */
typedef struct {
    size_t length, slots; /* values, and how many there is room for */
    bool nulls;
    buffer validity, main, texts;
} column;

typedef struct {
    place at, end;
    const layout *layout;
    column *columns;
    size_t budget; /* bytes that the columns may still grow by */
    bool no_memory;
} reader;

static bool grow(reader *r, buffer *b, size_t need)
{
    size_t room = b->room < 64 ? 64 : b->room;
    while (room < need) {
        if (room > SIZE_MAX / 2)
            return false;
        room *= 2;
    }
    if (room - b->room > r->budget)
        return false;
    uint8_t *at = realloc(b->at, room);
    if (!at) {
        r->no_memory = true;
        return false;
    }
    r->budget -= room - b->room;
    b->at = at;
    b->room = room;
    return true;
}

static inline bool reserve(reader *r, buffer *b, size_t need)
{
    return need <= b->room || grow(r, b, need);
}

/* Makes room for `slots` values. */
static bool widen(reader *r, column *c, enum kind kind, size_t slots)
{
    size_t width = WIDTHS[kind];
    if (c->nulls && !reserve(r, &c->validity, slots / 8 + 1))
        return false;
    if (kind == BOOLEAN ? !reserve(r, &c->main, slots / 8 + 1) : width && !reserve(r, &c->main, (slots + 1) * width))
        return false;
    c->slots = slots;
    return true;
}

static inline void set_bit(uint8_t *bits, size_t n, bool value)
{
    uint8_t bit = (uint8_t)(1u << (n & 7));
    bits[n >> 3] = (uint8_t)(value ? bits[n >> 3] | bit : bits[n >> 3] & ~bit);
}

/* Room for one value more. */
static inline bool one_more(reader *r, column *c, enum kind kind)
{
    return c->length < c->slots || widen(r, c, kind, c->slots < 32 ? 64 : c->slots * 2);
}

/* The value that was just written is there. */
static inline void there(column *c)
{
    if (c->nulls)
        set_bit(c->validity.at, c->length, true);
    c->length++;
}

static inline int32_t *ends(column *c)
{
    return (int32_t *)(void *)c->main.at;
}

static bool add_null(reader *r, int number)
{
    const node *n = &r->layout->nodes[number];
    column *c = &r->columns[number];
    if (!one_more(r, c, n->kind))
        return false;
    if (!c->nulls) {
        if (!reserve(r, &c->validity, c->slots / 8 + 1))
            return false;
        memset(c->validity.at, 0xFF, c->length / 8 + 1);
        c->nulls = true;
    }
    set_bit(c->validity.at, c->length, false);
    switch (n->kind) {
    case TEXT: case BYTES: case ARRAY:
        ends(c)[c->length + 1] = ends(c)[c->length];
        break;
    case BOOLEAN:
        set_bit(c->main.at, c->length, false);
        break;
    case OBJECT:
        for (int child = n->first; child < n->first + n->count; child++)
            if (!add_null(r, child))
                return false;
        break;
    default:
        memset(c->main.at + c->length * WIDTHS[n->kind], 0, WIDTHS[n->kind]);
    }
    c->length++;
    return true;
}

/* Cuts a column and those below it back to so many values, which it has; those below may have more. */
static void cut(reader *r, int number, size_t length)
{
    const node *n = &r->layout->nodes[number];
    column *c = &r->columns[number];
    c->length = length;
    if (n->kind == TEXT || n->kind == BYTES)
        c->texts.size = (size_t)ends(c)[length];
    else if (n->kind == ARRAY)
        cut(r, n->first, (size_t)ends(c)[length]);
    else if (n->kind == OBJECT)
        for (int child = n->first; child < n->first + n->count; child++)
            cut(r, child, length);
}

#endif
