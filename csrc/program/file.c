/* The form of a program and its parameters in a file. Numbers are little-endian, texts are a length
 * (u32) and that many bytes, none of them 0; nothing is aligned but the values.
 *
 *     header    64 bytes, see below
 *     inputs    a shape each: u32 dimensions, then i64 each
 *     entries   of the parameters: name, u32 dtype, shape
 *     nodes     name of the operation, u32 border, i32 per input, i32 per parameter (-1: left out),
 *               u32 attributes, and for each its name, u32 type, and an i64, an f64 or a text
 *     outputs   i32 each, a value
 *     notes     two texts each, key and value
 *     values    from the next multiple of 64 to the end: the buffer of the table (vitc.h), each
 * entry from a multiple of 64
 *
 * Operations and attributes go by their names, so that a file outlives a new operation, and an
 * optional attribute that is 0 is left out, so that it outlives a new one of these. */
#include <string.h>

#include "base/memory.h"
#include "params/packs.h"
#include "program/program.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are copied as they are");

enum {
    VERSION = 1,
    MOST_ITEMS = 1 << 24 /* of a list; far more than a program may have */
};

typedef struct header {
    uint8_t magic[8];
    uint32_t version, dtype; /* of the table */
    uint64_t bytes;          /* of the file */
    uint64_t hash;           /* of the file, this field being 0 */
    uint32_t inputs, entries, nodes, outputs, notes, unused[3];
} header;

_Static_assert(sizeof(header) == 64, "the header has no gaps");

/* As in PNG: a file that was changed as if it were a text begins otherwise. */
static const uint8_t magic[8] = {0x89, 'V', 'I', 'T', 'C', '\r', '\n', 0x1A};

struct vt_notes {
    int count;
    char **texts; /* 2 count */
};

/* ---------------------------------------------------------------- hash */

/* Every step is one-to-one, so that no change of a single word goes unseen. */
static uint64_t mix(uint64_t hash, uint64_t word) {
    hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
    return hash ^ hash >> 32;
}

/* Of a file whose length is a multiple of 8, its field `hash` counting as 0. */
static uint64_t hash_of(const char *memory, size_t bytes) {
    uint64_t hash = bytes;
    for (size_t at = 0; at < bytes; at += sizeof hash) {
        uint64_t word;
        memcpy(&word, memory + at, sizeof word);
        hash = mix(hash, at == offsetof(header, hash) ? 0 : word);
    }
    return hash;
}

/* ---------------------------------------------------------------- writing */

/* Bytes are only counted while there is no memory. */
typedef struct sink {
    char *memory;
    size_t used;
} sink;

static void put(sink *s, const void *from, size_t bytes) {
    if (s->memory != NULL && bytes > 0) memcpy(s->memory + s->used, from, bytes);
    s->used += bytes;
}

static void put_u32(sink *s, uint32_t value) { put(s, &value, sizeof value); }
static void put_index(sink *s, int value) { put_u32(s, (uint32_t)value); }

static void put_text(sink *s, const char *text) {
    const uint32_t length = (uint32_t)strlen(text);
    put_u32(s, length);
    put(s, text, length);
}

static void put_shape(sink *s, const vt_shape *shape) {
    put_index(s, shape->ndim);
    put(s, shape->dim, (size_t)shape->ndim * sizeof *shape->dim);
}

static bool is_left_out(const vt_attribute_spec *spec, const vt_attribute *attribute) {
    static const vt_attribute zero;
    const size_t bytes = spec->type == VT_ATTR_NAME ? 1 : sizeof attribute->i;
    return spec->optional && memcmp(attribute, &zero, bytes) == 0;
}

static void put_attribute(sink *s, const vt_attribute_spec *spec, const vt_attribute *attribute) {
    put_text(s, spec->name);
    put_u32(s, spec->type);
    if (spec->type == VT_ATTR_NAME) {
        put_text(s, attribute->name);
    } else {
        put(s, attribute, sizeof attribute->i);
    }
}

