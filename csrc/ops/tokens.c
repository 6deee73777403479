/* Operations on the sequence of tokens: patchify, tokens, select. All gather: a row of the result
 * comes from another row of the input. */
#include <string.h>

#include "ops/operations.h"

/* ---------------------------------------------------------------- patchify */

/* (C, H, W) -> (grid, C ph pw): the rows of a patch embedding's matrix product (im2col of a
 * convolution whose stride is its kernel). What does not fill a patch at the right and lower edge
 * is left out, as that convolution does. */
enum { PATCH_HEIGHT, PATCH_WIDTH };

typedef struct patches {
    int64_t channels, height, width; /* of the image */
    int64_t ph, pw;                  /* of a patch */
    int64_t gh, gw;                  /* of the grid */
} patches;

static patches patches_of(const vt_signature *s) {
    const int64_t *image = s->input[0].dim;
    patches p = {image[0],
                 image[1],
                 image[2],
                 s->node->attributes[PATCH_HEIGHT].i,
                 s->node->attributes[PATCH_WIDTH].i,
                 0,
                 0};
    p.gh = p.height / p.ph;
    p.gw = p.width / p.pw;
    return p;
}

static vt_status patchify_infer(vt_signature *s, vt_error *error) {
    char text[VT_MAX_NAME];
    const vt_shape *image = &s->input[0];
    const int64_t ph = s->node->attributes[PATCH_HEIGHT].i, pw = s->node->attributes[PATCH_WIDTH].i;
    if (image->ndim != 3 || ph < 1 || pw < 1 || image->dim[1] < ph || image->dim[2] < pw) {
        return vt_fail(error, VT_VALUE, "patches of %lld x %lld do not fit an input of shape %s",
                       (long long)ph, (long long)pw, vt_shape_text(text, image));
    }
    const patches p = patches_of(s);
    s->node->shape = (vt_shape){2, {p.gh * p.gw, p.channels * p.ph * p.pw}};
    return VT_OK;
}

/* The first element of row `i` of channel `c` of patch `row` in the image. */
static int64_t patch_row(patches p, int64_t row, int64_t c, int64_t i) {
    return (c * p.height + row / p.gw * p.ph + i) * p.width + row % p.gw * p.pw;
}

static vt_status patchify_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const patches p = patches_of(t->signature);
    char *out = t->out;
    const size_t span = (size_t)p.pw * t->element;
    for (int64_t row = t->row; row < t->row + t->rows; row++) {
        for (int64_t c = 0; c < p.channels; c++) {
            for (int64_t i = 0; i < p.ph; i++, out += span) {
                memcpy(out, vt_const_at(t->in[0], t->element, patch_row(p, row, c, i)), span);
            }
        }
    }
    return VT_OK;
}

/* Rows of the image are (channel, y); x that no patch covers gets nothing. */
static vt_status patchify_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const patches p = patches_of(t->signature);
    const int64_t width = p.channels * p.ph * p.pw, elements = t->rows * p.width;
    if (t->base[0] == NULL) {
        memset(t->din[0], 0, (size_t)elements * t->element);
    } else if (t->base[0] != t->din[0]) {
        memcpy(t->din[0], t->base[0], (size_t)elements * t->element);
    }
    for (int64_t i = 0; i < t->rows; i++) {
        const int64_t c = (t->row + i) / p.height, y = (t->row + i) % p.height;
        for (int64_t gx = 0; y / p.ph < p.gh && gx < p.gw; gx++) {
            void *dx = vt_at(t->din[0], t->element, i * p.width + gx * p.pw);
            const int64_t at = (y / p.ph * p.gw + gx) * width + (c * p.ph + y % p.ph) * p.pw;
            t->kernels->scale_add(dx, dx, vt_const_at(t->dout, t->element, at), 1.0, p.pw);
        }
    }
    return VT_OK;
}

const vt_op vt_op_patchify = {
    .name = "patchify",
    .inputs = 1,
    .attributes = {{"patch_height", VT_ATTR_INT, false}, {"patch_width", VT_ATTR_INT, false}},
    .infer = patchify_infer,
    .forward = patchify_forward,
    .backward = patchify_backward,
    .gathers = true,
    .cheap = true,
};

