/* attention: softmax(q k^T / sqrt(e)) v for each head (Vaswani et al. 2017; timm Attention).
 *
 * qkv is (N, 3 C): columns q | k | v, each head-major, C = heads x d. One tile is one head of one
 * image. It copies its q, k, v into dense matrices and works through the queries in blocks, so that
 * the (block, N) probabilities stay in the second-level cache and no (heads, N, N) array exists.
 * Backward computes the probabilities again: only qkv is kept.
 *
 * `maps` > 1: q and k of a head are that many pieces of e = d / maps columns, each with a softmax
 * of its own over the same v; the results are side by side, (N, maps x C) head-major
 * (differential attention takes their difference). `queries` > 0: only the first rows ask, and the
 * output has as many rows (a narrowed program). `causal` = 1: a query sees the keys up to its own.
 * `rate` > 0, in training: each probability is zeroed with it, and else divided by 1 - rate, before
 * it weighs v (torch scaled_dot_product_attention, dropout_p). The draw of a probability is its own
 * whatever the tiles: that of its number among all of the image, (heads, maps, N, N).
 *
 * masked_attention: a second value, (N, N) for all heads or (heads x N, N), is added to the scaled
 * scores; it gets no gradient.
 *
 * biased_attention: a second value is added to the scaled scores of each head by how far query and
 * key are apart on a grid (h, w), which is behind at most one other token: a table (R, heads) with
 * row (dy + h - 1) (2 w - 1) + dx + w - 1 for a query dy below and dx right of the key; then, if
 * there are three more rows, those for the token asking patches, for patches asking it, and for
 * itself (Bao et al. 2022; timm gen_relative_position_index).
 *
 * cross_attention: the queries are another value, q (M, C) and kv (N, 2 C): columns k | v. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "ops/distances.h"
#include "ops/operations.h"

enum { HEADS, MAPS, QUERIES, CAUSAL };
enum { MASK = 1 }; /* the input of masked_attention */
/* Of biased_attention: its table, and two attributes in place of CAUSAL. */
enum { BIAS = 1, HEIGHT = QUERIES + 1, WIDTH };

/* The products, over blocks of queries. */
enum {
    SCORES,    /* s = q k^T       (block, N) */
    RESULT,    /* o = p v         (block, d) */
    D_SCORES,  /* dp = do v^T     (block, N) */
    D_QUERIES, /* dq = ds k       (block, e) */
    D_KEYS,    /* dk += ds^T q    (N, e) */
    D_VALUES   /* dv += p^T do    (N, d) */
};

typedef struct sizes {
    int64_t tokens;  /* keys and values */
    int64_t queries; /* rows of the output */
    int64_t rows;    /* of q, of which the first `queries` ask */
    int64_t heads, maps;
    int64_t head_size; /* d, of v and of the result */
    int64_t key_size;  /* e, of q and k */
    int64_t channels;  /* C */
    int64_t block;     /* queries at a time; 0 before it is decided */
    int64_t ld;        /* from one row of probabilities to the next: whole cache lines */
    int64_t biases;    /* R; 0 without a table */
    double rate;       /* of dropout */
} sizes;

/* Of q, k and v in the inputs: the operation with two has q in a separate value. */
typedef struct view {
    int input;
    int64_t first, width; /* the first column, in rows of this width */
    int64_t rows, cols;
} view;

static bool crosses(const vt_signature *s) { return s->node->op == &vt_op_cross_attention; }
static bool is_masked(const vt_signature *s) { return s->node->op == &vt_op_masked_attention; }
static bool is_causal(const vt_signature *s) {
    return s->node->op == &vt_op_attention && s->node->attributes[CAUSAL].i == 1;
}
/* Of those with dropout, the attribute `rate`, behind which `site` is; of others -1. */
static int rate_of(const vt_op *op) {
    if (op == &vt_op_attention) return CAUSAL + 1;
    if (op == &vt_op_masked_attention) return QUERIES + 1;
    return op == &vt_op_biased_attention ? WIDTH + 1 : -1;
}

static bool is_biased(const vt_signature *s) {
    return s->node->op == &vt_op_biased_attention || s->node->op == &vt_op_biased_attention_probs;
}

