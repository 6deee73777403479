#include "program/program.h"

#include <stdio.h>
#include <string.h>

#include "base/memory.h"
#include "params/params.h"

/* MAX_NODES are planned within a few seconds, whatever they are; the largest ViTs have 2,000. */
enum { MAX_NODES = 1 << 16, MAX_DIM = 1 << 30 };
/* Sizes are multiplied with a batch and an element size further on; this leaves room. */
static const int64_t MAX_ELEMENTS = (int64_t)1 << 40;

static vt_status check_shape(const vt_shape *shape, const char *what, int index, vt_error *error) {
    char text[VT_MAX_NAME];
    bool good = shape->ndim >= 1 && shape->ndim <= VT_MAX_DIMS;
    double elements = 1;
    for (int i = 0; good && i < shape->ndim; i++) {
        good = shape->dim[i] >= 1 && shape->dim[i] <= MAX_DIM;
        elements *= (double)shape->dim[i];
    }
    if (good && elements <= (double)MAX_ELEMENTS) return VT_OK;
    return vt_fail(error, VT_VALUE, "%s %d has shape %s, expected 1 to %d sizes of at least 1",
                   what, index, good ? vt_shape_text(text, shape) : "out of range", VT_MAX_DIMS);
}

static vt_status copy(void **out, const void *from, int count, size_t size, vt_error *error) {
    VT_TRY(vt_alloc_array(out, (size_t)count, size, error));
    if (count > 0) memcpy(*out, from, (size_t)count * size);
    return VT_OK;
}

static vt_status copy_lists(vt_program *p, const vt_listing *d, vt_error *error) {
    VT_TRY(copy((void **)&p->inputs, d->inputs, d->input_count, sizeof *p->inputs, error));
    VT_TRY(copy((void **)&p->params, d->params, d->param_count, sizeof *p->params, error));
    VT_TRY(copy((void **)&p->nodes, d->nodes, d->node_count, sizeof *p->nodes, error));
    VT_TRY(copy((void **)&p->outputs, d->outputs, d->output_count, sizeof *p->outputs, error));
    return VT_NEW(&p->signatures, d->node_count, error);
}

const vt_shape *vt_program_shape(const vt_program *program, int value) {
    return value < program->input_count ? &program->inputs[value]
                                        : &program->nodes[value - program->input_count].shape;
}

/* Put "operation 12 (linear): " before the message. */
static vt_status name_node(vt_status status, int index, const vt_op *op, vt_error *error) {
    if (status == VT_OK || error == NULL) return status;
    char message[sizeof error->message];
    memcpy(message, error->message, sizeof message);
    return vt_fail(error, status, "operation %d (%s): %s", index, op->name, message);
}

/* Fill the signature of node `index` from what is known so far. */
static vt_status resolve(vt_program *p, int index, vt_error *error) {
    vt_node *node = &p->nodes[index];
    vt_signature *signature = &p->signatures[index];
    signature->node = node;
    for (int i = 0; i < node->op->inputs; i++) {
        if (node->inputs[i] < 0 || node->inputs[i] >= p->input_count + index) {
            return vt_fail(error, VT_VALUE, "input %d is value %d, which does not exist before it",
                           i, node->inputs[i]);
        }
        signature->input[i] = *vt_program_shape(p, node->inputs[i]);
    }
    for (int i = 0; node->op->params[i].name != NULL; i++) {
        const vt_param_spec *spec = &node->op->params[i];
        if (node->params[i] == -1 && spec->optional) continue;
        if (node->params[i] < 0 || node->params[i] >= p->param_count) {
            return vt_fail(error, VT_VALUE, "parameter %s is entry %d of a table with %d entries",
                           spec->name, node->params[i], p->param_count);
        }
        signature->param[i] = p->params[node->params[i]];
    }
    return VT_OK;
}

static vt_status check_node(vt_program *p, int index, vt_error *error) {
    VT_TRY(resolve(p, index, error));
    vt_node *node = &p->nodes[index];
    VT_TRY(node->op->infer(&p->signatures[index], error));
    return check_shape(&node->shape, "output", 0, error);
}

static vt_status check_params_used_once(const vt_program *p, vt_error *error) {
    void *block;
    VT_TRY(vt_alloc_array(&block, (size_t)p->param_count, sizeof(int), error));
    int *user = block; /* the operation, counted from 1 */
    vt_status status = VT_OK;
    for (int n = 0; n < p->node_count && status == VT_OK; n++) {
        for (int i = 0; p->nodes[n].op->params[i].name != NULL; i++) {
            const int param = p->nodes[n].params[i];
            if (param < 0) continue;
            if (user[param] != 0) {
                status = vt_fail(error, VT_VALUE,
                                 "parameter %d is used by operations %d and %d, expected one",
                                 param, user[param] - 1, n);
            }
            user[param] = n + 1;
        }
    }
    vt_free(block);
    return status;
}

