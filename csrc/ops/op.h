/* What an operation is: a record of type vt_op. A file of this room holds one, or some that are
 * alike (attention.c, columns.c, elementwise.c, norm.c, pool.c, tokens.c); `vt_op_table` lists them
 * all. The checker, the planner and the executor know operations only through their records, and
 * Python reads the schema part of these.
 *
 * An operation works on tiles. Its output for one image is a matrix (rows, cols); the executor cuts
 * the rows into strips (or, for attention, the image into heads) and calls forward once per tile,
 * from any thread, in any order. So a tile may write only what it owns, and the bits of a result
 * depend on nothing but one image. How high a strip is, `strips` says; no row's bits depend on it.
 *
 *   forward     out  = f(in, param)                      tiles of out
 *   backward    din  = base + df/din (dout)              tiles of din
 *   accumulate  dparam (+)= sum over images df/dparam    panels of dparam, images in order
 */
#ifndef VT_OPS_OP_H
#define VT_OPS_OP_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kernels/kernels.h"
#include "linalg/tiles.h"
#include "vitc.h"

enum { VT_MAX_PRODUCTS = 6, VT_MAX_PACKS = 2 };

/* ---------------------------------------------------------------- shapes */

/* A value as a matrix: the last dimension is the columns, all others together the rows. */
static inline int64_t vt_shape_cols(const vt_shape *shape) { return shape->dim[shape->ndim - 1]; }
static inline int64_t vt_shape_rows(const vt_shape *shape) {
    return vt_shape_elements(shape) / vt_shape_cols(shape);
}

/* The shapes around a node, as its functions see them. */
typedef struct vt_signature {
    vt_node *node;
    vt_shape input[VT_MAX_INPUTS];
    vt_shape param[VT_MAX_PARAMS]; /* ndim 0 where left out */
} vt_signature;

/* ---------------------------------------------------------------- execution: what a tile sees */

/* What a plan computes with. */
typedef struct vt_arithmetic {
    vt_dtype dtype; /* of the values */
    bool backward;  /* what backward and accumulate need as well */
    bool bf16;      /* products of bfloat16, with sums in float, where an operation has them */
} vt_arithmetic;

/* The functions of an operation, as bits. */
enum { VT_IN_FORWARD = 1, VT_IN_BACKWARD = 2, VT_IN_ACCUMULATE = 4 };

/* Made once per node when a program is planned: the products it needs, for its sizes and dtype.
 * The planner decides the first two fields before it calls `open`. */
typedef struct vt_products {
    vt_cut strips; /* of the output */
    vt_cut blocks; /* of what `blocks` gives: blocks or panels */

    vt_tiles tiles[VT_MAX_PRODUCTS];
    unsigned runs_in[VT_MAX_PRODUCTS]; /* which functions run it */
    bool bf16;                         /* their operands are bfloat16 */
    size_t pack_bytes[VT_MAX_PACKS];   /* of params[0] in a packed layout; 0 = not packed */
    int pack_slot[VT_MAX_PACKS];       /* the product that it is packed for */
    size_t scratch_bytes;              /* per tile, a multiple of 64 */
    size_t operand_bytes;              /* of a strip, what `prepare` writes; a multiple of 64 */
    int64_t partial;                   /* elements that backward leaves per unit for `accumulate` */
    int64_t parts;                     /* tiles per image of an operation that is not row-wise */
    int64_t panels;                    /* tiles of `accumulate`, 0 = it has none */
} vt_products;

/* Packed weights of a node: for the forward product and for the gradient of its input. */
enum { VT_PACK_FORWARD, VT_PACK_BACKWARD };

typedef struct vt_tile {
    const vt_signature *signature;
    const vt_products *products;
    const vt_kernels *kernels;
    size_t element; /* bytes */

    int64_t images;    /* in this run */
    int64_t image;     /* which of them; `accumulate` loops over all */
    int64_t row, rows; /* the strip: rows of out (forward) or din (backward) */
    int64_t part;      /* the head, or the panel */
    /* Of an operation `by_columns`: the columns of out that are asked for. Usually all of them,
     * from 0 on. An operation with a product gets a range of them for all rows, and its pointers
     * are those of the first column; `then` is where the same thread will go on, as
     * vt_matmul_run_columns takes it. Any other one gets a range of a single row, and in and out
     * point to its beginning. */
    int64_t col, cols, then;

    /* A row-wise operation sees pointers to its strip. One that gathers, and one with parts, sees
     * its inputs (forward) or dout (backward) from the first row of the image; `accumulate` sees
     * everything from the first row of image 0, with the strides below, in bytes. */
    const void *in[VT_MAX_INPUTS];
    bool in_narrow[VT_MAX_INPUTS]; /* in bfloat16; only for an operation that reads it */
    void *out;
    bool out_narrow; /* likewise; only for an operation with parts */
    const void *dout;
    void *din[VT_MAX_INPUTS];        /* NULL where no gradient is asked for */
    const void *base[VT_MAX_INPUTS]; /* NULL: nothing to add */
    size_t in_stride[VT_MAX_INPUTS], dout_stride;

    const void *param[VT_MAX_PARAMS];
    void *dparam[VT_MAX_PARAMS];    /* NULL where frozen or absent */
    bool accumulate[VT_MAX_PARAMS]; /* dparam += instead of = */
    const void *packed[VT_MAX_PACKS];
    void *operand; /* of the whole strip: what `prepare` wrote */
    int64_t done;  /* rows of the strip above `row` */

    /* A backward step that leaves sums works on one unit of summation at a time (plan/tiling.h),
     * so that its bits do not follow the height of the strips. */
    void *partial;         /* backward: this unit's; accumulate: of unit 0 of image 0 */
    size_t partial_stride; /* bytes from image to image */
    int64_t units;         /* per image */

    void *scratch;
    vt_rng_key key;
    uint64_t first_image; /* the number of image 0 in the global batch */
} vt_tile;

