/* attention: softmax(q k^T / sqrt(d)) v for each head (Vaswani et al. 2017; timm Attention).
 *
 * qkv is (N, 3 C): columns q | k | v, each head-major, C = heads x d. One tile is one head of one
 * image. It copies its q, k, v into dense (N, d) matrices and works through the queries in blocks,
 * so that the (block, N) probabilities stay in the second-level cache and no (heads, N, N) array
 * exists. Backward computes the probabilities again: only qkv is kept.
 *
 * `queries` > 0: only the first rows ask, and the output has as many rows (a narrowed program). */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "ops/operations.h"

enum { HEADS, QUERIES };
enum { SCORES, SCORES_LAST, VALUES, VALUES_LAST, KEYS_T, KEYS_T_LAST };

typedef struct sizes {
    int64_t tokens, queries, heads, head_size, channels;
    int64_t block; /* queries at a time */
    int64_t ld;    /* elements from one row of probabilities to the next: whole cache lines */
} sizes;

static sizes sizes_of(const vt_signature *s) {
    enum { BLOCK_ELEMENTS = 80 * 1024 };
    sizes z = {.tokens = s->input[0].dim[0], .heads = s->node->attributes[HEADS].i};
    z.channels = vt_shape_cols(&s->input[0]) / 3;
    z.head_size = z.channels / z.heads;
    const int64_t asked = s->node->attributes[QUERIES].i;
    z.queries = asked > 0 ? asked : z.tokens;
    const int64_t limit = BLOCK_ELEMENTS / z.tokens > 16 ? BLOCK_ELEMENTS / z.tokens : 16;
    z.block = vt_ceil_div(z.queries, vt_ceil_div(z.queries, limit));
    z.ld = vt_ceil_div(z.tokens, 16) * 16;
    return z;
}

static vt_status check(const vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    const int64_t cols = vt_shape_cols(&s->input[0]), heads = s->node->attributes[HEADS].i;
    if (heads < 1 || cols % 3 != 0 || cols / 3 % heads != 0) {
        return vt_fail(error, VT_VALUE,
                       "%lld columns of q, k and v cannot be split into %lld heads",
                       (long long)cols, (long long)heads);
    }
    const int64_t queries = s->node->attributes[QUERIES].i;
    if (queries < 0 || queries > s->input[0].dim[0]) {
        return vt_fail(error, VT_VALUE, "queries is %lld, expected 0 to %lld", (long long)queries,
                       (long long)s->input[0].dim[0]);
    }
    return VT_OK;
}

static vt_status infer(vt_signature *s, vt_error *error) {
    VT_TRY(check(s, error));
    const sizes z = sizes_of(s);
    s->node->shape = (vt_shape){2, {z.queries, z.channels}};
    return VT_OK;
}

static double flops(const vt_signature *s) {
    const sizes z = sizes_of(s);
    return 4.0 * (double)z.queries * (double)z.tokens * (double)z.channels;
}

/* ---------------------------------------------------------------- products and scratch */

static int64_t last_block(sizes z) {
    return z.queries - z.block * (vt_ceil_div(z.queries, z.block) - 1);
}

/* A product over one block of queries, for the usual and for the last block. */
static vt_status open_pair(vt_kit *kit, int slot, vt_matmul_shape shape, int64_t last,
                           vt_error *error) {
    VT_TRY(vt_kit_open(kit, slot, &shape, error));
    if (shape.a_transposed) {
        shape.k = last;
    } else {
        shape.m = last;
    }
    return vt_kit_open(kit, slot + 1, &shape, error);
}

/* What one head needs: dense (tokens, d) matrices and (block, ld) probabilities. */
typedef struct head {
    char *q, *k, *v, *o, *dq, *dk, *dv; /* o is do in backward */
    char *p, *dp;
    char *product; /* scratch of the products */
} head;

static size_t layout(head *h, char *start, sizes z, size_t element) {
    const size_t matrix = vt_align((size_t)(z.tokens * z.head_size) * element);
    const size_t scores = vt_align((size_t)(z.block * z.ld) * element);
    char **const matrices[] = {&h->q, &h->k, &h->v, &h->o, &h->dq, &h->dk, &h->dv};
    size_t used = 0;
    for (size_t i = 0; i < sizeof matrices / sizeof *matrices; i++, used += matrix) {
        *matrices[i] = start + used;
    }
    h->p = start + used;
    h->dp = start + used + scores;
    h->product = start + used + 2 * scores;
    return used + 2 * scores;
}

