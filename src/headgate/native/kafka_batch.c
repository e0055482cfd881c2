/* Messages of a Kafka topic as the buffers of Arrow columns: no Python object for a message, no GIL while they come.
 *
 * The functions are those of the librdkafka that the Python client brings and has loaded, found by name; only its
 * public interface is used, which keeps its layouts within a major version. A consumer here is given its partitions
 * and belongs to no group. One thread reads at a time; `close` may come from another one.
 */
#include <Python.h>
#include <dlfcn.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* --- librdkafka's public interface, as far as it is used --- */

typedef struct rd_kafka_s rd_kafka_t;
typedef struct rd_kafka_conf_s rd_kafka_conf_t;
typedef struct rd_kafka_queue_s rd_kafka_queue_t;
typedef struct rd_kafka_headers_s rd_kafka_headers_t;

typedef struct {
    int err;
    void *topic;
    int32_t partition;
    void *payload;
    size_t len;
    void *key;
    size_t key_len;
    int64_t offset;
    void *_private;
} rd_kafka_message_t;

typedef struct {
    char *topic;
    int32_t partition;
    int64_t offset;
    void *metadata;
    size_t metadata_size;
    void *opaque;
    int err;
    void *_private;
} rd_kafka_topic_partition_t;

typedef struct {
    int cnt;
    int size;
    rd_kafka_topic_partition_t *elems;
} rd_kafka_topic_partition_list_t;

enum { CONSUMER = 1, INVALID_ARG = -186, MAJOR = 2, MESSAGES = 1000, TOLD = 8, TEXT = 256 };

static struct {
    int (*version)(void);
    rd_kafka_conf_t *(*conf_new)(void);
    void (*conf_destroy)(rd_kafka_conf_t *);
    int (*conf_set)(rd_kafka_conf_t *, const char *, const char *, char *, size_t);
    void (*conf_set_opaque)(rd_kafka_conf_t *, void *);
    void (*conf_set_error_cb)(rd_kafka_conf_t *, void (*)(rd_kafka_t *, int, const char *, void *));
    void (*conf_set_log_cb)(rd_kafka_conf_t *, void (*)(const rd_kafka_t *, int, const char *, const char *));
    rd_kafka_t *(*new)(int, rd_kafka_conf_t *, char *, size_t);
    int (*poll_set_consumer)(rd_kafka_t *);
    int (*consumer_close)(rd_kafka_t *);
    void (*destroy)(rd_kafka_t *);
    rd_kafka_queue_t *(*queue_get_consumer)(rd_kafka_t *);
    void (*queue_destroy)(rd_kafka_queue_t *);
    rd_kafka_topic_partition_list_t *(*topic_partition_list_new)(int);
    rd_kafka_topic_partition_t *(*topic_partition_list_add)(rd_kafka_topic_partition_list_t *, const char *, int32_t);
    void (*topic_partition_list_destroy)(rd_kafka_topic_partition_list_t *);
    void (*topic_partition_set_leader_epoch)(rd_kafka_topic_partition_t *, int32_t);
    int (*assign)(rd_kafka_t *, const rd_kafka_topic_partition_list_t *);
    ssize_t (*consume_batch_queue)(rd_kafka_queue_t *, int, rd_kafka_message_t **, size_t);
    void (*message_destroy)(rd_kafka_message_t *);
    const char *(*message_errstr)(const rd_kafka_message_t *);
    int64_t (*message_timestamp)(const rd_kafka_message_t *, int *);
    int32_t (*message_leader_epoch)(const rd_kafka_message_t *);
    int (*message_headers)(const rd_kafka_message_t *, rd_kafka_headers_t **);
    int (*header_get_all)(const rd_kafka_headers_t *, size_t, const char **, const void **, size_t *);
    const char *(*err2str)(int);
} rd;

