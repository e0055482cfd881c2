/* JSON lines to Arrow columns in one pass, for lines that surely fit a contract; see json_rows.pyi for the promise.
 *
 * A layout is a tree of nodes in an array, children behind their parents; each node is one Arrow column. A line is read
 * straight into the columns. Where it does not fit, the columns are cut back to the rows before it, and it is left to
 * others: a wrong "no" costs time, a wrong "yes" would be a wrong value.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdlib.h>

#include "json_scan.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Arrow's buffers are written as little-endian"
#endif

#define MOST_MEMBERS 512 /* of an object */
#define MOST_LEVELS 32

enum kind { TEXT, INT32, INT64, FLOAT32, FLOAT64, DECIMAL, BOOLEAN, DAY, CLOCK, MOMENT, INSTANT, BYTES, OBJECT, ARRAY, KINDS };

static const char *const KIND_NAMES[KINDS] = {
    "TEXT", "INT32", "INT64", "FLOAT32", "FLOAT64", "DECIMAL", "BOOLEAN",
    "DAY", "CLOCK", "MOMENT", "INSTANT", "BYTES", "OBJECT", "ARRAY",
};

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
    uint8_t *key; /* in quotes */
    size_t key_size;
    uint16_t *slots; /* of an object: hash of a key -> 1 + number of a child */
    uint32_t slot_mask;
    size_t expected; /* bytes of texts that a row of the last lines had */
} node;

typedef struct {
    PyObject_HEAD
    node *nodes;
    int count;
    bool closed; /* unknown keys are refused */
    PyObject *block_type;
} Layout;

/* A column being written. Without `nulls` there is no bitmap of validity: all values are there. */
typedef struct {
    size_t length, slots; /* values, and how many there is room for */
    bool nulls;
    buffer validity, main, texts;
} column;

typedef struct {
    place at, end;
    const Layout *layout;
    column *columns;
    size_t budget; /* bytes that the columns may still grow by */
    bool no_memory;
} reader;

/* --- columns ---------------------------------------------------------------------------------------------------- */

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

/* --- values ----------------------------------------------------------------------------------------------------- */

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

/* --- objects ---------------------------------------------------------------------------------------------------- */

static inline uint32_t hash_of(place key, size_t size)
{
    uint32_t hash = 2166136261u;
    for (size_t n = 0; n < size; n++)
        hash = (hash ^ key[n]) * 16777619u;
    return hash ^ hash >> 15;
}