static vt_status open(vt_kit *kit, const vt_signature *s, vt_arithmetic arithmetic,
                      vt_error *error) {
    const sizes z = sizes_of(s);
    const vt_dtype dtype = arithmetic.dtype;
    const vt_operands operands = arithmetic.bf16 ? VT_OPERANDS_BF16 : VT_OPERANDS_REAL;
    kit->bf16 = arithmetic.bf16;
    const int64_t n = z.tokens, d = z.head_size, last = last_block(z);
    /* (block, N) = q k^T; also dp = do v^T */
    VT_TRY(open_pair(kit, SCORES,
                     (vt_matmul_shape){.dtype = dtype,
                                       .operands = operands,
                                       .m = z.block,
                                       .n = n,
                                       .k = d,
                                       .lda = d,
                                       .ldb = d,
                                       .ldc = z.ld,
                                       .b_transposed = true},
                     last, error));
    /* (block, d) = p v; also dq = ds k */
    VT_TRY(open_pair(kit, VALUES,
                     (vt_matmul_shape){.dtype = dtype,
                                       .operands = operands,
                                       .m = z.block,
                                       .n = d,
                                       .k = n,
                                       .lda = z.ld,
                                       .ldb = d,
                                       .ldc = d},
                     last, error));
    if (arithmetic.backward) { /* (N, d) += p^T do; also dk += ds^T q */
        VT_TRY(open_pair(kit, KEYS_T,
                         (vt_matmul_shape){.dtype = dtype,
                                           .m = n,
                                           .n = d,
                                           .k = z.block,
                                           .lda = z.ld,
                                           .ldb = d,
                                           .ldc = d,
                                           .a_transposed = true,
                                           .accumulate = true},
                         last, error));
    }
    head unused;
    char nowhere[1];
    kit->scratch_bytes += layout(&unused, nowhere, z, vt_dtype_size(dtype));
    kit->parts = z.heads;
    return VT_OK;
}

/* ---------------------------------------------------------------- moving a head in and out */

/* `which` of q, k, v of the tile's head: the first element of its columns in a (N, 3 C) matrix. */
static int64_t column(const vt_tile *t, sizes z, int which) {
    return which * z.channels + t->part * z.head_size;
}

/* dense (rows, d) = columns [first, first + d) of source (rows, width) */
static void gather(void *dense, const void *source, int64_t first, int64_t width, int64_t rows,
                   int64_t d, size_t element) {
    for (int64_t r = 0; r < rows; r++) {
        memcpy(vt_at(dense, element, r * d), vt_const_at(source, element, r * width + first),
               (size_t)d * element);
    }
}

static void gather_qkv(const vt_tile *t, const head *h, sizes z) {
    char *const matrices[] = {h->q, h->k, h->v};
    for (int i = 0; i < 3; i++) {
        const int64_t first = column(t, z, i), rows = i == 0 ? z.queries : z.tokens;
        if (t->kit->bf16) {
            t->kernels->to_bf16((uint16_t *)(void *)matrices[i],
                                vt_const_at(t->in[0], t->element, first), rows, z.head_size,
                                3 * z.channels);
        } else {
            gather(matrices[i], t->in[0], first, 3 * z.channels, rows, z.head_size, t->element);
        }
    }
}

/* Bytes of an element of q, k, v and of the probabilities as the products take them. */
static size_t operand_size(const vt_tile *t) {
    return t->kit->bf16 ? sizeof(uint16_t) : t->element;
}

/* p (rows, N) = softmax(q[first:] k^T / sqrt(d)) */
static vt_status probabilities(const vt_tile *t, const head *h, sizes z, int64_t first,
                               int64_t rows, vt_error *error) {
    const vt_matmul *product = t->kit->matmul[rows == z.block ? SCORES : SCORES_LAST];
    const void *q = vt_at(h->q, operand_size(t), first * z.head_size);
    VT_TRY(vt_matmul_run(product, h->p, q, h->k, NULL, h->product, error));
    t->kernels->softmax_forward(h->p, 1.0 / sqrt((double)z.head_size), rows, z.tokens, z.ld);
    return VT_OK;
}

static int64_t block_rows(sizes z, int64_t first) {
    return z.queries - first < z.block ? z.queries - first : z.block;
}

/* ---------------------------------------------------------------- forward and backward */

static vt_status forward(const vt_tile *t, vt_error *error) {
    const sizes z = sizes_of(t->signature);
    head h;
    layout(&h, t->scratch, z, t->element);
    gather_qkv(t, &h, z);
    for (int64_t first = 0; first < z.queries; first += z.block) {
        const int64_t rows = block_rows(z, first);
        VT_TRY(probabilities(t, &h, z, first, rows, error));
        const vt_matmul *product = t->kit->matmul[rows == z.block ? VALUES : VALUES_LAST];
        void *o = vt_at(h.o, t->element, first * z.head_size), *p = h.p;
        if (t->kit->bf16) {
            p = h.dp; /* free in forward */
            t->kernels->to_bf16(p, h.p, rows, z.ld, z.ld);
        }
        VT_TRY(vt_matmul_run(product, o, p, h.v, NULL, h.product, error));
    }
    for (int64_t r = 0; r < z.queries; r++) {
        memcpy(vt_at(t->out, t->element, r * z.channels + t->part * z.head_size),
               vt_at(h.o, t->element, r * z.head_size), (size_t)z.head_size * t->element);
    }
    return VT_OK;
}