static const struct {
    const char *name;
    void *place;
} NAMES[] = {
#define NAME(name) {"rd_kafka_" #name, &rd.name}
    NAME(version), NAME(conf_new), NAME(conf_destroy), NAME(conf_set), NAME(conf_set_opaque), NAME(conf_set_error_cb),
    NAME(conf_set_log_cb), NAME(new), NAME(poll_set_consumer), NAME(consumer_close), NAME(destroy),
    NAME(queue_get_consumer), NAME(queue_destroy), NAME(topic_partition_list_new), NAME(topic_partition_list_add),
    NAME(topic_partition_list_destroy), NAME(topic_partition_set_leader_epoch), NAME(assign), NAME(consume_batch_queue),
    NAME(message_destroy), NAME(message_errstr), NAME(message_timestamp), NAME(message_leader_epoch),
    NAME(message_headers), NAME(header_get_all), NAME(err2str),
#undef NAME
};
static int bound = 0;

static PyObject *Failed; /* code, text */
static PyTypeObject *BlockType, *ConsumerType;

/* --- bytes that grow --- */

typedef struct {
    char *data;
    size_t size, room;
} Run;

static int run_reserve(Run *run, size_t more) {
    if (run->size + more <= run->room) return 0;
    size_t room = run->room ? run->room : 4096;
    while (room < run->size + more) room += room / 2;
    char *data = realloc(run->data, room);
    if (data == NULL) return -1;
    run->data = data;
    run->room = room;
    return 0;
}

static inline int run_add(Run *run, const void *bytes, size_t size) {
    if (run_reserve(run, size) < 0) return -1;
    if (size) memcpy(run->data + run->size, bytes, size);
    run->size += size;
    return 0;
}

static void run_free(Run *run) {
    free(run->data);
    memset(run, 0, sizeof *run);
}

/* A bit for row `at`, which is the next one. */
static inline int bit_add(Run *bits, size_t at, int set) {
    if (at % 8 == 0 && run_add(bits, "\0", 1) < 0) return -1;
    if (set) bits->data[at / 8] |= (char)(1 << (at % 8));
    return 0;
}

/* A binary column: bytes one behind the other, where each value ends, and which are there. */
typedef struct {
    Run bytes, ends, valid;
    size_t count, nulls;
} Column;

static inline int column_add(Column *column, const void *bytes, size_t size) {
    if (column->bytes.size + size > INT32_MAX) return -2;
    int32_t end = 0;
    if (column->count == 0 && run_add(&column->ends, &end, sizeof end) < 0) return -1;
    if (bit_add(&column->valid, column->count, bytes != NULL) < 0) return -1;
    if (bytes != NULL && run_add(&column->bytes, bytes, size) < 0) return -1;
    column->nulls += bytes == NULL;
    column->count += 1;
    end = (int32_t)column->bytes.size;
    return run_add(&column->ends, &end, sizeof end);
}

static void column_free(Column *column) {
    run_free(&column->bytes);
    run_free(&column->ends);
    run_free(&column->valid);
    column->count = column->nulls = 0;
}

/* --- a consumer --- */

/* Blocks that are kept for the next batches, as new memory would have to be faulted in; not those of a huge message. */
enum { SPARE = 8, SPARE_BYTES = 1 << 24 };

typedef struct {
    PyObject_HEAD
    rd_kafka_t *kafka;
    rd_kafka_queue_t *queue;
    PyThread_type_lock lock; /* of everything below while the GIL is not held */
    atomic_int closing;
    rd_kafka_message_t *came[MESSAGES];
    size_t at, until; /* those of `came` that wait */
    size_t count, bytes;
    Run partitions, offsets, kinds, stamps;
    Column values, keys;
    size_t with_headers; /* messages that have some */
    Run lists, list_ends;
    Column names, contents;
    int told_code[TOLD];
    char told_text[TOLD][TEXT];
    int told;
    Run spare[SPARE];
    int spares;
} Consumer;

typedef struct {
    PyObject_HEAD
    Run run;
    Consumer *owner; /* who takes the memory back; NULL: nobody */
} Block;

static void on_error(rd_kafka_t *kafka, int code, const char *text, void *opaque) {
    (void)kafka;
    Consumer *self = opaque;
    for (int i = 0; i < self->told; i++)
        if (self->told_code[i] == code) return;
    if (self->told == TOLD) return;
    self->told_code[self->told] = code;
    strncpy(self->told_text[self->told], text ? text : "", TEXT - 1);
    self->told_text[self->told][TEXT - 1] = 0;
    self->told += 1;
}

static void on_log(const rd_kafka_t *kafka, int level, const char *facility, const char *text) {
    (void)kafka, (void)level, (void)facility, (void)text;
}

