/* patch_drop: (P + N, D) -> (P + count, D): the first P rows and `count` of the others, drawn
 * without replacement for each image, in their order (Liu et al. 2022; timm PatchDropout). */
#include <string.h>

#include "ops/operations.h"

enum { PREFIX, COUNT, SITE };

static vt_status infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    const int64_t prefix = s->node->attributes[PREFIX].i, count = s->node->attributes[COUNT].i;
    const int64_t rows = s->input[0].dim[0];
    if (prefix < 0 || prefix >= rows || count < 1 || count > rows - prefix) {
        return vt_fail(error, VT_VALUE,
                       "%lld rows cannot be kept of those behind the first %lld "
                       "of %lld",
                       (long long)count, (long long)prefix, (long long)rows);
    }
    s->node->shape = (vt_shape){2, {prefix + count, s->input[0].dim[1]}};
    return VT_OK;
}

/* A walk over the rows of the input: which of them is kept, and as which row. */
typedef struct walk {
    const vt_tile *tile;
    uint32_t site, draw[4];
    int64_t prefix, rows, count;
    int64_t row, kept; /* the next row, and how many were kept so far */
} walk;

static walk start(const vt_tile *t) {
    const vt_node *node = t->signature->node;
    return (walk){.tile = t,
                  .site = vt_rng_site(node->attributes[SITE].name),
                  .prefix = node->attributes[PREFIX].i,
                  .rows = t->signature->input[0].dim[0],
                  .count = node->shape.dim[0]};
}

/* The row as which the next one is kept, or -1. Selection sampling (Knuth, The Art of Computer
 * Programming 2, 3.4.2, algorithm S): with probability (still needed) / (still to come). */
static int64_t next(walk *w) {
    const int64_t i = w->row++ - w->prefix;
    if (i < 0) return w->kept++;
    const uint64_t image = w->tile->first_image + (uint64_t)w->tile->image;
    if (i % 4 == 0) vt_rng_draw(w->draw, w->tile->key, image, w->site, (uint32_t)(i / 4));
    const double share = (double)(w->count - w->kept) / (double)(w->rows - w->prefix - i);
    return vt_rng_keep(w->draw[i % 4], share) ? w->kept++ : -1;
}

/* A row's fate depends on those of all rows before it, so an image is one part. */
static vt_status open(vt_products *products, const vt_signature *s, vt_arithmetic arithmetic,
                      vt_error *error) {
    (void)s, (void)arithmetic, (void)error;
    products->parts = 1;
    return VT_OK;
}

static vt_status forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = t->signature->node->shape.dim[1];
    for (walk w = start(t); w.kept < w.count;) {
        const void *x = vt_const_at(t->in[0], t->element, w.row * cols);
        const int64_t row = next(&w);
        if (row >= 0) memcpy(vt_at(t->out, t->element, row * cols), x, (size_t)cols * t->element);
    }
    return VT_OK;
}

static vt_status backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = t->signature->node->shape.dim[1];
    for (walk w = start(t); w.row < w.rows;) {
        const int64_t i = w.row;
        vt_pass_row(t, i, next(&w), cols);
    }
    return VT_OK;
}

const vt_op vt_op_patch_drop = {
    .name = "patch_drop",
    .inputs = 1,
    .attributes = {{"prefix", VT_ATTR_INT, false},
                   {"count", VT_ATTR_INT, false},
                   {"site", VT_ATTR_NAME, false}},
    .infer = infer,
    .open = open,
    .forward = forward,
    .backward = backward,
    .space = VT_PARTS,
};
