/* The parameters of one model: rows of (name, shape) over one flat, 64-byte aligned buffer in the
 * order of the state dict. Gradients, and buffers of an optimizer, have the same layout. */
#ifndef VT_PARAMS_PARAMS_H
#define VT_PARAMS_PARAMS_H

#include "base/lock.h"
#include "ops/op.h"

typedef struct vt_param_row {
    char *name;
    vt_shape shape;
    vt_dtype dtype; /* of the params, or VT_S8: such a row is never trained */
    size_t offset;  /* bytes from the start of a buffer; a multiple of 64 */
    int64_t elements;
    _Atomic bool requires_grad;
    _Atomic bool has_gradient; /* false: the gradient's bytes mean nothing yet */
} vt_param_row;

typedef struct vt_params {
    vt_dtype dtype;
    int count;
    vt_param_row *rows;
    size_t bytes; /* of one buffer */
    void *data;
    void *_Atomic gradient;   /* NULL until the first backward */
    _Atomic uint64_t version; /* rises with every write, so that packed copies are never stale */
    double *sums[2];          /* one per chunk of the rows: room for norms */

    /* Whoever takes both takes `values` first. Only what is atomic may be read without. */
    vt_lock values;    /* shared while `data` is read; alone while it or a buffer is written */
    vt_lock gradients; /* alone for the gradients, their flags, and `sums` */
} vt_params;

/* Copies names and shapes. All values are 0, all real rows require a gradient. int8: one flag per
 * row, or NULL. */
vt_status vt_params_open(vt_params **params, int count, const char *const *names,
                         const vt_shape *shapes, const bool *int8, vt_dtype dtype, vt_error *error);
void vt_params_close(vt_params *params); /* NULL is allowed */

/* The row's first element within a buffer of this layout. */
static inline void *vt_params_at(const vt_params *params, void *buffer, int row) {
    return (char *)buffer + params->rows[row].offset;
}

/* A zeroed buffer of this layout, to be freed with vt_free. */
vt_status vt_params_buffer(const vt_params *params, void **buffer, vt_error *error);

/* Overwrite one row of a buffer of this layout with `elements` values of the row's dtype; raises
 * the version if the buffer is the params' own `data`. */
void vt_params_write(vt_params *params, void *buffer, int row, const void *values);

/* Forget all gradients. Touches no memory. */
void vt_params_zero_gradients(vt_params *params);

/* Rows are processed in chunks of this many elements: small enough to balance threads, and a fixed
 * grid, so that sums do not depend on them. */
enum { VT_CHUNK = 1 << 16 };

typedef struct vt_chunk {
    int row;
    int64_t first, count; /* elements of the row */
    int64_t index;        /* among all chunks of a pass */
} vt_chunk;

/* Call body(context, chunk) for the chunks of all rows that have a gradient and are `chosen` (one
 * flag per row, or NULL: all), in parallel. Returns how many there are. The caller has the
 * gradients alone. */
typedef void (*vt_chunk_body)(void *context, vt_chunk chunk);
int64_t vt_params_for_chunks(const vt_params *params, const bool *chosen, int threads,
                             vt_chunk_body body, void *context);

/* The first element of a chunk within a buffer of the params' layout. */
static inline void *vt_chunk_at(const vt_params *params, void *buffer, vt_chunk chunk) {
    return vt_at(vt_params_at(params, buffer, chunk.row), vt_dtype_size(params->dtype),
                 chunk.first);
}

/* Multiply the chosen gradients. */
void vt_params_scale_gradients(vt_params *params, const bool *chosen, double factor, int threads);

/* The L2 norm over the chosen gradients; the same bits for any number of threads. */
double vt_params_gradient_norm(vt_params *params, const bool *chosen, int threads);

#endif