static int add_header(Consumer *self, const char *name, const void *bytes, size_t size) {
    int failed = column_add(&self->names, name, strlen(name));
    if (!failed) failed = column_add(&self->contents, bytes, size);
    self->bytes += strlen(name) + size;
    return failed;
}

static int add_headers(Consumer *self, const rd_kafka_message_t *message) {
    rd_kafka_headers_t *headers = NULL;
    const char *name;
    const void *bytes;
    size_t size, before = self->names.count;
    int failed = 0;
    if (rd.message_headers(message, &headers) == 0)
        for (size_t i = 0; !failed && rd.header_get_all(headers, i, &name, &bytes, &size) == 0; i++)
            failed = add_header(self, name, bytes, bytes ? size : 0);
    if (failed) return failed;
    size_t there = self->names.count > before;
    self->with_headers += there;
    int32_t end = 0;
    if (self->count == 0 && run_add(&self->list_ends, &end, sizeof end) < 0) return -1;
    end = (int32_t)self->names.count;
    if (bit_add(&self->lists, self->count, (int)there) < 0) return -1;
    return run_add(&self->list_ends, &end, sizeof end);
}

/* One message to the end of every column; -1: no memory, -2: more bytes than a column has room for. */
static int add_message(Consumer *self, const rd_kafka_message_t *message) {
    int kind = 0, failed;
    int64_t stamp = rd.message_timestamp(message, &kind);
    int8_t small = (int8_t)kind;
    if ((failed = column_add(&self->keys, message->key, message->key_len))) return failed;
    if ((failed = column_add(&self->values, message->payload, message->len))) return failed;
    if ((failed = add_headers(self, message))) return failed; /* behind the value: its copying has brought them near */
    if (run_add(&self->partitions, &message->partition, 4) || run_add(&self->offsets, &message->offset, 8)) return -1;
    if (run_add(&self->kinds, &small, 1) || run_add(&self->stamps, &stamp, 8)) return -1;
    self->bytes += 8 + (message->payload ? message->len : 0) + 8 + (message->key ? message->key_len : 0);
    self->count += 1;
    return 0;
}

static void forget_rows(Consumer *self) {
    Run *runs[] = {&self->partitions, &self->offsets, &self->kinds, &self->stamps, &self->lists, &self->list_ends};
    for (size_t i = 0; i < sizeof runs / sizeof *runs; i++) run_free(runs[i]);
    Column *columns[] = {&self->values, &self->keys, &self->names, &self->contents};
    for (size_t i = 0; i < sizeof columns / sizeof *columns; i++) column_free(columns[i]);
    self->count = self->bytes = self->with_headers = 0;
}

/* Without the GIL, with the lock. */
static void shut(Consumer *self) {
    while (self->at < self->until) rd.message_destroy(self->came[self->at++]);
    if (self->kafka == NULL) return;
    rd.consumer_close(self->kafka);
    if (self->queue) rd.queue_destroy(self->queue);
    rd.destroy(self->kafka);
    self->queue = NULL;
    self->kafka = NULL;
}

static void enter(Consumer *self) { PyThread_acquire_lock(self->lock, WAIT_LOCK); }
static void leave(Consumer *self) { PyThread_release_lock(self->lock); }