typedef vt_status (*vt_tile_function)(const vt_tile *tile, vt_error *error);

typedef enum vt_space { VT_STRIPS, VT_PARTS } vt_space;

struct vt_op {
    const char *name;
    int inputs;
    vt_param_spec params[VT_MAX_PARAMS + 1]; /* ends with an empty one */
    vt_attribute_spec attributes[VT_MAX_ATTRIBUTES + 1];

    /* Check the shapes and attributes and set node->shape. */
    vt_status (*infer)(vt_signature *signature, vt_error *error);
    /* The matrix, as (rows, cols), that is worked through in blocks of rows within a tile: the
     * queries of attention against the keys, or the weight that `accumulate` cuts into panels.
     * NULL: there is none. */
    vt_shape (*blocks)(const vt_signature *signature);
    /* Open the products. What it opened is closed by the caller, also after an error. NULL: it
     * needs none. */
    vt_status (*open)(vt_products *products, const vt_signature *signature,
                      vt_arithmetic arithmetic, vt_error *error);
    /* Write the packed layout. NULL: what vt_tiles_pack makes of params[0]. */
    vt_status (*pack)(const vt_tile *tile, void *packed, vt_error *error);
    /* Bytes in front of params[0] in that layout. NULL: none. */
    size_t (*pack_front)(const vt_signature *signature);
    /* Multiply-adds of one image, times two. NULL: too few to count. */
    double (*flops)(const vt_signature *signature);

    vt_tile_function forward, backward, accumulate; /* backward NULL: not differentiable */
    /* What forward does with rows of its input before the product, once for all columns: writes
     * tile->operand from row tile->done on. NULL: nothing. */
    vt_tile_function prepare;
    /* Let the node compute its first `rows` rows only, though it is not row-wise. NULL: it cannot.
     */
    void (*narrow)(vt_node *node, int64_t rows);
    /* Of an operation that only passes on rows of its input, as `select`: the first of them.
     * Lowering leaves it out. NULL: it does more. */
    int64_t (*first_row)(const vt_node *node);
    /* Let the node do without the first `rows` rows of its input, whose draws are numbered by row.
     * NULL: nothing is numbered. */
    void (*skip_rows)(vt_node *node, int64_t rows);
    /* Let the node drop nothing: lowering for inference. NULL: it never does, or is
     * `training_only`. */
    void (*keep_all)(vt_node *node);

    vt_space space;
    bool by_columns;      /* forward may compute some columns of its output for themselves */
    bool gathers;         /* a strip reads other rows than its own */
    bool training_only;   /* the identity when no gradient is recorded */
    bool passes_gradient; /* backward is din = dout for each input: no step at all */
    bool cheap;           /* backward computes the output again instead of keeping it */
    bool in_place;        /* out may be an input; din may be dout */
    bool backward_reads_input;
    bool bilinear; /* what it reads in backward of one input is for the gradient of the other */
    bool params_read_input; /* accumulate does */
    /* Inputs may be kept in bfloat16 when products are: they are operands of products, which it
     * reads as they are (`reads_bf16`), or it gets a widened copy of its strip. */
    bool takes_bf16, reads_bf16;
    bool writes_bf16; /* heeds `out_narrow`: only for an operation with parts */
};

/* ---------------------------------------------------------------- shared by the operations */

static inline int64_t vt_ceil_div(int64_t a, int64_t b) { return (a + b - 1) / b; }

/* Elements behind a pointer, whatever their type. */
static inline void *vt_at(void *pointer, size_t element, int64_t index) {
    return (char *)pointer + (size_t)index * element;
}
static inline const void *vt_const_at(const void *pointer, size_t element, int64_t index) {
    return (const char *)pointer + (size_t)index * element;
}

/* All operations, ended by NULL. */
extern const vt_op *const vt_op_table[];

/* "(197, 768)" into text. */
const char *vt_shape_text(char text[VT_MAX_NAME], const vt_shape *shape);

/* infer() of operations whose output has the shape of each input. */
vt_status vt_infer_same(vt_signature *signature, vt_error *error);

/* VT_VALUE unless the input `index` is a matrix (rows, cols). */
vt_status vt_expect_matrix(const vt_signature *signature, int index, vt_error *error);

/* VT_VALUE unless the parameter `index` is left out (and optional) or has exactly `shape`. */
vt_status vt_expect_param(const vt_signature *signature, int index, vt_shape shape,
                          vt_error *error);

/* VT_VALUE unless params[0] is a weight (M, ...) with as many elements in a row as the input, which
 * is a matrix, has columns. */
vt_status vt_expect_weight(const vt_signature *signature, vt_error *error);

/* dparam (+)= the sums that backward left for `accumulate`: `count` elements from `offset` of each,
 * images and units in order. Nothing if the parameter is frozen or absent. */
void vt_sum_partials(const vt_tile *tile, int param, int64_t offset, int64_t count);

/* Row i of the strip of din = base + row `row` of dout, whose rows have `cols` elements; -1: only
 * base. */
void vt_pass_row(const vt_tile *tile, int64_t i, int64_t row, int64_t cols);

/* Open one product over tiles and raise products->scratch_bytes to what it needs. */
vt_status vt_products_open(vt_products *products, int slot, unsigned runs_in, vt_matmul_shape shape,
                           vt_cut cut, vt_error *error);

/* Close them all. */
void vt_products_close(vt_products *products);

#endif