static sizes sizes_of(const vt_signature *s, const vt_products *products) {
    const vt_attribute *attributes = s->node->attributes;
    sizes z = {.heads = attributes[HEADS].i, .rows = s->input[0].dim[0]};
    z.tokens = s->input[crosses(s) ? 1 : 0].dim[0];
    z.channels = vt_shape_cols(&s->input[0]) / (crosses(s) ? 1 : 3);
    z.maps = attributes[MAPS].i > 1 ? attributes[MAPS].i : 1;
    z.head_size = z.channels / z.heads;
    z.key_size = z.head_size / z.maps;
    z.queries = attributes[QUERIES].i > 0 ? attributes[QUERIES].i : z.rows;
    z.block = products == NULL ? 0 : products->blocks.tile;
    z.ld = vt_ceil_div(z.tokens, 16) * 16;
    z.biases = is_biased(s) ? s->input[BIAS].dim[0] : 0;
    z.rate = rate_of(s->node->op) < 0 ? 0 : attributes[rate_of(s->node->op)].f;
    return z;
}

static vt_status check_heads(const vt_signature *s, int64_t channels, vt_error *error) {
    const int64_t heads = s->node->attributes[HEADS].i, maps = s->node->attributes[MAPS].i;
    if (heads < 1 || channels < 1 || channels % heads != 0) {
        return vt_fail(error, VT_VALUE,
                       "%lld columns of q, k and v cannot be split into %lld heads",
                       (long long)vt_shape_cols(&s->input[0]), (long long)heads);
    }
    if (maps < 0 || (maps > 1 && channels / heads % maps != 0)) {
        return vt_fail(error, VT_VALUE, "heads of %lld columns cannot be split into %lld maps",
                       (long long)(channels / heads), (long long)maps);
    }
    return VT_OK;
}

static vt_status check(const vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    const int64_t cols = vt_shape_cols(&s->input[0]), queries = s->node->attributes[QUERIES].i;
    VT_TRY(check_heads(s, cols % 3 == 0 ? cols / 3 : 0, error));
    if (queries < 0 || queries > s->input[0].dim[0]) {
        return vt_fail(error, VT_VALUE, "queries is %lld, expected 0 to %lld", (long long)queries,
                       (long long)s->input[0].dim[0]);
    }
    const double rate = sizes_of(s, NULL).rate;
    if (!(rate >= 0 && rate <= 1)) {
        return vt_fail(error, VT_VALUE, "rate is %g, expected a number from 0 to 1", rate);
    }
    return VT_OK;
}

static void set_shape(const vt_signature *s) {
    const sizes z = sizes_of(s, NULL);
    s->node->shape = (vt_shape){2, {z.queries, z.maps * z.channels}};
}

static vt_status infer(vt_signature *s, vt_error *error) {
    VT_TRY(check(s, error));
    const int64_t causal = s->node->attributes[CAUSAL].i;
    if (s->node->op == &vt_op_attention && causal != 0 && causal != 1) {
        return vt_fail(error, VT_VALUE, "causal is %lld, expected 0 or 1", (long long)causal);
    }
    set_shape(s);
    return VT_OK;
}

static double flops(const vt_signature *s) {
    const sizes z = sizes_of(s, NULL);
    const double width = (double)(z.heads * z.maps * (z.key_size + z.head_size));
    return 2.0 * (double)z.queries * (double)z.tokens * width;
}

/* ---------------------------------------------------------------- products and scratch */

/* (block, N) = a b^T, a (block, cols), b (N, cols) */
static vt_status open_scores(vt_products *products, int slot, unsigned runs_in,
                             vt_matmul_shape shape, sizes z, int64_t cols, vt_error *error) {
    shape.n = z.tokens, shape.k = cols;
    shape.lda = shape.ldb = cols;
    shape.ldc = z.ld;
    shape.b_transposed = true;
    return vt_products_open(products, slot, runs_in, shape, products->blocks, error);
}

/* (block, cols) = a b, a (block, N), b (N, cols) */
static vt_status open_result(vt_products *products, int slot, unsigned runs_in,
                             vt_matmul_shape shape, sizes z, int64_t cols, vt_error *error) {
    shape.n = cols, shape.k = z.tokens;
    shape.lda = z.ld;
    shape.ldb = shape.ldc = cols;
    return vt_products_open(products, slot, runs_in, shape, products->blocks, error);
}