static double now_s(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

typedef struct {
    int64_t *next, *stop;
    int32_t *epochs;
    Py_ssize_t partitions;
} Bounds;

static int finished(const Bounds *bounds) {
    for (Py_ssize_t i = 0; i < bounds->partitions; i++)
        if (bounds->next[i] < bounds->stop[i]) return 0;
    return 1;
}

enum { WELL, NO_MEMORY, TOO_LARGE, AGAIN, SHUT };

/* Those that are there, at least one unless none comes for so long; how many. */
static size_t refill(Consumer *self, int wait_ms) {
    ssize_t came = rd.consume_batch_queue(self->queue, 0, self->came, MESSAGES);
    if (came == 0) came = rd.consume_batch_queue(self->queue, wait_ms, self->came, 1);
    self->at = 0;
    self->until = came > 0 ? (size_t)came : 0;
    return self->until;
}

/* Another core wrote the messages: ask for those that come soon, so that they are near by then. */
static inline void expect(const Consumer *self) {
    enum { SOON = 3, LATER = 6, LINE = 64, LINES = 4 };
    if (self->at + LATER < self->until)
        for (int i = 0; i < LINES; i++) __builtin_prefetch((char *)self->came[self->at + LATER] + LINE * i);
    if (self->at + SOON >= self->until) return;
    const rd_kafka_message_t *message = self->came[self->at + SOON];
    if (message->key != NULL) __builtin_prefetch(message->key);
    for (size_t i = 0; message->payload != NULL && i < message->len && i < LINE * LINES; i += LINE)
        __builtin_prefetch((char *)message->payload + i);
}

/* Messages up to the limit; ends early when none came for `wait_ms`, an error did (they are kept in `errors`), every
 * partition is at its stop, or `hold_s` are over. Without the GIL, with the lock. */
static int gather(Consumer *self, const Bounds *bounds, size_t limit, int wait_ms, double hold_s,
                  rd_kafka_message_t **errors, size_t *wrong, size_t *taken) {
    double begun = now_s();
    while (self->bytes < limit && !finished(bounds)) {
        if (self->kafka == NULL || atomic_load(&self->closing)) return SHUT;
        if (self->at == self->until) {
            if (refill(self, wait_ms) == 0) break;
        }
        while (self->at < self->until && self->bytes < limit) {
            expect(self);
            rd_kafka_message_t *message = self->came[self->at++];
            if (message->err) {
                errors[(*wrong)++] = message; /* at most as many as `came` has */
                continue;
            }
            Py_ssize_t number = message->partition;
            int failed = 0, again = number < 0 || number >= bounds->partitions || message->offset < bounds->next[number];
            if (!again && message->offset < bounds->stop[number]) {
                failed = add_message(self, message);
                int32_t epoch = rd.message_leader_epoch(message);
                if (epoch >= 0) bounds->epochs[number] = epoch;
            }
            if (!again) bounds->next[number] = message->offset + 1;
            *taken += 1;
            rd.message_destroy(message);
            if (again) return AGAIN;
            if (failed) return failed == -1 ? NO_MEMORY : TOO_LARGE;
        }
        if (*wrong || (hold_s >= 0 && now_s() - begun > hold_s)) break;
    }
    return WELL;
}

static int array_of(PyObject *given, Py_buffer *view, Py_ssize_t size) {
    if (PyObject_GetBuffer(given, view, PyBUF_WRITABLE | PyBUF_C_CONTIGUOUS) < 0) return -1;
    if (view->itemsize == size) return 0;
    PyBuffer_Release(view);
    PyErr_SetString(PyExc_TypeError, "next and stop are int64, epochs int32");
    return -1;
}

static PyObject *trouble(int code, const char *text) {
    return Py_BuildValue("iN", code, PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "replace"));
}

