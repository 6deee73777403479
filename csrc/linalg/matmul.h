/* Matrix products C = A B + bias on one thread: oneDNN where it has a good kernel, else plain C.
 *
 * The only place that knows oneDNN. vitc splits the work over threads itself (base/parallel.h) and
 * calls a product from inside that loop, on tiles; so the bits do not depend on the thread count.
 *
 * A vt_matmul is immutable once opened and may be run by any number of threads at once; each brings
 * its own scratch. Opening is slow (oneDNN generates code) and cached by shape; it happens when a
 * program is planned, never while it runs. */
#ifndef VT_LINALG_MATMUL_H
#define VT_LINALG_MATMUL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/status.h"

/* What a and b hold. */
typedef enum vt_operands {
    VT_OPERANDS_REAL, /* the dtype of the shape, as bias and c */
    VT_OPERANDS_BF16, /* bfloat16; bias, c and the sums are float32. vt_matmul_pack takes float32 */
    VT_OPERANDS_INT8, /* a uint8, b int8, c int32; no bias, no accumulate. Exact: nothing saturates
                       */
    VT_OPERANDS_SCALED, /* a uint8, b int8, c float32 = scale[n] * the exact sum + bias[n]: `bias`,
                         * without which there is none, holds the n scales and then the n numbers */
    VT_OPERANDS_COUNT
} vt_operands;

/* C (m, n) = A (m, k) B (k, n). Compared field by field; zero-initialise it. */
typedef struct vt_matmul_shape {
    vt_dtype dtype; /* VT_F32 unless the operands are real */
    vt_operands operands;
    int64_t m, n, k; /* each >= 1 */
    int64_t lda;     /* elements from one row of the stored a to the next */
    int64_t ldb;
    int64_t ldc;
    bool a_transposed; /* a is stored as (k, m) */
    bool b_transposed; /* b is stored as (n, k): the weight of a linear layer in a checkpoint */
    bool bias;         /* add bias[n] to each row */
    bool accumulate;   /* C += instead of C = */
    bool pack_b;       /* b is handed to vt_matmul_run packed, if vt_matmul_packed_bytes is not 0 */
} vt_matmul_shape;

typedef struct vt_matmul vt_matmul;

enum { VT_PANEL_COLUMNS = 32 };

/* A shared handle, to be given back with vt_matmul_close. VT_VALUE for sizes < 1 or leading
 * dimensions that are too short; VT_MEMORY. */
vt_status vt_matmul_open(vt_matmul **matmul, const vt_matmul_shape *shape, vt_error *error);
void vt_matmul_close(vt_matmul *matmul); /* NULL is allowed */

/* Bytes of scratch that one call needs: a multiple of 64, may be 0. */
size_t vt_matmul_scratch_bytes(const vt_matmul *matmul);

/* Bytes of b in its packed layout, a multiple of 64, or 0 if packing brings nothing here and b is
 * always given plain. The layout depends only on (dtype, n, k, ldb, b_transposed): products that
 * differ in m share one packed b. */
size_t vt_matmul_packed_bytes(const vt_matmul *matmul);

/* Who decides the packed layout: of products with the same packer, operands, n, k, ldb and
 * b_transposed it is the same. */
const void *vt_matmul_packer(const vt_matmul *matmul);

/* Write the packed layout of the plain b. Only if vt_matmul_packed_bytes is not 0. */
vt_status vt_matmul_pack(const vt_matmul *matmul, void *packed, const void *b, vt_error *error);

/* Write the plain b from a packed one, which is exact where packing was. VT_VALUE where nothing
 * does. */
vt_status vt_matmul_unpack(const vt_matmul *matmul, void *b, const void *packed, vt_error *error);

/* The same handle for one more user, to be closed on its own. */
vt_matmul *vt_matmul_share(vt_matmul *matmul);

/* c = a b + bias. bias is read only if the shape has one; scratch is 64-byte aligned and private to
 * this call. Never allocates once a thread has run this matmul before. */
vt_status vt_matmul_run(const vt_matmul *matmul, void *c, const void *a, const void *b,
                        const void *bias, void *scratch, vt_error *error);

/* Columns of c may be computed for themselves: VT_PANEL_COLUMNS, of which a range is a multiple; or
 * 0 if they may not. */
int64_t vt_matmul_columns(const vt_matmul *matmul);

/* vt_matmul_run for `count` columns from `first` on, with the same bits; the pointers are those of
 * the whole product. What b has for the columns from `then` on, if that is below n, comes into the
 * cache meanwhile, for the next call. Only if vt_matmul_columns is not 0. */
vt_status vt_matmul_run_columns(const vt_matmul *matmul, int64_t first, int64_t count, int64_t then,
                                void *c, const void *a, const void *b, const void *bias,
                                void *scratch, vt_error *error);

/* Whether a row of c has the same bits whatever m is, and wherever in c it is. */
bool vt_matmul_rows_alike(const vt_matmul *matmul);

/* Where row `row` of c, and what makes it in a, begin. */
void *vt_matmul_c_row(const vt_matmul *matmul, void *c, int64_t row);
const void *vt_matmul_a_row(const vt_matmul *matmul, const void *a, int64_t row);

/* Which implementation runs: "plain", or oneDNN's own name, e.g. "brg:avx512_core". */
const char *vt_matmul_implementation(const vt_matmul *matmul);

/* Open handles in the cache, for tests that look for leaks and for unbounded growth. */
int64_t vt_matmul_cache_size(void);

#endif