static void put_node(sink *s, const vt_node *node) {
    const vt_op *op = node->op;
    put_text(s, op->name);
    put_u32(s, node->border);
    for (int i = 0; i < op->inputs; i++) put_index(s, node->inputs[i]);
    for (int i = 0; op->params[i].name != NULL; i++) put_index(s, node->params[i]);
    int count = 0;
    for (int i = 0; op->attributes[i].name != NULL; i++) {
        count += !is_left_out(&op->attributes[i], &node->attributes[i]);
    }
    put_index(s, count);
    for (int i = 0; op->attributes[i].name != NULL; i++) {
        if (is_left_out(&op->attributes[i], &node->attributes[i])) continue;
        put_attribute(s, &op->attributes[i], &node->attributes[i]);
    }
}

static void put_all(sink *s, const vt_program *program, const vt_params *params,
                    const char *const *notes, int count) {
    header h = {.version = VERSION,
                .dtype = params->dtype,
                .inputs = (uint32_t)program->input_count,
                .entries = (uint32_t)params->count,
                .nodes = (uint32_t)program->node_count,
                .outputs = (uint32_t)program->output_count,
                .notes = (uint32_t)count};
    memcpy(h.magic, magic, sizeof magic);
    put(s, &h, sizeof h);
    for (int i = 0; i < program->input_count; i++) put_shape(s, &program->inputs[i]);
    for (int i = 0; i < params->count; i++) {
        put_text(s, params->entries[i].name);
        put_u32(s, params->entries[i].dtype);
        put_shape(s, &params->entries[i].shape);
    }
    for (int i = 0; i < program->node_count; i++) put_node(s, &program->nodes[i]);
    for (int i = 0; i < program->output_count; i++) put_index(s, program->outputs[i]);
    for (int i = 0; i < 2 * count; i++) put_text(s, notes[i]);
    s->used = vt_align(s->used);
    put(s, params->data, params->bytes);
}

vt_status vt_file_write(void **memory, size_t *bytes, const vt_program *program, vt_params *params,
                        const char *const *notes, int count, vt_error *error) {
    *memory = NULL;
    VT_TRY(vt_program_check_params(program, params, error));
    sink s = {NULL, 0};
    put_all(&s, program, params, notes, count);
    VT_TRY(vt_alloc(memory, s.used, error));
    *bytes = s.used;
    s = (sink){*memory, 0};
    vt_lock_shared(&params->values);
    vt_lock_alone(&params->packing);
    const vt_status status = vt_params_wake(params, error);
    if (status == VT_OK) put_all(&s, program, params, notes, count);
    vt_unlock(&params->packing);
    vt_unlock(&params->values);
    if (status != VT_OK) {
        vt_free(*memory);
        *memory = NULL;
        return status;
    }
    header *h = *memory;
    h->bytes = *bytes;
    h->hash = hash_of(*memory, *bytes);
    return VT_OK;
}

/* ---------------------------------------------------------------- reading */

/* What is left of the part before the values. */
typedef struct source {
    const char *at;
    size_t left;
} source;

static vt_status take(source *s, void *out, size_t bytes, vt_error *error) {
    if (bytes > s->left) return vt_fail(error, VT_VALUE, "the file ends within its program");
    if (bytes > 0) memcpy(out, s->at, bytes);
    s->at += bytes;
    s->left -= bytes;
    return VT_OK;
}

static vt_status take_u32(source *s, uint32_t *value, vt_error *error) {
    return take(s, value, sizeof *value, error);
}

static vt_status take_index(source *s, int *index, vt_error *error) {
    int32_t value = 0;
    VT_TRY(take(s, &value, sizeof value, error));
    *index = value;
    return VT_OK;
}

/* The length of the text that comes next. */
static vt_status text_length(source *s, size_t *length, vt_error *error) {
    uint32_t found = 0;
    VT_TRY(take_u32(s, &found, error));
    *length = found;
    if (found > s->left) return vt_fail(error, VT_VALUE, "the file ends within a text");
    if (memchr(s->at, 0, found) == NULL) return VT_OK;
    return vt_fail(error, VT_VALUE, "a text in the file holds a zero byte");
}