static PyObject *consumer_drain(PyObject *this, PyObject *args) {
    Consumer *self = (Consumer *)this;
    PyObject *given[3], *result = NULL, *errors = NULL, *told = NULL;
    Py_ssize_t limit;
    double wait_s, hold_s;
    if (!PyArg_ParseTuple(args, "OOOndd", given, given + 1, given + 2, &limit, &wait_s, &hold_s)) return NULL;
    Py_buffer views[3];
    int held = 0;
    for (; held < 3; held++)
        if (array_of(given[held], views + held, held < 2 ? 8 : 4) < 0) goto end;
    Bounds bounds = {views[0].buf, views[1].buf, views[2].buf, views[0].len / 8};
    if (views[1].len / 8 != bounds.partitions || views[2].len / 4 != bounds.partitions) {
        PyErr_SetString(PyExc_ValueError, "next, stop and epochs have a place for each partition");
        goto end;
    }
    rd_kafka_message_t **wrong = malloc(MESSAGES * sizeof *wrong);
    if (wrong == NULL) {
        PyErr_NoMemory();
        goto end;
    }
    size_t errors_count = 0, taken = 0;
    int state;
    Py_BEGIN_ALLOW_THREADS
    enter(self);
    state = gather(self, &bounds, (size_t)limit, (int)(wait_s * 1000), hold_s, wrong, &errors_count, &taken);
    leave(self);
    Py_END_ALLOW_THREADS
    errors = PyList_New(0);
    told = PyList_New(0);
    for (size_t i = 0; i < errors_count; i++) {
        const char *text = rd.message_errstr(wrong[i]);
        PyObject *one = errors == NULL ? NULL : Py_BuildValue(
            "NiL", trouble(wrong[i]->err, text ? text : rd.err2str(wrong[i]->err)), wrong[i]->partition,
            (long long)wrong[i]->offset);
        if (one == NULL || PyList_Append(errors, one) < 0) Py_CLEAR(errors);
        Py_XDECREF(one);
        rd.message_destroy(wrong[i]);
    }
    free(wrong);
    for (int i = 0; i < self->told; i++) {
        PyObject *one = told == NULL ? NULL : trouble(self->told_code[i], self->told_text[i]);
        if (one == NULL || PyList_Append(told, one) < 0) Py_CLEAR(told);
        Py_XDECREF(one);
    }
    self->told = 0;
    if (errors == NULL || told == NULL) goto end;
    if (state == NO_MEMORY) PyErr_NoMemory();
    else if (state == TOO_LARGE) PyErr_SetString(PyExc_OverflowError, "more bytes than a column has room for (2 GiB)");
    else if (state == SHUT) PyErr_SetString(PyExc_ValueError, "the consumer is closed");
    else result = Py_BuildValue("nOOO", (Py_ssize_t)taken, errors, told, state == AGAIN ? Py_True : Py_False);
end:
    Py_XDECREF(errors);
    Py_XDECREF(told);
    while (held > 0) PyBuffer_Release(views + --held);
    return result;
}

/* The run's memory as a Python object, which the run no longer has. */
static PyObject *block_of(Run *run, Consumer *owner) {
    Block *block = (Block *)PyType_GenericAlloc(BlockType, 0);
    if (block == NULL) return NULL;
    block->run = *run;
    memset(run, 0, sizeof *run);
    if (owner) {
        Py_INCREF((PyObject *)owner);
        block->owner = owner;
    }
    return (PyObject *)block;
}

/* valid (None: all are), ends, bytes, how many are NULL */
static PyObject *column_taken(Column *column, Consumer *owner) {
    PyObject *valid = Py_None;
    if (column->nulls) valid = block_of(&column->valid, NULL);
    else Py_INCREF(valid);
    PyObject *taken = Py_BuildValue(
        "NNNn", valid, block_of(&column->ends, NULL), block_of(&column->bytes, owner), (Py_ssize_t)column->nulls);
    column_free(column);
    return taken;
}

static PyObject *rows_taken(Consumer *self) {
    PyObject *headers = Py_None;
    if (self->with_headers) {
        Py_ssize_t without = (Py_ssize_t)(self->count - self->with_headers), items = (Py_ssize_t)self->names.count;
        headers = Py_BuildValue("NNnnNN", block_of(&self->lists, NULL), block_of(&self->list_ends, NULL), without,
                                items, column_taken(&self->names, NULL), column_taken(&self->contents, NULL));
        if (headers == NULL) return NULL;
    } else Py_INCREF(headers);
    PyObject *taken = Py_BuildValue(
        "nNNNNNNN", (Py_ssize_t)self->count, block_of(&self->partitions, NULL), block_of(&self->offsets, NULL),
        block_of(&self->kinds, NULL), block_of(&self->stamps, NULL), column_taken(&self->values, self),
        column_taken(&self->keys, NULL), headers);
    return taken;
}

static PyObject *consumer_take(PyObject *this, PyObject *none) {
    (void)none;
    Consumer *self = (Consumer *)this;
    Py_BEGIN_ALLOW_THREADS
    enter(self);
    Py_END_ALLOW_THREADS
    PyObject *taken = rows_taken(self);
    forget_rows(self);
    if (self->spares) self->values.bytes = self->spare[--self->spares];
    leave(self);
    return taken;
}

static PyObject *consumer_close(PyObject *this, PyObject *none) {
    (void)none;
    Consumer *self = (Consumer *)this;
    atomic_store(&self->closing, 1);
    Py_BEGIN_ALLOW_THREADS
    enter(self);
    shut(self);
    leave(self);
    Py_END_ALLOW_THREADS
    while (self->spares) free(self->spare[--self->spares].data);
    Py_RETURN_NONE;
}

