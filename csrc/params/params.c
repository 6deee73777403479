#include "params/packs.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"

static vt_status copy_name(vt_entry *entry, const char *name, vt_error *error) {
    void *copy;
    VT_TRY(vt_alloc(&copy, strlen(name) + 1, error));
    entry->name = copy;
    strcpy(entry->name, name);
    return VT_OK;
}

static vt_status fill(vt_params *params, const char *const *names, const vt_shape *shapes,
                      const bool *int8, vt_error *error) {
    int64_t chunks = 0;
    for (int i = 0; i < params->count; i++) {
        vt_entry *entry = &params->entries[i];
        VT_TRY(copy_name(entry, names[i], error));
        entry->shape = shapes[i];
        entry->offset = params->bytes;
        entry->elements = vt_shape_elements(&shapes[i]);
        entry->dtype = int8 != NULL && int8[i] ? VT_S8 : params->dtype;
        entry->requires_grad = entry->dtype != VT_S8;
        params->bytes += vt_align((size_t)entry->elements * vt_dtype_size(entry->dtype));
        chunks += vt_ceil_div(entry->elements, VT_CHUNK);
    }
    for (int i = 0; i < 2; i++) {
        VT_TRY(VT_NEW(&params->sums[i], chunks, error));
    }
    return vt_params_buffer(params, &params->data, error);
}

static vt_status check_size(const vt_shape *shape, const char *name, vt_error *error) {
    double elements = 1;
    for (int d = 0; d < shape->ndim; d++) {
        if (shape->dim[d] < 1) elements = 0;
        elements *= (double)shape->dim[d];
    }
    if (elements >= 1 && elements <= 1e12) return VT_OK;
    return vt_fail(error, VT_VALUE, "parameter %.100s has a size out of range", name);
}

vt_status vt_params_open(vt_params **out, int count, const char *const *names,
                         const vt_shape *shapes, const bool *int8, vt_dtype dtype,
                         vt_error *error) {
    *out = NULL;
    for (int i = 0; i < count; i++) VT_TRY(check_size(&shapes[i], names[i], error));
    void *block;
    VT_TRY(vt_alloc(&block, sizeof(vt_params), error));
    vt_params *params = block;
    vt_lock_open(&params->values);
    vt_lock_open(&params->gradients);
    vt_lock_open(&params->packing);
    params->dtype = dtype;
    params->version = 1;
    vt_status status = vt_alloc_array(&block, (size_t)count, sizeof(vt_entry), error);
    params->entries = block;
    if (status == VT_OK) {
        params->count = count;
        status = fill(params, names, shapes, int8, error);
    }
    if (status == VT_OK) {
        *out = params;
    } else {
        vt_params_close(params);
    }
    return status;
}

void vt_params_close(vt_params *params) {
    if (params == NULL) return;
    for (int i = 0; i < params->count; i++) vt_free(params->entries[i].name);
    vt_packs_close(params);
    vt_free(params->entries);
    vt_free(params->data);
    vt_free(params->gradient);
    for (int i = 0; i < 2; i++) vt_free(params->sums[i]);
    vt_lock_close(&params->values);
    vt_lock_close(&params->gradients);
    vt_lock_close(&params->packing);
    vt_free(params);
}

vt_status vt_params_buffer(const vt_params *params, void **buffer, vt_error *error) {
    return vt_alloc(buffer, params->bytes, error);
}

/* ---------------------------------------------------------------- what it is */

int vt_params_count(const vt_params *params) { return params->count; }
vt_dtype vt_params_dtype(const vt_params *params) { return params->dtype; }
size_t vt_params_bytes(const vt_params *params) { return params->bytes; }
size_t vt_params_all_bytes(const vt_params *params) {
    return params->bytes * (params->gradient == NULL ? 1 : 2);
}
uint64_t vt_params_version(const vt_params *params) { return params->version; }

const char *vt_params_name(const vt_params *params, int index) {
    return params->entries[index].name;
}
const vt_shape *vt_params_shape(const vt_params *params, int index) {
    return &params->entries[index].shape;
}
vt_dtype vt_params_entry_dtype(const vt_params *params, int index) {
    return params->entries[index].dtype;
}

bool vt_params_requires_grad(const vt_params *params, int index) {
    return params->entries[index].requires_grad;
}

vt_status vt_params_set_requires_grad(vt_params *params, int index, bool flag, vt_error *error) {
    vt_entry *entry = &params->entries[index];
    if (flag && entry->dtype == VT_S8) {
        return vt_fail(error, VT_VALUE, "%.100s is quantised and cannot be trained", entry->name);
    }
    entry->requires_grad = flag;
    return VT_OK;
}

bool vt_params_alike(const vt_params *a, const vt_params *b) {
    if (a->count != b->count || a->dtype != b->dtype) return false;
    for (int i = 0; i < a->count; i++) {
        if (a->entries[i].elements != b->entries[i].elements) return false;
        if (a->entries[i].dtype != b->entries[i].dtype) return false;
    }
    return true;
}

/* ---------------------------------------------------------------- values and gradients */

void *vt_params_values(vt_params *params) {
    return vt_params_stay(params, NULL) == VT_OK ? params->data : NULL;
}