/* A text for an array of a fixed size. */
static vt_status take_name(source *s, char name[VT_MAX_NAME], vt_error *error) {
    size_t length = 0;
    VT_TRY(text_length(s, &length, error));
    if (length >= VT_MAX_NAME) {
        return vt_fail(error, VT_VALUE, "a name in the file has %zu characters, expected below %d",
                       length, VT_MAX_NAME);
    }
    name[length] = '\0';
    return take(s, name, length, error);
}

/* A text of any length, to be freed with vt_free. */
static vt_status take_text(source *s, char **text, vt_error *error) {
    size_t length = 0;
    VT_TRY(text_length(s, &length, error));
    VT_TRY(VT_NEW(text, length + 1, error));
    return take(s, *text, length, error);
}

static vt_status take_shape(source *s, vt_shape *shape, vt_error *error) {
    uint32_t ndim = 0;
    VT_TRY(take_u32(s, &ndim, error));
    if (ndim > VT_MAX_DIMS) {
        return vt_fail(error, VT_VALUE, "a shape in the file has %u sizes, expected at most %d",
                       ndim, VT_MAX_DIMS);
    }
    shape->ndim = (int)ndim;
    return take(s, shape->dim, ndim * sizeof *shape->dim, error);
}

/* What a file holds, while it is read. */
typedef struct contents {
    header header;
    source source;
    const char *values;
    size_t value_bytes;
    vt_shape *inputs, *shapes;
    char **names; /* of the entries */
    bool *int8;
    vt_node *nodes;
    int *outputs;
} contents;

static vt_status check_header(contents *c, const char *memory, size_t bytes, vt_error *error) {
    if (bytes < sizeof c->header || memcmp(memory, magic, sizeof magic) != 0) {
        return vt_fail(error, VT_VALUE, "this is not a program of vitc");
    }
    memcpy(&c->header, memory, sizeof c->header);
    if (c->header.version != VERSION) {
        return vt_fail(error, VT_VALUE, "the file has version %u, expected %d", c->header.version,
                       VERSION);
    }
    if (c->header.bytes != bytes || bytes % VT_ALIGN != 0) {
        return vt_fail(error, VT_VALUE, "the file has %zu bytes, %llu were written", bytes,
                       (unsigned long long)c->header.bytes);
    }
    if (c->header.hash != hash_of(memory, bytes)) {
        return vt_fail(error, VT_VALUE, "the file was damaged: its bytes do not fit its hash");
    }
    if (c->header.dtype >= VT_REAL_COUNT) {
        return vt_fail(error, VT_VALUE, "the file names dtype %u, which does not exist",
                       c->header.dtype);
    }
    c->source = (source){memory + sizeof c->header, bytes - sizeof c->header};
    return VT_OK;
}

/* Memory for `count` items, each of which takes at least `least` bytes of the file. */
#define NEW_LIST(c, pointer, count, least, error) \
    ((count) > MOST_ITEMS || (count) > (c)->source.left / (least) \
         ? vt_fail(error, VT_VALUE, "the file ends within its program") \
         : VT_NEW(pointer, count, error))

static vt_status take_inputs(contents *c, vt_error *error) {
    VT_TRY(NEW_LIST(c, &c->inputs, c->header.inputs, sizeof(uint32_t), error));
    for (uint32_t i = 0; i < c->header.inputs; i++) {
        VT_TRY(take_shape(&c->source, &c->inputs[i], error));
    }
    return VT_OK;
}

static vt_status take_rows(contents *c, vt_error *error) {
    const uint32_t count = c->header.entries;
    VT_TRY(NEW_LIST(c, &c->names, count, 3 * sizeof(uint32_t), error));
    VT_TRY(VT_NEW(&c->shapes, count, error));
    VT_TRY(VT_NEW(&c->int8, count, error));
    for (uint32_t i = 0; i < count; i++) {
        uint32_t dtype = 0;
        VT_TRY(take_text(&c->source, &c->names[i], error));
        VT_TRY(take_u32(&c->source, &dtype, error));
        VT_TRY(take_shape(&c->source, &c->shapes[i], error));
        if (dtype != VT_S8 && dtype != c->header.dtype) {
            return vt_fail(error, VT_VALUE, "parameter %.100s has dtype %u in a table of dtype %u",
                           c->names[i], dtype, c->header.dtype);
        }
        c->int8[i] = dtype == VT_S8;
    }
    return VT_OK;
}