static void consumer_dealloc(PyObject *this) {
    Consumer *self = (Consumer *)this;
    PyTypeObject *type = Py_TYPE(this);
    Py_BEGIN_ALLOW_THREADS
    shut(self);
    Py_END_ALLOW_THREADS
    forget_rows(self);
    while (self->spares) free(self->spare[--self->spares].data);
    if (self->lock) PyThread_free_lock(self->lock);
    PyObject_Free(this);
    Py_DECREF(type);
}

static void block_dealloc(PyObject *this) {
    Block *self = (Block *)this;
    PyTypeObject *type = Py_TYPE(this);
    Consumer *owner = self->owner;
    int fits = self->run.data != NULL && self->run.room <= SPARE_BYTES;
    if (owner != NULL && fits && owner->spares < SPARE && !atomic_load(&owner->closing)) {
        self->run.size = 0;
        owner->spare[owner->spares++] = self->run;
    } else free(self->run.data);
    Py_XDECREF((PyObject *)owner);
    PyObject_Free(this);
    Py_DECREF(type);
}

static int block_buffer(PyObject *this, Py_buffer *view, int flags) {
    Block *self = (Block *)this;
    static char nothing[8];
    void *data = self->run.data ? self->run.data : nothing;
    return PyBuffer_FillInfo(view, this, data, (Py_ssize_t)self->run.size, 1, flags);
}

static PyObject *consumer_size(PyObject *this, void *none) {
    (void)none;
    return PyLong_FromSize_t(((Consumer *)this)->bytes);
}

static Py_ssize_t consumer_length(PyObject *this) { return (Py_ssize_t)((Consumer *)this)->count; }

static PyObject *failed(int code, const char *text) {
    PyObject *value = trouble(code, text);
    if (value != NULL) PyErr_SetObject(Failed, value);
    Py_XDECREF(value);
    return NULL;
}

/* A configuration from pairs of name and value; NULL with an exception set. */
static rd_kafka_conf_t *configured(PyObject *settings, Consumer *self) {
    char text[512] = "";
    rd_kafka_conf_t *conf = rd.conf_new();
    Py_ssize_t count = PyList_Size(settings);
    int bad = count < 0;
    for (Py_ssize_t i = 0; i < count && !bad; i++) {
        PyObject *pair = PyList_GetItem(settings, i);
        PyObject *name = PyTuple_GetItem(pair, 0), *value = name ? PyTuple_GetItem(pair, 1) : NULL;
        const char *names = value ? PyUnicode_AsUTF8AndSize(name, NULL) : NULL;
        const char *values = names ? PyUnicode_AsUTF8AndSize(value, NULL) : NULL;
        bad = values == NULL;
        if (!bad && rd.conf_set(conf, names, values, text, sizeof text) != 0) {
            failed(INVALID_ARG, text);
            bad = 1;
        }
    }
    if (bad) {
        rd.conf_destroy(conf);
        return NULL;
    }
    rd.conf_set_opaque(conf, self);
    rd.conf_set_error_cb(conf, on_error);
    rd.conf_set_log_cb(conf, on_log);
    return conf;
}

static int assigned(Consumer *self, const char *topic, PyObject *starts) {
    Py_ssize_t count = PyList_Size(starts);
    if (count < 0) return -1;
    rd_kafka_topic_partition_list_t *list = rd.topic_partition_list_new((int)count);
    int bad = 0;
    for (Py_ssize_t i = 0; i < count && !bad; i++) {
        int partition, epoch;
        long long offset;
        bad = !PyArg_ParseTuple(PyList_GetItem(starts, i), "iLi", &partition, &offset, &epoch);
        if (bad) break;
        rd_kafka_topic_partition_t *one = rd.topic_partition_list_add(list, topic, partition);
        one->offset = offset;
        if (epoch >= 0) rd.topic_partition_set_leader_epoch(one, epoch);
    }
    int code = bad ? 0 : rd.assign(self->kafka, list);
    rd.topic_partition_list_destroy(list);
    if (code) failed(code, rd.err2str(code));
    return bad || code ? -1 : 0;
}