/* (N, cols) += a^T b, a (block, N), b (block, cols) */
static vt_status open_sum(vt_products *products, int slot, vt_matmul_shape shape, sizes z,
                          int64_t cols, vt_error *error) {
    shape.m = z.tokens, shape.n = cols;
    shape.lda = z.ld;
    shape.ldb = shape.ldc = cols;
    shape.a_transposed = shape.accumulate = true;
    vt_cut cut = products->blocks;
    cut.along = VT_CUT_K;
    return vt_products_open(products, slot, VT_IN_BACKWARD, shape, cut, error);
}

static vt_status open_backward(vt_products *products, vt_matmul_shape shape, sizes z,
                               vt_error *error) {
    VT_TRY(open_scores(products, D_SCORES, VT_IN_BACKWARD, shape, z, z.head_size, error));
    VT_TRY(open_result(products, D_QUERIES, VT_IN_BACKWARD, shape, z, z.key_size, error));
    VT_TRY(open_sum(products, D_KEYS, shape, z, z.key_size, error));
    return open_sum(products, D_VALUES, shape, z, z.head_size, error);
}

/* What one head needs: dense (rows, d) matrices and (block, ld) probabilities. */
typedef struct head {
    char *q, *k, *v, *o, *dq, *dk, *dv; /* o is do in backward */
    char *p, *dp;
    char *bias, *dbias; /* of this head, the rows of the grid in reverse */
    char *rounded;      /* p or dp in bfloat16 */
    char *product;      /* scratch of the products */
} head;

static size_t layout(head *h, char *start, sizes z, size_t element, bool bf16) {
    const int64_t rows = z.tokens > z.rows ? z.tokens : z.rows;
    const size_t matrix = vt_align((size_t)(rows * z.head_size) * element);
    const size_t scores = vt_align((size_t)(z.block * z.ld) * element);
    char **const matrices[] = {&h->q, &h->k, &h->v, &h->o, &h->dq, &h->dk, &h->dv};
    size_t used = 0;
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++, used += matrix) {
        *matrices[i] = start + used;
    }
    const size_t table = vt_align((size_t)z.biases * element);
    h->bias = start + used;
    h->dbias = start + used + table;
    used += 2 * table;
    h->p = start + used;
    h->dp = start + used + scores;
    h->rounded = start + used + 2 * scores;
    used += 2 * scores + (bf16 ? vt_align((size_t)(z.block * z.ld) * sizeof(uint16_t)) : 0);
    h->product = start + used;
    return used;
}

/* The probabilities: a block of them stays in the second-level cache. */
static vt_shape blocks(const vt_signature *s) {
    const sizes z = sizes_of(s, NULL);
    return (vt_shape){2, {z.queries, z.tokens}};
}

static vt_status open(vt_products *products, const vt_signature *s, vt_arithmetic arithmetic,
                      vt_error *error) {
    const sizes z = sizes_of(s, products);
    products->bf16 = arithmetic.bf16;
    const vt_matmul_shape shape = {
        .dtype = arithmetic.dtype,
        .operands = arithmetic.bf16 ? VT_OPERANDS_BF16 : VT_OPERANDS_REAL,
    };
    VT_TRY(
        open_scores(products, SCORES, VT_IN_FORWARD | VT_IN_BACKWARD, shape, z, z.key_size, error));
    VT_TRY(open_result(products, RESULT, VT_IN_FORWARD, shape, z, z.head_size, error));
    if (arithmetic.backward) VT_TRY(open_backward(products, shape, z, error));
    head unused;
    char nowhere[1];
    products->scratch_bytes +=
        layout(&unused, nowhere, z, vt_dtype_size(arithmetic.dtype), products->bf16);
    products->parts = z.heads;
    return VT_OK;
}

/* ---------------------------------------------------------------- moving a head in and out */

enum { Q, K, V };

/* The view of `which` of q, k, v of the tile's head and of this map. */
static view view_of(const vt_tile *t, sizes z, int which, int64_t map) {
    const bool cross = crosses(t->signature);
    const int before = cross && which != Q ? which - 1 : which; /* of q, k, v in its input */
    view p = {.input = cross && which != Q ? 1 : 0};
    p.rows = which == Q ? z.rows : z.tokens;
    p.cols = which == V ? z.head_size : z.key_size;
    p.width = vt_shape_cols(&t->signature->input[p.input]);
    p.first = before * z.channels + t->part * z.head_size + (which == V ? 0 : map * z.key_size);
    return p;
}

/* Bytes of an element of q, k, v and of the probabilities as the products take them. */
static size_t operand_size(const vt_tile *t) {
    return t->products->bf16 ? sizeof(uint16_t) : t->element;
}