/* The number of an attribute of an operation, of this type. */
static vt_status find_attribute(const vt_op *op, const char *name, uint32_t type, int *index,
                                vt_error *error) {
    for (*index = 0; op->attributes[*index].name != NULL; ++*index) {
        const vt_attribute_spec *spec = &op->attributes[*index];
        if (strcmp(spec->name, name) == 0 && spec->type == type) return VT_OK;
    }
    return vt_fail(error, VT_VALUE, "operation %s has no attribute %s of type %u", op->name, name,
                   type);
}

static vt_status take_attribute(source *s, vt_node *node, bool *given, vt_error *error) {
    char name[VT_MAX_NAME];
    uint32_t type = 0;
    int index = 0;
    VT_TRY(take_name(s, name, error));
    VT_TRY(take_u32(s, &type, error));
    VT_TRY(find_attribute(node->op, name, type, &index, error));
    if (given[index]) {
        return vt_fail(error, VT_VALUE, "operation %s has the attribute %s twice", node->op->name,
                       name);
    }
    given[index] = true;
    vt_attribute *attribute = &node->attributes[index];
    if (type == VT_ATTR_NAME) return take_name(s, attribute->name, error);
    return take(s, attribute, sizeof attribute->i, error);
}

static vt_status take_attributes(source *s, vt_node *node, vt_error *error) {
    bool given[VT_MAX_ATTRIBUTES + 1] = {false};
    uint32_t count = 0;
    VT_TRY(take_u32(s, &count, error));
    for (uint32_t i = 0; i < count; i++) VT_TRY(take_attribute(s, node, given, error));
    for (int i = 0; node->op->attributes[i].name != NULL; i++) {
        if (given[i] || node->op->attributes[i].optional) continue;
        return vt_fail(error, VT_VALUE, "operation %s lacks the attribute %s", node->op->name,
                       node->op->attributes[i].name);
    }
    return VT_OK;
}

static vt_status take_node(source *s, vt_node *node, vt_error *error) {
    char name[VT_MAX_NAME];
    uint32_t border = 0;
    VT_TRY(take_name(s, name, error));
    VT_TRY(take_u32(s, &border, error));
    node->op = vt_op_find(name);
    if (node->op == NULL) {
        return vt_fail(error, VT_VALUE, "operation '%s' is unknown to this version of vitc", name);
    }
    node->border = border != 0;
    for (int i = 0; i < node->op->inputs; i++) VT_TRY(take_index(s, &node->inputs[i], error));
    for (int i = 0; i < VT_MAX_PARAMS; i++) node->params[i] = -1;
    for (int i = 0; node->op->params[i].name != NULL; i++) {
        VT_TRY(take_index(s, &node->params[i], error));
    }
    return take_attributes(s, node, error);
}

static vt_status take_nodes(contents *c, vt_error *error) {
    VT_TRY(NEW_LIST(c, &c->nodes, c->header.nodes, 3 * sizeof(uint32_t), error));
    for (uint32_t i = 0; i < c->header.nodes; i++) {
        VT_TRY(take_node(&c->source, &c->nodes[i], error));
    }
    VT_TRY(NEW_LIST(c, &c->outputs, c->header.outputs, sizeof(int32_t), error));
    for (uint32_t i = 0; i < c->header.outputs; i++) {
        VT_TRY(take_index(&c->source, &c->outputs[i], error));
    }
    return VT_OK;
}

static vt_status take_notes(contents *c, vt_notes **out, vt_error *error) {
    VT_TRY(VT_NEW(out, 1, error));
    vt_notes *notes = *out;
    VT_TRY(NEW_LIST(c, &notes->texts, 2 * (size_t)c->header.notes, sizeof(uint32_t), error));
    notes->count = (int)c->header.notes;
    for (int i = 0; i < 2 * notes->count; i++) {
        VT_TRY(take_text(&c->source, &notes->texts[i], error));
    }
    return VT_OK;
}