/* ---------------------------------------------------------------- tokens */

/* (N, D) -> (P + N, D): the prefix tokens, then the patches, plus one row of the position table
 * each (Dosovitskiy et al. 2021; timm _pos_embed). A table of only N rows is for the patches alone
 * (no_embed_class). There may be several register tokens (Darcet et al. 2023). */
enum { CLS_TOKEN, DIST_TOKEN, REG_TOKEN, POS_EMBED, PREFIX_END = POS_EMBED };

/* How many rows a token's parameter gives. */
static int64_t token_rows(const vt_signature *s, int p) {
    return s->param[p].ndim == 0 ? 0 : s->param[p].dim[1];
}

static int64_t prefix_length(const vt_signature *s) {
    int64_t length = 0;
    for (int p = CLS_TOKEN; p < PREFIX_END; p++) length += token_rows(s, p);
    return length;
}

/* The first row of the output that has a position. */
static int64_t first_position(const vt_signature *s) {
    const bool some = s->param[POS_EMBED].ndim != 0;
    return some ? s->input[0].dim[0] + prefix_length(s) - s->param[POS_EMBED].dim[1] : 0;
}

static vt_status tokens_infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    const int64_t grid = s->input[0].dim[0], cols = s->input[0].dim[1];
    for (int p = CLS_TOKEN; p < PREFIX_END; p++) {
        const bool several = p == REG_TOKEN && s->param[p].ndim == 3;
        const vt_shape rows = {3, {1, several ? s->param[p].dim[1] : 1, cols}};
        VT_TRY(vt_expect_param(s, p, rows, error));
    }
    const int64_t rows = grid + prefix_length(s);
    const vt_shape *table = &s->param[POS_EMBED];
    const bool grid_only = table->ndim == 3 && table->dim[1] == grid;
    const vt_shape positions = {3, {1, grid_only ? grid : rows, cols}};
    VT_TRY(vt_expect_param(s, POS_EMBED, positions, error));
    s->node->shape = (vt_shape){2, {rows, cols}};
    return VT_OK;
}

static vt_status tokens_open(vt_products *products, const vt_signature *s, vt_arithmetic arithmetic,
                             vt_error *error) {
    (void)s, (void)arithmetic, (void)error;
    products->panels = vt_cut_count(products->strips);
    return VT_OK;
}

/* Row `row` of the prefix. */
static const void *prefix_row(const vt_tile *t, int64_t row) {
    const vt_signature *s = t->signature;
    int p = CLS_TOKEN;
    while (row >= token_rows(s, p)) row -= token_rows(s, p++);
    return vt_const_at(t->param[p], t->element, row * s->node->shape.dim[1]);
}

static vt_status tokens_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const vt_signature *s = t->signature;
    const int64_t prefix = prefix_length(s), cols = s->node->shape.dim[1];
    const int64_t bare = first_position(s);
    for (int64_t i = 0; i < t->rows; i++) {
        const int64_t row = t->row + i;
        const void *token = row < prefix ? prefix_row(t, row)
                                         : vt_const_at(t->in[0], t->element, (row - prefix) * cols);
        const void *position = row < bare ? NULL : t->param[POS_EMBED];
        if (position != NULL) position = vt_const_at(position, t->element, (row - bare) * cols);
        t->kernels->scale_add(vt_at(t->out, t->element, i * cols), position, token, 1.0, cols);
    }
    return VT_OK;
}

static vt_status tokens_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t prefix = prefix_length(t->signature), cols = t->signature->node->shape.dim[1];
    const void *dy = vt_const_at(t->dout, t->element, (prefix + t->row) * cols);
    t->kernels->scale_add(t->din[0], t->base[0], dy, 1.0, t->rows * cols);
    return VT_OK;
}