/* dense (rows, d) = columns [first, first + d) of source (rows, width), as the products take it;
 * narrow: the source is rounded already. */
static void gather(const vt_tile *t, void *dense, const void *source, bool narrow, int64_t first,
                   int64_t width, int64_t rows, int64_t d) {
    if (t->products->bf16 && !narrow) {
        t->kernels->to_bf16(dense, vt_const_at(source, t->element, first), rows, d, width);
        return;
    }
    const size_t element = operand_size(t);
    for (int64_t r = 0; r < rows; r++) {
        memcpy(vt_at(dense, element, r * d), vt_const_at(source, element, r * width + first),
               (size_t)d * element);
    }
}

/* One of q, k, v into its dense matrix; of q only the rows that ask. */
static void gather_one(const vt_tile *t, void *dense, sizes z, int which, int64_t map) {
    const view p = view_of(t, z, which, map);
    const int64_t rows = which == Q ? z.queries : p.rows;
    gather(t, dense, t->in[p.input], t->in_narrow[p.input], p.first, p.width, rows, p.cols);
}

/* (rows, N) as the products take it. */
static const void *operand(const vt_tile *t, const head *h, sizes z, const void *x, int64_t rows) {
    if (!t->products->bf16) return x;
    t->kernels->to_bf16((uint16_t *)(void *)h->rounded, x, rows, z.ld, z.ld);
    return h->rounded;
}

/* One of the products for this many queries. */
static vt_status multiply(const vt_tile *t, const head *h, int slot, int64_t queries, void *c,
                          const void *a, const void *b, vt_error *error) {
    return vt_tiles_run(&t->products->tiles[slot], queries, c, a, b, NULL, h->product, error);
}

static double score_scale(sizes z) { return 1.0 / sqrt((double)z.key_size); }

/* p (rows, N) becomes the softmax of its scaled rows up to the key that each query is. */
static void causal_softmax(const vt_tile *t, const head *h, sizes z, int64_t first, int64_t rows) {
    for (int64_t r = 0; r < rows; r++) {
        const int64_t seen = first + r + 1;
        void *p = vt_at(h->p, t->element, r * z.ld);
        t->kernels->softmax_forward(p, score_scale(z), 1, seen, z.ld);
        memset(vt_at(p, t->element, seen), 0, (size_t)(z.tokens - seen) * t->element);
    }
}

/* p (rows, N) becomes the softmax of its scaled rows plus those of the mask. */
static void masked_softmax(const vt_tile *t, const head *h, sizes z, int64_t first, int64_t rows) {
    const int64_t own = t->signature->input[MASK].dim[0] > z.tokens ? t->part : 0;
    const void *mask = vt_const_at(t->in[MASK], t->element, (own * z.tokens + first) * z.tokens);
    for (int64_t r = 0; r < rows; r++) {
        void *p = vt_at(h->p, t->element, r * z.ld);
        t->kernels->scale_add(p, vt_const_at(mask, t->element, r * z.tokens), p, score_scale(z),
                              z.tokens);
    }
    t->kernels->softmax_forward(h->p, 1.0, rows, z.tokens, z.ld);
}

/* ---------------------------------------------------------------- a bias by distance */

static vt_distances distances_of(const vt_tile *t, const head *h, sizes z) {
    const vt_attribute *attributes = t->signature->node->attributes;
    vt_distances d = {.kernels = t->kernels, .element = t->element, .bias = h->bias};
    d.dbias = h->dbias;
    d.tokens = z.tokens, d.rows = z.biases, d.heads = z.heads;
    d.height = attributes[HEIGHT].i, d.width = attributes[WIDTH].i;
    d.scale = score_scale(z);
    return d;
}

static void gather_bias(const vt_tile *t, const head *h, sizes z) {
    if (z.biases == 0) return;
    const vt_distances d = distances_of(t, h, z);
    vt_distances_gather(&d, t->in[BIAS], t->part);
}

/* p (rows, N) becomes the softmax of its scaled rows plus the biases. */
static void biased_softmax(const vt_tile *t, const head *h, sizes z, int64_t first, int64_t rows) {
    const vt_distances d = distances_of(t, h, z);
    for (int64_t r = 0; r < rows; r++) {
        vt_distances_add(&d, first + r, vt_at(h->p, t->element, r * z.ld));
    }
    t->kernels->softmax_forward(h->p, 1.0, rows, z.tokens, z.ld);
}