/* The bytes of an entry in a buffer, or more than `left` if these do not hold it. */
static size_t row_bytes(const vt_shape *shape, vt_dtype dtype, size_t left) {
    size_t bytes = vt_dtype_size(dtype);
    for (int d = 0; d < shape->ndim; d++) {
        const int64_t size = shape->dim[d];
        if (size < 1 || (uint64_t)size > left / bytes) return left + 1;
        bytes *= (size_t)size;
    }
    return vt_align(bytes);
}

/* The values are the rest of the file, from a multiple of 64 on; and as many as the entries say,
 * which is checked before memory is taken for them. */
static vt_status find_values(contents *c, const char *memory, vt_error *error) {
    const size_t from = vt_align((size_t)(c->source.at - memory));
    c->value_bytes = (size_t)c->header.bytes - from;
    c->values = memory + from;
    size_t left = c->value_bytes;
    for (uint32_t i = 0; i < c->header.entries; i++) {
        const vt_dtype dtype = c->int8[i] ? VT_S8 : (vt_dtype)c->header.dtype;
        const size_t bytes = row_bytes(&c->shapes[i], dtype, left);
        if (bytes > left) {
            return vt_fail(error, VT_VALUE, "the values of parameter %.100s are not in the file",
                           c->names[i]);
        }
        left -= bytes;
    }
    return left == 0 ? VT_OK : vt_fail(error, VT_VALUE, "the file has %zu bytes too many", left);
}

static vt_status make(const contents *c, vt_program **program, vt_params **params,
                      vt_error *error) {
    const vt_listing listing = {.input_count = (int)c->header.inputs,
                                .param_count = (int)c->header.entries,
                                .node_count = (int)c->header.nodes,
                                .output_count = (int)c->header.outputs,
                                .inputs = c->inputs,
                                .params = c->shapes,
                                .nodes = c->nodes,
                                .outputs = c->outputs};
    VT_TRY(vt_program_open(program, &listing, error));
    VT_TRY(vt_params_open(params, listing.param_count, (const char *const *)c->names, c->shapes,
                          c->int8, (vt_dtype)c->header.dtype, error));
    if (c->value_bytes > 0) memcpy((*params)->data, c->values, c->value_bytes);
    return vt_program_check_params(*program, *params, error);
}

static void drop(const contents *c) {
    for (uint32_t i = 0; c->names != NULL && i < c->header.entries; i++) vt_free(c->names[i]);
    vt_free(c->names);
    vt_free(c->inputs);
    vt_free(c->shapes);
    vt_free(c->int8);
    vt_free(c->nodes);
    vt_free(c->outputs);
}

vt_status vt_file_open(vt_program **program, vt_params **params, vt_notes **notes,
                       const void *memory, size_t bytes, vt_error *error) {
    *program = NULL;
    *params = NULL;
    *notes = NULL;
    contents c = {.source = {NULL, 0}};
    vt_status status = check_header(&c, memory, bytes, error);
    if (status == VT_OK) status = take_inputs(&c, error);
    if (status == VT_OK) status = take_rows(&c, error);
    if (status == VT_OK) status = take_nodes(&c, error);
    if (status == VT_OK) status = take_notes(&c, notes, error);
    if (status == VT_OK) status = find_values(&c, memory, error);
    if (status == VT_OK) status = make(&c, program, params, error);
    drop(&c);
    if (status == VT_OK) return VT_OK;
    vt_program_close(*program);
    vt_params_close(*params);
    vt_notes_close(*notes);
    *program = NULL;
    *params = NULL;
    *notes = NULL;
    return status;
}

/* ---------------------------------------------------------------- notes */

int vt_notes_count(const vt_notes *notes) { return notes->count; }
const char *vt_notes_key(const vt_notes *notes, int index) { return notes->texts[2 * index]; }
const char *vt_notes_value(const vt_notes *notes, int index) { return notes->texts[2 * index + 1]; }

void vt_notes_close(vt_notes *notes) {
    if (notes == NULL) return;
    for (int i = 0; i < 2 * notes->count; i++) vt_free(notes->texts[i]);
    vt_free(notes->texts);
    vt_free(notes);
}
