/* JSON lines to Arrow columns in one pass, for lines that surely fit a contract; see json_rows.pyi for the promise.
 *
 * A layout is a tree of nodes in an array, children behind their parents; each node is one Arrow column. A line is read
 * straight into the columns. Where it does not fit, the columns are cut back to the rows before it, and it is left to
 * others: a wrong "no" costs time, a wrong "yes" would be a wrong value.
 */

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "json_layout.h"

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "Arrow's buffers are written as little-endian"
#endif

static const char *const KIND_NAMES[KINDS] = {
    "TEXT", "INT32", "INT64", "FLOAT32", "FLOAT64", "DECIMAL", "BOOLEAN",
    "DAY", "CLOCK", "MOMENT", "INSTANT", "BYTES", "OBJECT", "ARRAY",
};

typedef struct {
    PyObject_HEAD
    layout own;
    PyObject *block_type;
} Layout;

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

static PyObject *result_of(const Layout *layout, column *columns, buffer *taken)
{
    PyObject *list = PyList_New(layout->own.count);
    for (int i = 0; list && i < layout->own.count; i++) {
        PyObject *one = column_of(layout->block_type, &layout->own.nodes[i], &columns[i]);
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
    size_t nodes = (size_t)layout->own.count;
    Py_ssize_t count;
    chunk *chunks = open_chunks(given, &count);
    if (!chunks)
        return NULL;
    size_t lines = 0, bytes = 0;
    for (Py_ssize_t n = 0; n < count; n++) {
        lines += (size_t)chunks[n].lines;
        bytes += (size_t)chunks[n].data.len;
    }
    column *columns = calloc(nodes, sizeof(column));
    buffer taken = {malloc(lines + 1), lines, lines + 1};
    reader r = {
        .layout = &layout->own,
        .columns = columns,
        /* Hostile lines, such as a list of thousands of empty objects, may want more memory: they are left to others. */
        .budget = 8 * bytes + (lines + 1024) * nodes * 32 + (1 << 20),
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
        for (size_t i = 0; i < nodes; i++)
            if (columns[0].length)
                layout->own.nodes[i].expected = columns[i].texts.size / columns[0].length + 1;
        result = result_of(layout, columns, &taken);
    }
    for (size_t i = 0; columns && i < nodes; i++) {
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
    free_nodes(&layout->own);
    Py_XDECREF(layout->block_type);
    free_object(self);
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
    layout->own.closed = closed != 0;
    layout->block_type = Py_NewRef(own->block_type);
    if (set_nodes(&layout->own, nodes) < 0) {
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