static void bias_backward(const vt_tile *t, const head *h, sizes z, int64_t first, int64_t rows) {
    if (z.biases == 0 || t->din[BIAS] == NULL) return;
    const vt_distances d = distances_of(t, h, z);
    for (int64_t r = 0; r < rows; r++) {
        vt_distances_backward(&d, first + r, vt_const_at(h->dp, t->element, r * z.ld));
    }
}

static void scatter_bias(const vt_tile *t, const head *h, sizes z) {
    if (z.biases == 0 || t->din[BIAS] == NULL) return;
    const vt_distances d = distances_of(t, h, z);
    vt_distances_scatter(&d, t->din[BIAS], t->base[BIAS], t->part);
}

/* p (rows, N) = softmax(q[first:] k^T / sqrt(e)) */
static vt_status probabilities(const vt_tile *t, const head *h, sizes z, int64_t first,
                               int64_t rows, vt_error *error) {
    const void *q = vt_at(h->q, operand_size(t), first * z.key_size);
    VT_TRY(multiply(t, h, SCORES, rows, h->p, q, h->k, error));
    if (is_causal(t->signature)) {
        causal_softmax(t, h, z, first, rows);
    } else if (is_biased(t->signature)) {
        biased_softmax(t, h, z, first, rows);
    } else if (is_masked(t->signature)) {
        masked_softmax(t, h, z, first, rows);
    } else {
        t->kernels->softmax_forward(h->p, score_scale(z), rows, z.tokens, z.ld);
    }
    return VT_OK;
}

/* ---------------------------------------------------------------- dropout */

/* to (rows, N) = from with some of the probabilities zeroed; it is linear, and its own backward. */
static void drop(const vt_tile *t, sizes z, int64_t map, int64_t first, int64_t rows, void *to,
                 const void *from) {
    const vt_node *node = t->signature->node;
    vt_dropout mask = {.key = t->key, .keep = 1.0 - z.rate};
    mask.image = t->first_image + (uint64_t)t->image;
    mask.site = vt_rng_site(node->attributes[rate_of(node->op) + 1].name);
    for (int64_t r = 0; r < rows; r++) {
        const int64_t query = (t->part * z.maps + map) * z.tokens + first + r;
        mask.offset = query * z.tokens;
        t->kernels->dropout(vt_at(to, t->element, r * z.ld), NULL,
                            vt_const_at(from, t->element, r * z.ld), &mask, z.tokens);
    }
}

static void keep_all(vt_node *node) { node->attributes[rate_of(node->op)].f = 0; }

static int64_t block_rows(sizes z, int64_t first) {
    return z.queries - first < z.block ? z.queries - first : z.block;
}

/* The first column of the tile's head and of this map in a row of the output. */
static int64_t output_column(const vt_tile *t, sizes z, int64_t map) {
    return (t->part * z.maps + map) * z.head_size;
}

/* ---------------------------------------------------------------- forward */

/* o (queries, d) = p v, block by block */
static vt_status forward_map(const vt_tile *t, const head *h, sizes z, int64_t map,
                             vt_error *error) {
    for (int64_t first = 0; first < z.queries; first += z.block) {
        const int64_t rows = block_rows(z, first);
        VT_TRY(probabilities(t, h, z, first, rows, error));
        if (z.rate > 0) drop(t, z, map, first, rows, h->p, h->p);
        void *o = vt_at(h->o, t->element, first * z.head_size);
        const void *p = operand(t, h, z, h->p, rows);
        VT_TRY(multiply(t, h, RESULT, rows, o, p, h->v, error));
    }
    return VT_OK;
}

/* Elements `to` and following of the output. */
static void put_row(const vt_tile *t, int64_t to, const void *row, int64_t count) {
    if (t->out_narrow) {
        t->kernels->to_bf16(vt_at(t->out, sizeof(uint16_t), to), row, 1, count, count);
    } else {
        memcpy(vt_at(t->out, t->element, to), row, (size_t)count * t->element);
    }
}

