/* Layouts out of the nodes that Python gives; each is looked at before it is believed. */

#ifndef HEADGATE_JSON_LAYOUT_H
#define HEADGATE_JSON_LAYOUT_H

#include "json_values.h"

#define MOST_LEVELS 32

static void free_nodes(layout *own)
{
    for (int i = 0; own->nodes && i < own->count; i++) {
        node *n = &own->nodes[i];
        for (int v = 0; n->values && v < n->value_count; v++)
            free(n->values[v].text);
        free(n->values);
        free(n->key);
        free(n->slots);
    }
    free(own->nodes);
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
    n->key = copied(key, size, 1, 16);
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
static int set_slots(layout *own, node *n)
{
    uint32_t size = 8;
    while (size < (uint32_t)n->count * 4)
        size *= 2;
    n->slot_mask = size - 1;
    n->slots = calloc(size, sizeof(uint16_t));
    if (!n->slots)
        return PyErr_NoMemory(), -1;
    for (int i = 0; i < n->count; i++) {
        const node *member = &own->nodes[n->first + i];
        if (member_of(own, n, member->key + 1, member->key_size - 2) >= 0)
            return wrong("two members have one key");
        uint32_t slot = hash_of(member->key + 1, member->key_size - 2) & n->slot_mask;
        while (n->slots[slot])
            slot = (slot + 1) & n->slot_mask;
        n->slots[slot] = (uint16_t)(i + 1);
    }
    return 0;
}

/* Every node but the first is the child of exactly one before it, so none is its own. */
static int set_children(layout *own)
{
    int next = 1;
    for (int i = 0; i < own->count; i++) {
        node *n = &own->nodes[i];
        bool parent = n->kind == OBJECT || n->kind == ARRAY;
        if (n->count < 0 || n->count > (n->kind == OBJECT ? MOST_MEMBERS : parent) || (n->kind == ARRAY && !n->count))
            return wrong("a node has too many children, or none");
        if (n->count && (n->first != next || n->first <= i || n->count > own->count - next))
            return wrong("children do not stand in order");
        if (n->level >= MOST_LEVELS)
            return wrong("nodes are nested too deeply");
        if (!n->count)
            n->first = 0;
        next += n->count;
        for (int child = n->first; child < n->first + n->count; child++)
            own->nodes[child].level = n->level + 1;
    }
    if (next != own->count || own->nodes[0].kind != OBJECT)
        return wrong("nodes are no tree below an object");
    for (int i = 0; i < own->count; i++)
        if (own->nodes[i].kind == OBJECT && set_slots(own, &own->nodes[i]) < 0)
            return -1;
    return 0;
}

static int set_nodes(layout *own, PyObject *given)
{
    Py_ssize_t count = PySequence_Size(given);
    if (count < 0)
        return -1;
    if (count < 1 || count > 10000)
        return wrong("too many nodes, or none");
    own->nodes = calloc((size_t)count, sizeof(node));
    if (!own->nodes)
        return PyErr_NoMemory(), -1;
    own->count = (int)count;
    for (int i = 0; i < own->count; i++) {
        PyObject *one = PySequence_GetItem(given, i);
        int failed = !one || set_node(&own->nodes[i], one) < 0;
        Py_XDECREF(one);
        if (failed)
            return -1;
    }
    return set_children(own);
}

#endif