/* o = p v, p = softmax(s), s = q k^T / sqrt(d):
 * dv = p^T do; dp = do v^T; ds = p (dp - rowsum(p dp)) / sqrt(d); dq = ds k; dk = ds^T q */
static vt_status backward_block(const vt_tile *t, const head *h, sizes z, int64_t first,
                                vt_error *error) {
    const int64_t rows = block_rows(z, first), offset = first * z.head_size;
    vt_matmul *const *const m = t->kit->matmul;
    const int last = rows == z.block ? 0 : 1;
    const void *q = vt_at(h->q, t->element, offset), *o = vt_at(h->o, t->element, offset);
    void *dq = vt_at(h->dq, t->element, offset);
    VT_TRY(probabilities(t, h, z, first, rows, error));
    VT_TRY(vt_matmul_run(m[KEYS_T + last], h->dv, h->p, o, NULL, h->product, error));
    VT_TRY(vt_matmul_run(m[SCORES + last], h->dp, o, h->v, NULL, h->product, error));
    t->kernels->softmax_backward(h->dp, h->p, 1.0 / sqrt((double)z.head_size), rows, z.tokens,
                                 z.ld);
    VT_TRY(vt_matmul_run(m[VALUES + last], dq, h->dp, h->k, NULL, h->product, error));
    return vt_matmul_run(m[KEYS_T + last], h->dk, h->dp, q, NULL, h->product, error);
}

/* dqkv[:, head] = base[:, head] + dq | dk | dv */
static void scatter(const vt_tile *t, const head *h, sizes z) {
    char *const matrices[] = {h->dq, h->dk, h->dv};
    for (int i = 0; i < 3; i++) {
        for (int64_t r = 0; r < z.tokens; r++) {
            const int64_t at = r * 3 * z.channels + column(t, z, i);
            const void *base = t->base[0] == NULL ? NULL : vt_const_at(t->base[0], t->element, at);
            t->kernels->scale_add(vt_at(t->din[0], t->element, at), base,
                                  vt_at(matrices[i], t->element, r * z.head_size), 1.0,
                                  z.head_size);
        }
    }
}

static vt_status backward(const vt_tile *t, vt_error *error) {
    const sizes z = sizes_of(t->signature);
    const size_t matrix = (size_t)(z.tokens * z.head_size) * t->element;
    head h;
    layout(&h, t->scratch, z, t->element);
    gather_qkv(t, &h, z);
    gather(h.o, t->dout, t->part * z.head_size, z.channels, z.queries, z.head_size, t->element);
    memset(h.dq, 0, matrix); /* rows that asked nothing */
    memset(h.dk, 0, matrix);
    memset(h.dv, 0, matrix);
    for (int64_t first = 0; first < z.queries; first += z.block) {
        VT_TRY(backward_block(t, &h, z, first, error));
    }
    scatter(t, &h, z);
    return VT_OK;
}

static void narrow(vt_node *node, int64_t rows) { node->attributes[QUERIES].i = rows; }

const vt_op vt_op_attention = {
    .name = "attention",
    .inputs = 1,
    .attributes = {{"heads", VT_ATTR_INT, false}, {"queries", VT_ATTR_INT, true}},
    .infer = infer,
    .open = open,
    .flops = flops,
    .forward = forward,
    .backward = backward,
    .narrow = narrow,
    .space = VT_PARTS,
    .backward_reads_input = true,
};

/* ---------------------------------------------------------------- attention_probs */

/* The probabilities themselves, (heads x N, N), for looking at; nothing is differentiated here. */
static vt_status probs_infer(vt_signature *s, vt_error *error) {
    VT_TRY(check(s, error));
    const sizes z = sizes_of(s);
    s->node->shape = (vt_shape){2, {z.heads * z.tokens, z.tokens}};
    return VT_OK;
}

static vt_status probs_forward(const vt_tile *t, vt_error *error) {
    const sizes z = sizes_of(t->signature);
    head h;
    layout(&h, t->scratch, z, t->element);
    gather_qkv(t, &h, z);
    for (int64_t first = 0; first < z.queries; first += z.block) {
        const int64_t rows = block_rows(z, first);
        VT_TRY(probabilities(t, &h, z, first, rows, error));
        for (int64_t r = 0; r < rows; r++) {
            memcpy(vt_at(t->out, t->element, (t->part * z.tokens + first + r) * z.tokens),
                   vt_at(h.p, t->element, r * z.ld), (size_t)z.tokens * t->element);
        }
    }
    return VT_OK;
}

const vt_op vt_op_attention_probs = {
    .name = "attention_probs",
    .inputs = 1,
    .attributes = {{"heads", VT_ATTR_INT, false}},
    .infer = probs_infer,
    .open = open,
    .forward = probs_forward,
    .space = VT_PARTS,
};