static vt_status check(vt_program *p, vt_error *error) {
    for (int i = 0; i < p->input_count; i++) {
        VT_TRY(check_shape(&p->inputs[i], "input", i, error));
    }
    for (int i = 0; i < p->param_count; i++) {
        VT_TRY(check_shape(&p->params[i], "parameter", i, error));
    }
    for (int i = 0; i < p->node_count; i++) {
        VT_TRY(name_node(check_node(p, i, error), i, p->nodes[i].op, error));
    }
    for (int i = 0; i < p->output_count; i++) {
        if (p->outputs[i] >= 0 && p->outputs[i] < p->input_count + p->node_count) continue;
        return vt_fail(error, VT_VALUE, "output %d is value %d of %d", i, p->outputs[i],
                       p->input_count + p->node_count);
    }
    return check_params_used_once(p, error);
}

vt_status vt_program_open(vt_program **out, const vt_listing *d, vt_error *error) {
    *out = NULL;
    if (d->input_count < 1 || d->output_count < 1 || d->node_count > MAX_NODES) {
        return vt_fail(error, VT_VALUE,
                       "a program has at least one input and one output and at most %d operations, "
                       "got %d, %d and %d",
                       MAX_NODES, d->input_count, d->output_count, d->node_count);
    }
    void *block;
    VT_TRY(vt_alloc(&block, sizeof(vt_program), error));
    vt_program *p = block;
    vt_status status = copy_lists(p, d, error);
    if (status == VT_OK) {
        p->input_count = d->input_count;
        p->param_count = d->param_count;
        p->node_count = d->node_count;
        p->output_count = d->output_count;
        status = check(p, error);
    }
    if (status == VT_OK) {
        *out = p;
    } else {
        vt_program_close(p);
    }
    return status;
}

vt_listing vt_program_listing(const vt_program *p) {
    return (vt_listing){.input_count = p->input_count,
                        .param_count = p->param_count,
                        .node_count = p->node_count,
                        .output_count = p->output_count,
                        .inputs = p->inputs,
                        .params = p->params,
                        .nodes = p->nodes,
                        .outputs = p->outputs};
}

void vt_program_close(vt_program *program) {
    if (program == NULL) return;
    vt_free(program->inputs);
    vt_free(program->params);
    vt_free(program->nodes);
    vt_free(program->signatures);
    vt_free(program->outputs);
    vt_free(program);
}

/* ---------------------------------------------------------------- parameters that fit */

static bool same_dims(const vt_shape *a, const vt_shape *b) {
    return a->ndim == b->ndim && memcmp(a->dim, b->dim, (size_t)a->ndim * sizeof *a->dim) == 0;
}

static vt_status check_shapes(const vt_program *program, const vt_params *params, vt_error *error) {
    if (program->param_count != params->count) {
        return vt_fail(error, VT_VALUE, "the program has %d parameters, the table %d entries",
                       program->param_count, params->count);
    }
    for (int i = 0; i < params->count; i++) {
        if (same_dims(&program->params[i], &params->entries[i].shape)) continue;
        char a[VT_MAX_NAME], b[VT_MAX_NAME];
        return vt_fail(error, VT_VALUE, "%s has shape %s, the program expects %s",
                       params->entries[i].name, vt_shape_text(a, &params->entries[i].shape),
                       vt_shape_text(b, &program->params[i]));
    }
    return VT_OK;
}

/* An operation reads a parameter as its record says, so the entry must be of that dtype. */
static vt_status check_dtypes(const vt_program *program, const vt_params *params, vt_error *error) {
    for (int n = 0; n < program->node_count; n++) {
        const vt_node *node = &program->nodes[n];
        for (int i = 0; node->op->params[i].name != NULL; i++) {
            if (node->params[i] < 0) continue;
            const vt_entry *entry = &params->entries[node->params[i]];
            const vt_dtype expected = node->op->params[i].int8 ? VT_S8 : params->dtype;
            if (entry->dtype == expected) continue;
            return vt_fail(error, VT_VALUE, "%s has dtype %s, operation %s expects %s", entry->name,
                           vt_dtype_name(entry->dtype), node->op->name, vt_dtype_name(expected));
        }
    }
    return VT_OK;
}

vt_status vt_program_check_params(const vt_program *program, const vt_params *params,
                                  vt_error *error) {
    VT_TRY(check_shapes(program, params, error));
    return check_dtypes(program, params, error);
}
