/* Sorts 64-bit hashes. They are spread evenly, so where one belongs is told by its highest bits: two passes bring each
 * next to its place, and a last one moves it by a place or two. Numbers that are not spread so are left to others.
 */
#include <Python.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

enum {
    MOST_BITS = 11,   // that a pass looks at
    MOST_STEPS = 8,   // of the last pass, for each hash
    FIRST_BITS = 8,   // by which many hashes are shared out
    MANY = 1 << 17,
};

static unsigned bit_length(uint64_t value) {
    unsigned bits = 0;
    while (value >> bits) bits++;
    return bits;
}

static void counts_to_places(size_t *counts, size_t buckets) {
    size_t place = 0;
    for (size_t i = 0; i < buckets; i++) {
        size_t count = counts[i];
        counts[i] = place;
        place += count;
    }
}

/* Sorts values whose `equal` highest bits are alike; `other` has as much room. Equal ones keep their order. `steps` are
 * left for the last pass: 0 when they are not enough, since values are not spread evenly. */
static int sort_alike(uint64_t *values, uint64_t *other, size_t count, unsigned equal, size_t *steps) {
    size_t low[1 << MOST_BITS] = {0}, high[1 << MOST_BITS] = {0};
    unsigned bits = (bit_length(count) + 1) / 2;
    if (bits > MOST_BITS) bits = MOST_BITS;
    const unsigned to_high = 64 - equal - bits, to_low = to_high - bits;
    const uint64_t mask = ((uint64_t)1 << bits) - 1;
    for (size_t i = 0; i < count; i++) {
        low[values[i] >> to_low & mask]++;
        high[values[i] >> to_high & mask]++;
    }
    counts_to_places(low, mask + 1);
    counts_to_places(high, mask + 1);
    for (size_t i = 0; i < count; i++) other[low[values[i] >> to_low & mask]++] = values[i];
    for (size_t i = 0; i < count; i++) values[high[other[i] >> to_high & mask]++] = other[i];
    for (size_t i = 1; i < count; i++) {
        const uint64_t value = values[i];
        size_t at = i;
        for (; at && values[at - 1] > value; at--) {
            values[at] = values[at - 1];
            if (!(*steps)--) return 0;
        }
        values[at] = value;
    }
    return 1;
}

/* The same for any values. Many are first shared out to runs that fit into the processor's cache. */
static int sort(uint64_t *values, uint64_t *other, size_t count) {
    size_t steps = MOST_STEPS * count, ends[1 << FIRST_BITS] = {0};
    if (count < MANY) return !count || sort_alike(values, other, count, 0, &steps);
    for (size_t i = 0; i < count; i++) ends[values[i] >> (64 - FIRST_BITS)]++;
    counts_to_places(ends, 1 << FIRST_BITS);
    for (size_t i = 0; i < count; i++) other[ends[values[i] >> (64 - FIRST_BITS)]++] = values[i];
    size_t start = 0;
    for (size_t run = 0; run < 1 << FIRST_BITS; start = ends[run++]) {
        const size_t rows = ends[run] - start;
        if (rows && !sort_alike(other + start, values + start, rows, FIRST_BITS, &steps)) return 0;
        memcpy(values + start, other + start, rows * sizeof *values);
    }
    return 1;
}

/* Hashes whose highest bits are equal stand by their numbers: puts them in order by all their bits. */
static int settle(uint64_t *numbered, const uint64_t *hashes, size_t count, unsigned bits) {
    const uint64_t number = ((uint64_t)1 << bits) - 1;
    size_t steps = MOST_STEPS * count;
    for (size_t i = 1; i < count; i++) {
        const uint64_t one = numbered[i], hash = hashes[one & number];
        size_t at = i;
        for (; at && (numbered[at - 1] ^ one) <= number && hashes[numbered[at - 1] & number] > hash; at--) {
            numbered[at] = numbered[at - 1];
            if (!steps--) return 0;
        }
        numbered[at] = one;
    }
    return 1;
}

static int order_into(uint32_t *order, const uint64_t *hashes, size_t count) {
    uint64_t *numbered = malloc(2 * (count + 1) * sizeof *numbered);
    if (numbered == NULL) return -1;
    const unsigned bits = bit_length(count);
    for (size_t i = 0; i < count; i++) numbered[i] = hashes[i] >> bits << bits | i;
    const int done = sort(numbered, numbered + count, count) && settle(numbered, hashes, count, bits);
    for (size_t i = 0; done && i < count; i++) order[i] = (uint32_t)(numbered[i] & (((uint64_t)1 << bits) - 1));
    free(numbered);
    return done;
}

static int sort_into(uint64_t *sorted, const uint64_t *hashes, size_t count) {
    uint64_t *other = malloc((count + 1) * sizeof *other);
    if (other == NULL) return -1;
    memcpy(sorted, hashes, count * sizeof *hashes);
    const int done = sort(sorted, other, count);
    free(other);
    return done;
}

static PyObject *made(PyObject *hashes, int in_order) {
    Py_buffer given;
    if (PyObject_GetBuffer(hashes, &given, PyBUF_SIMPLE) < 0) return NULL;
    const size_t count = (size_t)given.len / sizeof(uint64_t);
    PyObject *found = NULL;
    if (count > UINT32_MAX || (uintptr_t)given.buf % sizeof(uint64_t))
        PyErr_SetString(PyExc_ValueError, "too many hashes, or not aligned");
    else
        found = PyByteArray_FromStringAndSize(NULL, (Py_ssize_t)(count * (in_order ? sizeof(uint64_t) : sizeof(uint32_t))));
    int done = 0;
    if (found != NULL) {
        void *into = PyByteArray_AsString(found);
        Py_BEGIN_ALLOW_THREADS
        done = in_order ? sort_into(into, given.buf, count) : order_into(into, given.buf, count);
        Py_END_ALLOW_THREADS
    }
    PyBuffer_Release(&given);
    if (found == NULL || done > 0) return found;
    Py_DECREF(found);
    if (done < 0) return PyErr_NoMemory();
    Py_RETURN_NONE;
}

static PyObject *in_order(PyObject *module, PyObject *hashes) {
    (void)module;
    return made(hashes, 1);
}

static PyObject *order(PyObject *module, PyObject *hashes) {
    (void)module;
    return made(hashes, 0);
}

static PyMethodDef functions[] = {
    {"in_order", in_order, METH_O, NULL},
    {"order", order, METH_O, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "hash_order", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_hash_order(void) { return PyModule_Create(&definition); }