void *vt_params_gradients(const vt_params *params, int index) {
    return params->entries[index].has_gradient ? params->gradient : NULL;
}

void *vt_params_at(const vt_params *params, void *buffer, int index) {
    return (char *)buffer + params->entries[index].offset;
}

static void write_entry(const vt_params *params, void *buffer, int index, const void *values) {
    const vt_entry *entry = &params->entries[index];
    memcpy(vt_params_at(params, buffer, index), values,
           (size_t)entry->elements * vt_dtype_size(entry->dtype));
}

static void write_value(vt_params *params, int index, const void *values) {
    vt_lock_alone(&params->packing);
    write_entry(params, params->data, index, values);
    params->entries[index].source = NULL; /* no byte of it rests any more */
    vt_unlock(&params->packing);
    params->version++;
}

void vt_params_write(vt_params *params, void *buffer, int index, const void *values) {
    vt_lock_alone(&params->values);
    if (buffer == NULL || buffer == params->data) {
        write_value(params, index, values);
    } else {
        write_entry(params, buffer, index, values);
    }
    vt_unlock(&params->values);
}

vt_status vt_params_make_gradient(vt_params *params, vt_error *error) {
    void *gradient = params->gradient;
    if (gradient != NULL) return VT_OK;
    VT_TRY(vt_params_stay(params, error)); /* who has gradients reads and writes values, too */
    VT_TRY(vt_params_buffer(params, &gradient, error));
    params->gradient = gradient;
    return VT_OK;
}

static vt_status write_gradient(vt_params *params, int index, const void *values, vt_error *error) {
    vt_entry *entry = &params->entries[index];
    if (values != NULL) {
        if (entry->dtype == VT_S8) {
            return vt_fail(error, VT_VALUE, "%.100s is quantised and has no gradient", entry->name);
        }
        VT_TRY(vt_params_make_gradient(params, error));
        memcpy(vt_params_at(params, params->gradient, index), values,
               (size_t)entry->elements * vt_dtype_size(entry->dtype));
    }
    entry->has_gradient = values != NULL;
    return VT_OK;
}

vt_status vt_params_write_gradient(vt_params *params, int index, const void *values,
                                   vt_error *error) {
    vt_lock_alone(&params->gradients);
    const vt_status status = write_gradient(params, index, values, error);
    vt_unlock(&params->gradients);
    return status;
}

void vt_params_zero_gradients(vt_params *params) {
    vt_lock_alone(&params->gradients);
    for (int i = 0; i < params->count; i++) params->entries[i].has_gradient = false;
    vt_unlock(&params->gradients);
}

/* ---------------------------------------------------------------- passes over the gradients */

typedef struct pass {
    const vt_params *params;
    const bool *chosen;
    vt_chunk_body body;
    void *context;
} pass;

static int64_t chunks_of(const pass *p, int index) {
    const vt_entry *entry = &p->params->entries[index];
    const bool due = entry->has_gradient && (p->chosen == NULL || p->chosen[index]);
    return due ? vt_ceil_div(entry->elements, VT_CHUNK) : 0;
}

static void run_chunk(void *context, vt_worker worker) {
    const pass *p = context;
    int64_t within = worker.task;
    int index = 0;
    while (within >= chunks_of(p, index)) within -= chunks_of(p, index++);
    const int64_t first = within * VT_CHUNK, left = p->params->entries[index].elements - first;
    p->body(p->context, (vt_chunk){index, first, left < VT_CHUNK ? left : VT_CHUNK, worker.task});
}

int64_t vt_params_for_chunks(const vt_params *params, const bool *chosen, int threads,
                             vt_chunk_body body, void *context) {
    pass p = {params, chosen, body, context};
    int64_t chunks = 0;
    for (int i = 0; i < params->count; i++) chunks += chunks_of(&p, i);
    vt_parallel_for(chunks, threads, run_chunk, &p);
    return chunks;
}

typedef struct gradients {
    const vt_params *params;
    double factor;
} gradients;

static void scale_chunk(void *context, vt_chunk chunk) {
    const gradients *g = context;
    void *gradient = vt_chunk_at(g->params, g->params->gradient, chunk);
    vt_kernels_get(g->params->dtype)->scale_add(gradient, NULL, gradient, g->factor, chunk.count);
}

void vt_params_scale_gradients(vt_params *params, const bool *chosen, double factor, int threads) {
    gradients g = {params, factor};
    vt_lock_alone(&params->gradients);
    vt_params_for_chunks(params, chosen, threads, scale_chunk, &g);
    vt_unlock(&params->gradients);
}

static void square_chunk(void *context, vt_chunk chunk) {
    const vt_params *params = context;
    const void *gradient = vt_chunk_at(params, params->gradient, chunk);
    params->sums[0][chunk.index] =
        vt_kernels_get(params->dtype)->sum_of_squares(gradient, chunk.count);
}

double vt_params_gradient_norm(vt_params *params, const bool *chosen, int threads) {
    double sum = 0;
    vt_lock_alone(&params->gradients);
    const int64_t chunks = vt_params_for_chunks(params, chosen, threads, square_chunk, params);
    for (int64_t i = 0; i < chunks; i++) sum += params->sums[0][i];
    vt_unlock(&params->gradients);
    return sqrt(sum);
}