static vt_status forward(const vt_tile *t, vt_error *error) {
    const sizes z = sizes_of(t->signature, t->products);
    const int64_t width = z.maps * z.channels;
    head h;
    layout(&h, t->scratch, z, t->element, t->products->bf16);
    gather_one(t, h.v, z, V, 0);
    gather_bias(t, &h, z);
    for (int64_t map = 0; map < z.maps; map++) {
        gather_one(t, h.q, z, Q, map);
        gather_one(t, h.k, z, K, map);
        VT_TRY(forward_map(t, &h, z, map, error));
        for (int64_t r = 0; r < z.queries; r++) {
            const int64_t to = r * width + output_column(t, z, map);
            put_row(t, to, vt_at(h.o, t->element, r * z.head_size), z.head_size);
        }
    }
    return VT_OK;
}

/* ---------------------------------------------------------------- backward */

/* o = p v, p = softmax(s), s = q k^T / sqrt(e):
 * dv = p^T do; dp = do v^T; ds = p (dp - rowsum(p dp)) / sqrt(e); dq = ds k; dk = ds^T q
 * With dropout drop(p) stands for p in o and dv, and drop(dp) for dp. */
static vt_status backward_block(const vt_tile *t, const head *h, sizes z, int64_t map,
                                int64_t first, vt_error *error) {
    const int64_t rows = block_rows(z, first);
    const void *q = vt_at(h->q, operand_size(t), first * z.key_size);
    const void *o = vt_at(h->o, operand_size(t), first * z.head_size);
    void *dq = vt_at(h->dq, t->element, first * z.key_size);
    VT_TRY(probabilities(t, h, z, first, rows, error));
    if (z.rate > 0) drop(t, z, map, first, rows, h->dp, h->p); /* dp is not there yet */
    const void *p = operand(t, h, z, z.rate > 0 ? h->dp : h->p, rows);
    VT_TRY(multiply(t, h, D_VALUES, rows, h->dv, p, o, error));
    VT_TRY(multiply(t, h, D_SCORES, rows, h->dp, o, h->v, error));
    if (z.rate > 0) drop(t, z, map, first, rows, h->dp, h->dp);
    t->kernels->softmax_backward(h->dp, h->p, score_scale(z), rows, z.tokens, z.ld);
    bias_backward(t, h, z, first, rows);
    const void *dp = operand(t, h, z, h->dp, rows);
    VT_TRY(multiply(t, h, D_QUERIES, rows, dq, dp, h->k, error));
    return multiply(t, h, D_KEYS, rows, h->dk, dp, q, error);
}

/* The columns of one of q, k, v: din = base + dense */
static void scatter_one(const vt_tile *t, const void *dense, sizes z, int which, int64_t map) {
    const view p = view_of(t, z, which, map);
    if (t->din[p.input] == NULL) return;
    for (int64_t r = 0; r < p.rows; r++) {
        const int64_t at = r * p.width + p.first;
        const void *base = t->base[p.input];
        if (base != NULL) base = vt_const_at(base, t->element, at);
        t->kernels->scale_add(vt_at(t->din[p.input], t->element, at), base,
                              vt_const_at(dense, t->element, r * p.cols), 1.0, p.cols);
    }
}

static vt_status backward_map(const vt_tile *t, const head *h, sizes z, int64_t map,
                              vt_error *error) {
    gather_one(t, h->q, z, Q, map);
    gather_one(t, h->k, z, K, map);
    gather(t, h->o, t->dout, false, output_column(t, z, map), z.maps * z.channels, z.queries,
           z.head_size);
    memset(h->dq, 0, (size_t)(z.rows * z.key_size) * t->element); /* rows that asked nothing */
    memset(h->dk, 0, (size_t)(z.tokens * z.key_size) * t->element);
    for (int64_t first = 0; first < z.queries; first += z.block) {
        VT_TRY(backward_block(t, h, z, map, first, error));
    }
    scatter_one(t, h->dq, z, Q, map);
    scatter_one(t, h->dk, z, K, map);
    return VT_OK;
}

static vt_status backward(const vt_tile *t, vt_error *error) {
    const sizes z = sizes_of(t->signature, t->products);
    head h;
    layout(&h, t->scratch, z, t->element, t->products->bf16);
    gather_one(t, h.v, z, V, 0);
    gather_bias(t, &h, z);
    memset(h.dbias, 0, (size_t)z.biases * t->element);
    memset(h.dv, 0, (size_t)(z.tokens * z.head_size) * t->element);
    for (int64_t map = 0; map < z.maps; map++) VT_TRY(backward_map(t, &h, z, map, error));
    scatter_one(t, h.dv, z, V, 0);
    scatter_bias(t, &h, z);
    return VT_OK;
}