static PyObject *consumer_open(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *settings, *starts;
    const char *topic;
    char text[512] = "";
    if (!PyArg_ParseTuple(args, "O!sO!", &PyList_Type, &settings, &topic, &PyList_Type, &starts)) return NULL;
    if (!bound) {
        PyErr_SetString(PyExc_RuntimeError, "no library is bound");
        return NULL;
    }
    Consumer *self = (Consumer *)PyType_GenericAlloc(ConsumerType, 0);
    if (self == NULL) return NULL;
    self->lock = PyThread_allocate_lock();
    if (self->lock == NULL) {
        Py_DECREF(self);
        return PyErr_NoMemory();
    }
    rd_kafka_conf_t *conf = configured(settings, self);
    if (conf == NULL) {
        Py_DECREF(self);
        return NULL;
    }
    self->kafka = rd.new(CONSUMER, conf, text, sizeof text);
    if (self->kafka == NULL) {
        rd.conf_destroy(conf);
        Py_DECREF(self);
        return failed(INVALID_ARG, text);
    }
    rd.poll_set_consumer(self->kafka);
    self->queue = rd.queue_get_consumer(self->kafka);
    if (self->queue == NULL || assigned(self, topic, starts) < 0) {
        if (!PyErr_Occurred()) PyErr_NoMemory();
        Py_DECREF(self);
        return NULL;
    }
    return (PyObject *)self;
}

/* Find librdkafka's functions behind a module that is linked to it. Whether all are there, of a version known here. */
static PyObject *bind(PyObject *module, PyObject *args) {
    (void)module;
    const char *path;
    if (!PyArg_ParseTuple(args, "s", &path)) return NULL;
    void *library = bound ? NULL : dlopen(path, RTLD_LAZY | RTLD_NOLOAD | RTLD_LOCAL);
    if (library != NULL) {
        int missing = 0;
        for (size_t i = 0; i < sizeof NAMES / sizeof *NAMES && !missing; i++) {
            void *found = dlsym(library, NAMES[i].name);
            missing = found == NULL;
            memcpy(NAMES[i].place, &found, sizeof found);
        }
        bound = !missing && rd.version() >> 24 == MAJOR;
    }
    return PyBool_FromLong(bound);
}

static PyMethodDef consumer_methods[] = {
    {"drain", consumer_drain, METH_VARARGS, NULL},
    {"take", consumer_take, METH_NOARGS, NULL},
    {"close", consumer_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef consumer_attributes[] = {{"size_bytes", consumer_size, NULL, NULL, NULL}, {NULL, NULL, NULL, NULL, NULL}};
static PyType_Slot consumer_slots[] = {
    {Py_tp_dealloc, consumer_dealloc},
    {Py_tp_methods, consumer_methods},
    {Py_tp_getset, consumer_attributes},
    {Py_sq_length, consumer_length},
    {0, NULL},
};
static PyType_Spec consumer_spec = {
    "headgate.native.kafka_batch.Consumer", sizeof(Consumer), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, consumer_slots};
static PyType_Slot block_slots[] = {{Py_tp_dealloc, block_dealloc}, {Py_bf_getbuffer, block_buffer}, {0, NULL}};
static PyType_Spec block_spec = {
    "headgate.native.kafka_batch.Block", sizeof(Block), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, block_slots};

static PyMethodDef functions[] = {
    {"bind", bind, METH_VARARGS, NULL},
    {"consume", consumer_open, METH_VARARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {PyModuleDef_HEAD_INIT, "kafka_batch", NULL, -1, functions, NULL, NULL, NULL, NULL};

PyMODINIT_FUNC PyInit_kafka_batch(void) {
    PyObject *module = PyModule_Create(&definition);
    if (module == NULL) return NULL;
    ConsumerType = (PyTypeObject *)PyType_FromSpec(&consumer_spec);
    BlockType = (PyTypeObject *)PyType_FromSpec(&block_spec);
    Failed = PyErr_NewException("headgate.native.kafka_batch.Failed", NULL, NULL);
    if (ConsumerType == NULL || BlockType == NULL || Failed == NULL) return NULL;
    if (PyModule_AddObjectRef(module, "Consumer", (PyObject *)ConsumerType) < 0) return NULL;
    return PyModule_AddObjectRef(module, "Failed", Failed) < 0 ? NULL : module;
}