/* gradient[0:count) (+)= sum over images of rows [first, first + count) of dy */
static void sum_rows(const vt_tile *t, int param, void *gradient, int64_t first, int64_t count) {
    const int64_t cols = t->signature->node->shape.dim[1];
    for (int64_t b = 0; b < t->images; b++) {
        const void *dy = (const char *)t->dout + (size_t)b * t->dout_stride;
        const void *base = b == 0 && !t->accumulate[param] ? NULL : gradient;
        t->kernels->scale_add(gradient, base, vt_const_at(dy, t->element, first * cols), 1.0,
                              count * cols);
    }
}

/* One panel is a strip of rows of the output. The first `bare` have no position. */
static void accumulate_positions(const vt_tile *t) {
    const vt_signature *s = t->signature;
    const int64_t all = s->node->shape.dim[0], cols = s->node->shape.dim[1];
    const int64_t bare = first_position(s), panel = t->products->strips.tile,
                  start = t->part * panel;
    const int64_t end = all - start < panel ? all : start + panel;
    const int64_t first = start > bare ? start : bare;
    if (first >= end) return;
    void *gradient = vt_at(t->dparam[POS_EMBED], t->element, (first - bare) * cols);
    sum_rows(t, POS_EMBED, gradient, first, end - first);
}

/* The tokens of the prefix go with the first panel. */
static vt_status tokens_accumulate(const vt_tile *t, vt_error *error) {
    (void)error;
    if (t->dparam[POS_EMBED] != NULL) accumulate_positions(t);
    int64_t row = 0;
    for (int p = CLS_TOKEN; t->part == 0 && p < PREFIX_END; p++) {
        const int64_t rows = token_rows(t->signature, p);
        if (t->dparam[p] != NULL) sum_rows(t, p, t->dparam[p], row, rows);
        row += rows;
    }
    return VT_OK;
}

const vt_op vt_op_tokens = {
    .name = "tokens",
    .inputs = 1,
    .params = {{"cls_token", true}, {"dist_token", true}, {"reg_token", true}, {"pos_embed", true}},
    .infer = tokens_infer,
    .open = tokens_open,
    .forward = tokens_forward,
    .backward = tokens_backward,
    .accumulate = tokens_accumulate,
    .gathers = true,
};

/* ---------------------------------------------------------------- select */

/* (N, D) -> (count, D): rows [start, start + count). */
enum { START, COUNT };

static vt_status select_infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    const int64_t start = s->node->attributes[START].i, count = s->node->attributes[COUNT].i;
    const int64_t rows = s->input[0].dim[0];
    if (start < 0 || count < 1 || start > rows - count) {
        return vt_fail(error, VT_VALUE, "%lld rows from row %lld on cannot be selected from %lld",
                       (long long)count, (long long)start, (long long)rows);
    }
    s->node->shape = (vt_shape){2, {count, s->input[0].dim[1]}};
    return VT_OK;
}

static vt_status select_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = t->signature->node->shape.dim[1];
    const int64_t first = t->signature->node->attributes[START].i + t->row;
    memcpy(t->out, vt_const_at(t->in[0], t->element, first * cols),
           (size_t)(t->rows * cols) * t->element);
    return VT_OK;
}

static vt_status select_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const vt_node *node = t->signature->node;
    const int64_t cols = node->shape.dim[1], start = node->attributes[START].i;
    for (int64_t i = 0; i < t->rows; i++) {
        const int64_t row = t->row + i - start;
        const bool selected = row >= 0 && row < node->attributes[COUNT].i;
        vt_pass_row(t, i, selected ? row : -1, cols);
    }
    return VT_OK;
}

static int64_t first_selected(const vt_node *node) { return node->attributes[START].i; }

vt_node vt_select_rows(int value, int64_t start, int64_t count) {
    vt_node node = {.op = &vt_op_select, .inputs = {value}, .params = {-1, -1, -1, -1}};
    node.attributes[START].i = start;
    node.attributes[COUNT].i = count;
    return node;
}

const vt_op vt_op_select = {
    .name = "select",
    .inputs = 1,
    .attributes = {{"start", VT_ATTR_INT, false}, {"count", VT_ATTR_INT, false}},
    .infer = select_infer,
    .forward = select_forward,
    .backward = select_backward,
    .first_row = first_selected,
    .gathers = true,
};