/* The number of the member with this key; -1 when there is none. */
static int member_of(const Layout *layout, const node *n, place key, size_t size)
{
    if (!n->count)
        return -1;
    for (uint32_t slot = hash_of(key, size) & n->slot_mask; n->slots[slot]; slot = (slot + 1) & n->slot_mask) {
        const node *member = &layout->nodes[n->first + n->slots[slot] - 1];
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
            if (next < n->count && left(at, end) > members[next].key_size
                && !memcmp(at, members[next].key, members[next].key_size))
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

/* --- blocks: memory that Arrow may keep ------------------------------------------------------------------------- */

typedef struct {
    PyObject_HEAD
    void *at;
    Py_ssize_t size;
} Block;

static void free_object(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

static void Block_dealloc(PyObject *self)
{
    free(((Block *)self)->at);
    free_object(self);
}

static int Block_getbuffer(PyObject *self, Py_buffer *view, int flags)
{
    Block *block = (Block *)self;
    return PyBuffer_FillInfo(view, self, block->at, block->size, 1, flags);
}

static PyType_Slot Block_slots[] = {
    {Py_tp_doc, "Memory to read."},
    {Py_tp_dealloc, Block_dealloc},
    {Py_bf_getbuffer, Block_getbuffer},
    {0, NULL},
};

static PyType_Spec Block_spec = {
    "headgate.native.json_rows.Block", sizeof(Block), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, Block_slots,
};

/* The buffer as a Python object, which takes it over. */
static PyObject *block_of(PyObject *type, buffer *b)
{
    if (!b->at || b->room > b->size) {
        void *less = realloc(b->at, b->size ? b->size : 1);
        if (less)
            b->at = less;
        else if (!b->at)
            return PyErr_NoMemory();
    }
    PyTypeObject *of = (PyTypeObject *)type;
    allocfunc make = (allocfunc)PyType_GetSlot(of, Py_tp_alloc);
    Block *block = (Block *)make(of, 0);
    if (!block)
        return NULL;
    block->at = b->at;
    block->size = (Py_ssize_t)b->size;
    memset(b, 0, sizeof(*b));
    return (PyObject *)block;
}

/* --- reading chunks --------------------------------------------------------------------------------------------- */

/* Lines in a binary array: the bytes, and int32 edges of its values from the first one on. */
typedef struct {
    Py_buffer data, edges;
    const int32_t *first;
    Py_ssize_t lines;
} chunk;

static void release_chunks(chunk *chunks, Py_ssize_t count)
{
    for (Py_ssize_t n = 0; n < count; n++) {
        if (chunks[n].data.obj)
            PyBuffer_Release(&chunks[n].data);
        if (chunks[n].edges.obj)
            PyBuffer_Release(&chunks[n].edges);
    }
    free(chunks);
}

/* Fills a chunk from a tuple (data or None, edges, first, lines). */
static int open_chunk(PyObject *given, chunk *one)
{
    PyObject *data, *edges;
    Py_ssize_t first;
    if (!PyArg_ParseTuple(given, "OOnn", &data, &edges, &first, &one->lines))
        return -1;
    if (data != Py_None && PyObject_GetBuffer(data, &one->data, PyBUF_SIMPLE) < 0)
        return -1;
    if (PyObject_GetBuffer(edges, &one->edges, PyBUF_SIMPLE) < 0)
        return -1;
    Py_ssize_t there = one->edges.len / 4;
    if (first < 0 || one->lines < 0 || first >= there || one->lines > there - 1 - first) {
        PyErr_SetString(PyExc_ValueError, "a chunk has fewer edges than lines");
        return -1;
    }
    one->first = (const int32_t *)one->edges.buf + first;
    return 0;
}

static chunk *open_chunks(PyObject *given, Py_ssize_t *count)
{
    *count = PySequence_Size(given);
    if (*count < 0)
        return NULL;
    chunk *chunks = calloc((size_t)*count + 1, sizeof(chunk));
    if (!chunks) {
        PyErr_NoMemory();
        return NULL;
    }
    for (Py_ssize_t n = 0; n < *count; n++) {
        PyObject *one = PySequence_GetItem(given, n);
        int failed = !one || open_chunk(one, &chunks[n]) < 0;
        Py_XDECREF(one);
        if (failed) {
            release_chunks(chunks, *count);
            return NULL;
        }
    }
    return chunks;
}

/* Room for the rows of so many lines, as far as it can be told before. */
static bool prepare(reader *r, size_t lines)
{
    for (int i = 0; i < r->layout->count; i++) {
        const node *n = &r->layout->nodes[i];
        column *c = &r->columns[i];
        size_t expected = n->expected * lines;
        if (!widen(r, c, n->kind, lines + 1))
            return false;
        if (n->kind == TEXT || n->kind == BYTES || n->kind == ARRAY)
            ends(c)[0] = 0;
        if (expected && expected + expected / 16 < r->budget / 2 && !reserve(r, &c->texts, expected + expected / 16))
            return false;
    }
    return true;
}

/* Reads all lines; false when edges are wrong or there is no memory. */
static bool read_chunks(reader *r, const chunk *chunks, Py_ssize_t count, uint8_t *taken)
{
    for (Py_ssize_t n = 0; n < count; n++) {
        place data = chunks[n].data.buf;
        const int32_t *edges = chunks[n].first;
        for (Py_ssize_t line = 0; line < chunks[n].lines; line++) {
            int32_t start = edges[line], stop = edges[line + 1];
            if (start < 0 || stop < start || stop > chunks[n].data.len)
                return false;
            if (start == stop) {
                *taken++ = false;
                continue;
            }
            r->at = data + start;
            r->end = data + stop;
            *taken++ = read_line(r);
            if (r->no_memory)
                return false;
        }
    }
    return true;
}

static PyObject *optional_block(PyObject *type, buffer *b, bool wanted)
{
    return wanted ? block_of(type, b) : Py_NewRef(Py_None);
}

/* A column as a tuple (length, validity, main, texts), in which what it does not have is None. */
static PyObject *column_of(PyObject *type, const node *n, column *c)
{
    bool textual = n->kind == TEXT || n->kind == BYTES, ended = textual || n->kind == ARRAY;
    size_t width = WIDTHS[n->kind];
    c->validity.size = (c->length + 7) / 8;
    c->main.size = n->kind == BOOLEAN ? (c->length + 7) / 8 : (c->length + ended) * width;
    PyObject *validity = optional_block(type, &c->validity, c->nulls);
    PyObject *main = optional_block(type, &c->main, n->kind != OBJECT);
    PyObject *texts = optional_block(type, &c->texts, textual);
    if (validity && main && texts)
        return Py_BuildValue("(nNNN)", (Py_ssize_t)c->length, validity, main, texts);
    Py_XDECREF(validity);
    Py_XDECREF(main);
    Py_XDECREF(texts);
    return NULL;
}

static PyObject *result_of(Layout *layout, column *columns, buffer *taken)
{
    PyObject *list = PyList_New(layout->count);
    for (int i = 0; list && i < layout->count; i++) {
        PyObject *one = column_of(layout->block_type, &layout->nodes[i], &columns[i]);
        if (!one || PyList_SetItem(list, i, one) < 0)
            Py_CLEAR(list);
    }
    PyObject *marks = list ? block_of(layout->block_type, taken) : NULL;
    if (!marks) {
        Py_XDECREF(list);
        return NULL;
    }
    return Py_BuildValue("(NN)", marks, list);
}

static PyObject *Layout_read(PyObject *self, PyObject *given)
{
    Layout *layout = (Layout *)self;
    Py_ssize_t count;
    chunk *chunks = open_chunks(given, &count);
    if (!chunks)
        return NULL;
    size_t lines = 0, bytes = 0;
    for (Py_ssize_t n = 0; n < count; n++) {
        lines += (size_t)chunks[n].lines;
        bytes += (size_t)chunks[n].data.len;
    }
    column *columns = calloc((size_t)layout->count, sizeof(column));
    buffer taken = {malloc(lines + 1), lines, lines + 1};
    reader r = {
        .layout = layout,
        .columns = columns,
        /* Hostile lines, such as a list of thousands of empty objects, may want more memory: they are left to others. */
        .budget = 8 * bytes + (lines + 1024) * (size_t)layout->count * 32 + (1 << 20),
    };
    bool done = columns && taken.at && prepare(&r, lines), right = false;
    Py_BEGIN_ALLOW_THREADS
    right = done && read_chunks(&r, chunks, count, taken.at);
    Py_END_ALLOW_THREADS
    PyObject *result = NULL;
    if (!done || r.no_memory)
        PyErr_NoMemory();
    else if (!right)
        PyErr_SetString(PyExc_ValueError, "the edges of lines are not in order");
    else {
        for (int i = 0; i < layout->count; i++)
            if (columns[0].length)
                layout->nodes[i].expected = columns[i].texts.size / columns[0].length + 1;
        result = result_of(layout, columns, &taken);
    }
    for (int i = 0; columns && i < layout->count; i++) {
        free(columns[i].validity.at);
        free(columns[i].main.at);
        free(columns[i].texts.at);
    }
    free(columns);
    free(taken.at);
    release_chunks(chunks, count);
    return result;
}

/* --- layouts ---------------------------------------------------------------------------------------------------- */

static void Layout_dealloc(PyObject *self)
{
    Layout *layout = (Layout *)self;
    for (int i = 0; layout->nodes && i < layout->count; i++) {
        node *n = &layout->nodes[i];
        for (int v = 0; n->values && v < n->value_count; v++)
            free(n->values[v].text);
        free(n->values);
        free(n->key);
        free(n->slots);
    }
    free(layout->nodes);
    Py_XDECREF(layout->block_type);
    free_object(self);
}

static int wrong(const char *why)
{
    PyErr_SetString(PyExc_ValueError, why);
    return -1;
}

/* A copy of bytes of Python's with room before and behind them. */
static uint8_t *copied(const char *bytes, Py_ssize_t size, size_t before, size_t behind)
{
    uint8_t *copy = malloc((size_t)size + before + behind + 1);
    if (copy)
        memcpy(copy + before, bytes, (size_t)size);
    else
        PyErr_NoMemory();
    return copy;
}

static int set_values(node *n, PyObject *values)
{
    Py_ssize_t count = PySequence_Size(values);
    if (count < 0 || count > 100000)
        return count < 0 ? -1 : wrong("too many values");
    n->values = calloc((size_t)count + 1, sizeof(allowed));
    if (!n->values)
        return PyErr_NoMemory(), -1;
    for (Py_ssize_t v = 0; v < count; v++) {
        PyObject *value = PySequence_GetItem(values, v);
        if (!value)
            return -1;
        allowed *to = &n->values[v];
        if (n->kind == TEXT) {
            char *text;
            Py_ssize_t size;
            if (PyBytes_AsStringAndSize(value, &text, &size) == 0) {
                to->text = copied(text, size, 0, 0);
                to->size = (size_t)size;
            }
        } else
            to->integer = PyLong_AsLongLong(value);
        Py_DECREF(value);
        if (PyErr_Occurred())
            return -1;
        n->value_count++;
    }
    return 0;
}

static int set_key(node *n, const char *key, Py_ssize_t size)
{
    for (Py_ssize_t i = 0; i < size; i++)
        if ((uint8_t)key[i] < ' ' || key[i] == '"' || key[i] == '\\')
            return wrong("a key needs escapes");
    n->key = copied(key, size, 1, 1);
    if (!n->key)
        return -1;
    n->key[0] = n->key[size + 1] = '"';
    n->key_size = (size_t)size + 2;
    return 0;
}

static int set_node(node *n, PyObject *given)
{
    int kind, required;
    long long least, most;
    PyObject *values;
    const char *key;
    Py_ssize_t size;
    if (!PyArg_ParseTuple(given, "y#ipiiiiLLddO", &key, &size, &kind, &required, &n->first, &n->count, &n->precision,
                          &n->scale, &least, &most, &n->low, &n->high, &values))
        return -1;
    if (kind < 0 || kind >= KINDS)
        return wrong("there is no such kind");
    n->kind = (enum kind)kind;
    n->required = required != 0;
    n->least = least;
    n->most = most;
    if (n->kind == INT32) {
        n->least = least < INT32_MIN ? INT32_MIN : least;
        n->most = most > INT32_MAX ? INT32_MAX : most;
    }
    if (n->kind == DECIMAL && (n->precision < 1 || n->precision > 38 || n->scale < 0 || n->scale > n->precision))
        return wrong("there is no such decimal");
    return set_key(n, key, size) < 0 || set_values(n, values) < 0 ? -1 : 0;
}

/* Where the keys of an object's members are found by their hashes. */
static int set_slots(Layout *layout, node *n)
{
    uint32_t size = 8;
    while (size < (uint32_t)n->count * 4)
        size *= 2;
    n->slot_mask = size - 1;
    n->slots = calloc(size, sizeof(uint16_t));
    if (!n->slots)
        return PyErr_NoMemory(), -1;
    for (int i = 0; i < n->count; i++) {
        const node *member = &layout->nodes[n->first + i];
        if (member_of(layout, n, member->key + 1, member->key_size - 2) >= 0)
            return wrong("two members have one key");
        uint32_t slot = hash_of(member->key + 1, member->key_size - 2) & n->slot_mask;
        while (n->slots[slot])
            slot = (slot + 1) & n->slot_mask;
        n->slots[slot] = (uint16_t)(i + 1);
    }
    return 0;
}

/* Every node but the first is the child of exactly one before it, so none is its own. */
static int set_children(Layout *layout)
{
    int next = 1;
    for (int i = 0; i < layout->count; i++) {
        node *n = &layout->nodes[i];
        bool parent = n->kind == OBJECT || n->kind == ARRAY;
        if (n->count < 0 || n->count > (n->kind == OBJECT ? MOST_MEMBERS : parent) || (n->kind == ARRAY && !n->count))
            return wrong("a node has too many children, or none");
        if (n->count && (n->first != next || n->first <= i || n->count > layout->count - next))
            return wrong("children do not stand in order");
        if (n->level >= MOST_LEVELS)
            return wrong("nodes are nested too deeply");
        if (!n->count)
            n->first = 0;
        next += n->count;
        for (int child = n->first; child < n->first + n->count; child++)
            layout->nodes[child].level = n->level + 1;
    }
    if (next != layout->count || layout->nodes[0].kind != OBJECT)
        return wrong("nodes are no tree below an object");
    for (int i = 0; i < layout->count; i++)
        if (layout->nodes[i].kind == OBJECT && set_slots(layout, &layout->nodes[i]) < 0)
            return -1;
    return 0;
}

static int set_nodes(Layout *layout, PyObject *given)
{
    Py_ssize_t count = PySequence_Size(given);
    if (count < 0)
        return -1;
    if (count < 1 || count > 10000)
        return wrong("too many nodes, or none");
    layout->nodes = calloc((size_t)count, sizeof(node));
    if (!layout->nodes)
        return PyErr_NoMemory(), -1;
    layout->count = (int)count;
    for (int i = 0; i < layout->count; i++) {
        PyObject *one = PySequence_GetItem(given, i);
        int failed = !one || set_node(&layout->nodes[i], one) < 0;
        Py_XDECREF(one);
        if (failed)
            return -1;
    }
    return set_children(layout);
}

static PyMethodDef Layout_methods[] = {
    {"read", Layout_read, METH_O, "See json_rows.pyi."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot Layout_slots[] = {
    {Py_tp_doc, "What lines may hold."},
    {Py_tp_dealloc, Layout_dealloc},
    {Py_tp_methods, Layout_methods},
    {0, NULL},
};

static PyType_Spec Layout_spec = {
    "headgate.native.json_rows.Layout", sizeof(Layout), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, Layout_slots,
};

/* --- the module ------------------------------------------------------------------------------------------------- */

typedef struct {
    PyObject *block_type, *layout_type;
} state;

static PyObject *layout_of(PyObject *module, PyObject *arguments)
{
    state *own = PyModule_GetState(module);
    PyObject *nodes;
    int closed;
    if (!PyArg_ParseTuple(arguments, "Op", &nodes, &closed))
        return NULL;
    PyTypeObject *type = (PyTypeObject *)own->layout_type;
    allocfunc make = (allocfunc)PyType_GetSlot(type, Py_tp_alloc);
    Layout *layout = (Layout *)make(type, 0);
    if (!layout)
        return NULL;
    layout->closed = closed != 0;
    layout->block_type = Py_NewRef(own->block_type);
    if (set_nodes(layout, nodes) < 0) {
        Py_DECREF(layout);
        return NULL;
    }
    return (PyObject *)layout;
}

static int fill_module(PyObject *module)
{
    state *own = PyModule_GetState(module);
    own->block_type = PyType_FromModuleAndSpec(module, &Block_spec, NULL);
    own->layout_type = PyType_FromModuleAndSpec(module, &Layout_spec, NULL);
    if (!own->block_type || !own->layout_type || PyModule_AddObjectRef(module, "Block", own->block_type) < 0
        || PyModule_AddObjectRef(module, "Layout", own->layout_type) < 0)
        return -1;
    for (int kind = 0; kind < KINDS; kind++)
        if (PyModule_AddIntConstant(module, KIND_NAMES[kind], kind) < 0)
            return -1;
    return 0;
}

static int traverse_module(PyObject *module, visitproc visit, void *arg)
{
    state *own = PyModule_GetState(module);
    Py_VISIT(own->block_type);
    Py_VISIT(own->layout_type);
    return 0;
}

static int clear_module(PyObject *module)
{
    state *own = PyModule_GetState(module);
    Py_CLEAR(own->block_type);
    Py_CLEAR(own->layout_type);
    return 0;
}

static PyMethodDef module_methods[] = {
    {"layout_of", layout_of, METH_VARARGS, "See json_rows.pyi."},
    {NULL, NULL, 0, NULL},
};

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, fill_module},
    {0, NULL},
};

static struct PyModuleDef module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "json_rows",
    .m_doc = "JSON lines to Arrow columns in one pass.",
    .m_size = sizeof(state),
    .m_methods = module_methods,
    .m_slots = module_slots,
    .m_traverse = traverse_module,
    .m_clear = clear_module,
};

PyMODINIT_FUNC PyInit_json_rows(void)
{
    return PyModuleDef_Init(&module);
}