static void narrow(vt_node *node, int64_t rows) { node->attributes[QUERIES].i = rows; }

const vt_op vt_op_attention = {
    .name = "attention",
    .inputs = 1,
    .attributes = {{"heads", VT_ATTR_INT, false},
                   {"maps", VT_ATTR_INT, true},
                   {"queries", VT_ATTR_INT, true},
                   {"causal", VT_ATTR_INT, true},
                   {"rate", VT_ATTR_FLOAT, true},
                   {"site", VT_ATTR_NAME, true}},
    .infer = infer,
    .blocks = blocks,
    .open = open,
    .flops = flops,
    .forward = forward,
    .backward = backward,
    .narrow = narrow,
    .keep_all = keep_all,
    .space = VT_PARTS,
    .backward_reads_input = true,
    .takes_bf16 = true,
    .reads_bf16 = true,
    .writes_bf16 = true,
};

/* ---------------------------------------------------------------- masked_attention */

static vt_status masked_infer(vt_signature *s, vt_error *error) {
    VT_TRY(infer(s, error));
    VT_TRY(vt_expect_matrix(s, MASK, error));
    const int64_t tokens = s->input[0].dim[0], heads = s->node->attributes[HEADS].i;
    const int64_t *mask = s->input[MASK].dim;
    if (mask[1] == tokens && (mask[0] == tokens || mask[0] == heads * tokens)) return VT_OK;
    return vt_fail(error, VT_VALUE, "the mask is %lld x %lld, expected %lld or %lld x %lld",
                   (long long)mask[0], (long long)mask[1], (long long)tokens,
                   (long long)(heads * tokens), (long long)tokens);
}

/* The gradient of the mask is what others give to it. One head writes it. */
static vt_status masked_backward(const vt_tile *t, vt_error *error) {
    const size_t bytes = (size_t)vt_shape_elements(&t->signature->input[MASK]) * t->element;
    if (t->part == 0 && t->din[MASK] != NULL && t->base[MASK] == NULL) {
        memset(t->din[MASK], 0, bytes);
    } else if (t->part == 0 && t->din[MASK] != NULL && t->base[MASK] != t->din[MASK]) {
        memcpy(t->din[MASK], t->base[MASK], bytes);
    }
    return backward(t, error);
}

const vt_op vt_op_masked_attention = {
    .name = "masked_attention",
    .inputs = 2,
    .attributes = {{"heads", VT_ATTR_INT, false},
                   {"maps", VT_ATTR_INT, true},
                   {"queries", VT_ATTR_INT, true},
                   {"rate", VT_ATTR_FLOAT, true},
                   {"site", VT_ATTR_NAME, true}},
    .infer = masked_infer,
    .blocks = blocks,
    .open = open,
    .flops = flops,
    .forward = forward,
    .backward = masked_backward,
    .narrow = narrow,
    .keep_all = keep_all,
    .space = VT_PARTS,
    .backward_reads_input = true,
    .writes_bf16 = true,
};

/* ---------------------------------------------------------------- biased_attention */

static vt_status check_bias(vt_signature *s, vt_error *error) {
    VT_TRY(check(s, error));
    VT_TRY(vt_expect_matrix(s, BIAS, error));
    const int64_t tokens = s->input[0].dim[0], heads = s->node->attributes[HEADS].i;
    const int64_t height = s->node->attributes[HEIGHT].i, width = s->node->attributes[WIDTH].i;
    const int64_t rows = s->input[BIAS].dim[0], cols = s->input[BIAS].dim[1];
    if (height < 1 || height > tokens || width < 1 || width > tokens / height ||
        tokens - height * width > 1) {
        return vt_fail(error, VT_VALUE,
                       "%lld tokens are not a grid of %lld x %lld with at most one before it",
                       (long long)tokens, (long long)height, (long long)width);
    }
    const int64_t distances = (2 * height - 1) * (2 * width - 1);
    const bool of_prefix = rows == distances + 3 && tokens > height * width;
    if (cols == heads && (rows == distances || of_prefix)) return VT_OK;
    return vt_fail(error, VT_VALUE,
                   "the table is %lld x %lld, expected %lld x %lld, or 3 rows more with a token "
                   "before the patches",
                   (long long)rows, (long long)cols, (long long)distances, (long long)heads);
}

static vt_status biased_infer(vt_signature *s, vt_error *error) {
    VT_TRY(check_bias(s, error));
    set_shape(s);
    return VT_OK;
}

