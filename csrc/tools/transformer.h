/* A small transformer, written as a program by hand, and numbers to feed it with: for the runners
 * that test base, ops, program and optim. */
#ifndef VT_TOOLS_TRANSFORMER_H
#define VT_TOOLS_TRANSFORMER_H

#include <string.h>

#include "ops/operations.h"
#include "params/params.h"
#include "program/program.h"
#include "tools/numbers.h"

enum { CHANNELS = 3, IMAGE = 12, PATCH = 4, TOKENS = 10, DIM = 16, HIDDEN = 24, CLASSES = 5 };
enum { MAX_ROWS = 40, MAX_STEPS = 40, BATCH = 3 };

typedef struct builder {
    vt_shape params[MAX_ROWS];
    const char *names[MAX_ROWS];
    vt_node nodes[MAX_STEPS];
    int param_count, node_count;
} builder;

static inline int param(builder *b, vt_shape shape) {
    b->params[b->param_count] = shape;
    b->names[b->param_count] = "p";
    return b->param_count++;
}

/* Append an operation with up to two inputs and parameters (-1: none); returns its value. */
static inline int op(builder *b, const vt_op *kind, int x, int y, int p, int q) {
    vt_node *node = &b->nodes[b->node_count++];
    *node = (vt_node){.op = kind, .inputs = {x, y}, .params = {p, q, -1, -1}};
    return b->node_count; /* value 0 is the input */
}

static inline vt_attribute *attribute(builder *b, int index) {
    return &b->nodes[b->node_count - 1].attributes[index];
}

static inline int linear(builder *b, int x, int64_t out, int64_t in) {
    const int w = param(b, (vt_shape){2, {out, in}}), bias = param(b, (vt_shape){1, {out}});
    return op(b, &vt_op_linear, x, 0, w, bias);
}

static inline int norm(builder *b, int x) {
    const int w = param(b, (vt_shape){1, {DIM}}), bias = param(b, (vt_shape){1, {DIM}});
    const int y = op(b, &vt_op_norm, x, 0, w, bias);
    attribute(b, 0)->f = 1e-6;
    return y;
}

static inline int drop(builder *b, const vt_op *kind, int x, const char *site) {
    const int y = op(b, kind, x, 0, -1, -1);
    attribute(b, 0)->f = 0.25;
    strcpy(attribute(b, 1)->name, site);
    return y;
}

static inline int block(builder *b, int x) {
    int h = linear(b, norm(b, x), 3 * DIM, DIM);
    h = op(b, &vt_op_attention, h, 0, -1, -1);
    attribute(b, 0)->i = 2;
    h = drop(b, &vt_op_drop_path, linear(b, h, DIM, DIM), "path");
    x = op(b, &vt_op_add, x, h, -1, -1);
    h = op(b, &vt_op_activation, linear(b, norm(b, x), HIDDEN, DIM), 0, -1, -1);
    strcpy(attribute(b, 0)->name, "gelu");
    h = linear(b, drop(b, &vt_op_dropout, h, "hidden"), DIM, HIDDEN);
    return op(b, &vt_op_add, x, h, -1, -1);
}

static inline vt_status build(vt_program **program, vt_params **params, vt_dtype dtype,
                              vt_error *error) {
    builder b = {.param_count = 0};
    int x = op(&b, &vt_op_patchify, 0, 0, -1, -1);
    attribute(&b, 0)->i = attribute(&b, 1)->i = PATCH;
    x = linear(&b, x, DIM, CHANNELS * PATCH * PATCH);
    const int cls = param(&b, (vt_shape){3, {1, 1, DIM}});
    const int pos = param(&b, (vt_shape){3, {1, TOKENS, DIM}});
    x = op(&b, &vt_op_tokens, x, 0, cls, -1);
    b.nodes[b.node_count - 1].params[2] = pos;
    x = norm(&b, block(&b, x));
    x = op(&b, &vt_op_select, x, 0, -1, -1);
    attribute(&b, 1)->i = 1;
    int output = linear(&b, x, CLASSES, DIM);
    vt_shape image = {3, {CHANNELS, IMAGE, IMAGE}};
    const vt_listing listing = {.input_count = 1,
                                .inputs = &image,
                                .param_count = b.param_count,
                                .params = b.params,
                                .node_count = b.node_count,
                                .nodes = b.nodes,
                                .output_count = 1,
                                .outputs = &output};
    *params = NULL;
    VT_TRY(vt_program_open(program, &listing, error));
    const vt_status status =
        vt_params_open(params, b.param_count, b.names, b.params, NULL, dtype, error);
    if (status == VT_OK) return VT_OK;
    vt_program_close(*program);
    *program = NULL;
    return status;
}

/* Uniform in [-1, 1), a function of the index alone. */
static inline double noise(uint64_t row, uint32_t index) {
    uint32_t word[4];
    vt_rng_draw(word, (vt_rng_key){7, 0, 0}, row, 0, index);
    return (double)word[0] / 2147483648.0 - 1.0;
}

static inline void fill(void *array, vt_dtype dtype, int64_t count, uint64_t row, double scale) {
    for (int64_t i = 0; i < count; i++) set(array, dtype, i, scale * noise(row, (uint32_t)i));
}

static inline void randomize(vt_params *params) {
    for (int i = 0; i < params->count; i++) {
        fill(vt_params_at(params, params->data, i), params->dtype, params->entries[i].elements,
             (uint64_t)i + 1, 0.5);
    }
    params->version++;
}

#endif