const vt_op vt_op_biased_attention = {
    .name = "biased_attention",
    .inputs = 2,
    .attributes = {{"heads", VT_ATTR_INT, false},
                   {"maps", VT_ATTR_INT, true},
                   {"queries", VT_ATTR_INT, true},
                   {"height", VT_ATTR_INT, false},
                   {"width", VT_ATTR_INT, false},
                   {"rate", VT_ATTR_FLOAT, true},
                   {"site", VT_ATTR_NAME, true}},
    .infer = biased_infer,
    .blocks = blocks,
    .open = open,
    .flops = flops,
    .forward = forward,
    .backward = backward,
    .narrow = narrow,
    .keep_all = keep_all,
    .space = VT_PARTS,
    .backward_reads_input = true,
    .writes_bf16 = true,
};

/* ---------------------------------------------------------------- cross_attention */

static vt_status cross_infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    VT_TRY(vt_expect_matrix(s, 1, error));
    const int64_t channels = vt_shape_cols(&s->input[0]);
    if (vt_shape_cols(&s->input[1]) != 2 * channels) {
        return vt_fail(error, VT_VALUE, "k and v have %lld columns, expected twice the %lld of q",
                       (long long)vt_shape_cols(&s->input[1]), (long long)channels);
    }
    VT_TRY(check_heads(s, channels, error));
    set_shape(s);
    return VT_OK;
}

const vt_op vt_op_cross_attention = {
    .name = "cross_attention",
    .inputs = 2,
    .attributes = {{"heads", VT_ATTR_INT, false}},
    .infer = cross_infer,
    .blocks = blocks,
    .open = open,
    .flops = flops,
    .forward = forward,
    .backward = backward,
    .space = VT_PARTS,
    .backward_reads_input = true,
    .takes_bf16 = true,
    .reads_bf16 = true,
    .writes_bf16 = true,
};

/* ---------------------------------------------------------------- attention_probs */

/* The probabilities themselves, (heads x maps x N, N), for looking at; nothing is differentiated
 * here. */
static vt_status probs_infer(vt_signature *s, vt_error *error) {
    VT_TRY(check(s, error));
    const sizes z = sizes_of(s, NULL);
    s->node->shape = (vt_shape){2, {z.heads * z.maps * z.tokens, z.tokens}};
    return VT_OK;
}

static vt_status probs_forward(const vt_tile *t, vt_error *error) {
    const sizes z = sizes_of(t->signature, t->products);
    head h;
    layout(&h, t->scratch, z, t->element, t->products->bf16);
    gather_bias(t, &h, z);
    for (int64_t at = 0; at < z.maps * z.queries; at += block_rows(z, at % z.queries)) {
        const int64_t map = at / z.queries, first = at % z.queries, rows = block_rows(z, first);
        if (first == 0) {
            gather_one(t, h.q, z, Q, map);
            gather_one(t, h.k, z, K, map);
        }
        VT_TRY(probabilities(t, &h, z, first, rows, error));
        for (int64_t r = 0; r < rows; r++) {
            const int64_t row = (t->part * z.maps + map) * z.tokens + first + r;
            memcpy(vt_at(t->out, t->element, row * z.tokens), vt_at(h.p, t->element, r * z.ld),
                   (size_t)z.tokens * t->element);
        }
    }
    return VT_OK;
}

const vt_op vt_op_attention_probs = {
    .name = "attention_probs",
    .inputs = 1,
    .attributes = {{"heads", VT_ATTR_INT, false}, {"maps", VT_ATTR_INT, true}},
    .infer = probs_infer,
    .blocks = blocks,
    .open = open,
    .forward = probs_forward,
    .space = VT_PARTS,
};

static vt_status biased_probs_infer(vt_signature *s, vt_error *error) {
    VT_TRY(check_bias(s, error));
    return probs_infer(s, error);
}

const vt_op vt_op_biased_attention_probs = {
    .name = "biased_attention_probs",
    .inputs = 2,
    .attributes = {{"heads", VT_ATTR_INT, false},
                   {"maps", VT_ATTR_INT, true},
                   {"queries", VT_ATTR_INT, true},
                   {"height", VT_ATTR_INT, false},
                   {"width", VT_ATTR_INT, false}},
    .infer = biased_probs_infer,
    .blocks = blocks,
    .open = open,
    .forward = probs_forward,
    .space = VT_PARTS,
};
