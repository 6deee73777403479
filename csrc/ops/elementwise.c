/* Operations that treat every element alike: activation, multiply, add, scale, dropout, drop_path.
 */
#include <string.h>

#include "ops/operations.h"

/* Elements of this tile. */
static int64_t elements(const vt_tile *t) { return t->rows * t->cols; }

/* ---------------------------------------------------------------- activation */

enum { FUNCTION };

/* x * sigmoid(a x + b x^3) by their names in timm; the exact GELU has its own kernels. */
static const struct swish {
    const char *name;
    double a, b;
} swishes[] = {
    {"silu", 1, 0},
    {"quick_gelu", 1.702, 0},
    {"gelu_tanh", 1.5957691216057308, 0.071354816272600248},
};

static const struct swish *find_swish(const char *name) {
    for (size_t i = 0; i < sizeof swishes / sizeof *swishes; i++) {
        if (strcmp(swishes[i].name, name) == 0) return &swishes[i];
    }
    return NULL;
}

static bool is_relu(const vt_node *node) {
    return strcmp(node->attributes[FUNCTION].name, "relu") == 0;
}

static vt_status activation_infer(vt_signature *s, vt_error *error) {
    const char *name = s->node->attributes[FUNCTION].name;
    if (strcmp(name, "gelu") != 0 && !is_relu(s->node) && find_swish(name) == NULL) {
        return vt_fail(error, VT_VALUE,
                       "activation function '%s' is unknown, expected 'gelu', 'gelu_tanh', "
                       "'quick_gelu', 'relu' or 'silu'",
                       name);
    }
    return vt_infer_same(s, error);
}

static vt_status activation_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const struct swish *f = find_swish(t->signature->node->attributes[FUNCTION].name);
    if (is_relu(t->signature->node)) {
        t->kernels->relu_forward(t->out, t->in[0], elements(t));
    } else if (f == NULL) {
        t->kernels->gelu_forward(t->out, t->in[0], elements(t));
    } else {
        t->kernels->swish_forward(t->out, t->in[0], f->a, f->b, elements(t));
    }
    return VT_OK;
}

static vt_status activation_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const struct swish *f = find_swish(t->signature->node->attributes[FUNCTION].name);
    if (is_relu(t->signature->node)) {
        t->kernels->relu_backward(t->din[0], t->base[0], t->dout, t->in[0], elements(t));
    } else if (f == NULL) {
        t->kernels->gelu_backward(t->din[0], t->base[0], t->dout, t->in[0], elements(t));
    } else {
        t->kernels->swish_backward(t->din[0], t->base[0], t->dout, t->in[0], f->a, f->b,
                                   elements(t));
    }
    return VT_OK;
}

const vt_op vt_op_activation = {
    .name = "activation",
    .inputs = 1,
    .attributes = {{"function", VT_ATTR_NAME, false}},
    .infer = activation_infer,
    .forward = activation_forward,
    .by_columns = true,
    .backward = activation_backward,
    .cheap = true,
    .in_place = true,
    .backward_reads_input = true,
    .takes_bf16 = true,
};

/* ---------------------------------------------------------------- multiply */

static vt_status multiply_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    t->kernels->multiply_add(t->out, NULL, t->in[0], t->in[1], elements(t));
    return VT_OK;
}

/* Each factor's gradient is dout times the other factor. */
static vt_status multiply_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    for (int i = 0; i < 2; i++) {
        if (t->din[i] == NULL) continue;
        t->kernels->multiply_add(t->din[i], t->base[i], t->dout, t->in[1 - i], elements(t));
    }
    return VT_OK;
}

const vt_op vt_op_multiply = {
    .name = "multiply",
    .inputs = 2,
    .infer = vt_infer_same,
    .forward = multiply_forward,
    .by_columns = true,
    .backward = multiply_backward,
    .cheap = true,
    .in_place = true,
    .backward_reads_input = true,
    .bilinear = true,
};

/* ---------------------------------------------------------------- add */

static vt_status add_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    t->kernels->scale_add(t->out, t->in[0], t->in[1], 1.0, elements(t));
    return VT_OK;
}

/* Of an operation that passes its gradient on: only needed where there is something to add. */
static vt_status pass_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    for (int i = 0; i < t->signature->node->op->inputs; i++) {
        if (t->din[i] == NULL) continue;
        t->kernels->scale_add(t->din[i], t->base[i], t->dout, 1.0, elements(t));
    }
    return VT_OK;
}

const vt_op vt_op_add = {
    .name = "add",
    .inputs = 2,
    .infer = vt_infer_same,
    .forward = add_forward,
    .by_columns = true,
    .backward = pass_backward,
    .passes_gradient = true,
    .in_place = true,
};

/* ---------------------------------------------------------------- scale */

enum { FACTOR };

static vt_status scale_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const double factor = t->signature->node->attributes[FACTOR].f;
    t->kernels->scale_add(t->out, NULL, t->in[0], factor, elements(t));
    return VT_OK;
}

static vt_status scale_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const double factor = t->signature->node->attributes[FACTOR].f;
    t->kernels->scale_add(t->din[0], t->base[0], t->dout, factor, elements(t));
    return VT_OK;
}

const vt_op vt_op_scale = {
    .name = "scale",
    .inputs = 1,
    .attributes = {{"factor", VT_ATTR_FLOAT, false}},
    .infer = vt_infer_same,
    .forward = scale_forward,
    .by_columns = true,
    .backward = scale_backward,
    .in_place = true,
};

/* ---------------------------------------------------------------- dropout and drop path */

/* `row` is the position of the input's first row in the mask of the image: not 0 when the program
 * was narrowed to some rows. */
enum { RATE, SITE, ROW };

static vt_status random_infer(vt_signature *s, vt_error *error) {
    const int64_t most = (int64_t)1 << 30; /* times a number of columns it still fits */
    const double rate = s->node->attributes[RATE].f;
    const int64_t row = s->node->attributes[ROW].i;
    if (!(rate >= 0 && rate <= 1)) {
        return vt_fail(error, VT_VALUE, "rate is %g, expected a number from 0 to 1", rate);
    }
    if (row < 0 || row > most) {
        return vt_fail(error, VT_VALUE, "row is %lld, expected 0 to %lld", (long long)row,
                       (long long)most);
    }
    return vt_infer_same(s, error);
}

static vt_dropout mask_of(const vt_tile *t) {
    const vt_node *node = t->signature->node;
    return (vt_dropout){
        .key = t->key,
        .image = t->first_image + (uint64_t)t->image,
        .site = vt_rng_site(node->attributes[SITE].name),
        .offset = (node->attributes[ROW].i + t->row) * vt_shape_cols(&node->shape),
        .keep = 1.0 - node->attributes[RATE].f,
    };
}

static vt_status dropout_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const vt_dropout mask = mask_of(t);
    t->kernels->dropout(t->out, NULL, t->in[0], &mask, elements(t));
    return VT_OK;
}

static vt_status dropout_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const vt_dropout mask = mask_of(t);
    t->kernels->dropout(t->din[0], t->base[0], t->dout, &mask, elements(t));
    return VT_OK;
}

static void dropout_skip_rows(vt_node *node, int64_t rows) { node->attributes[ROW].i += rows; }

const vt_op vt_op_dropout = {
    .name = "dropout",
    .inputs = 1,
    .attributes = {{"rate", VT_ATTR_FLOAT, false},
                   {"site", VT_ATTR_NAME, false},
                   {"row", VT_ATTR_INT, true}},
    .infer = random_infer,
    .forward = dropout_forward,
    .backward = dropout_backward,
    .skip_rows = dropout_skip_rows,
    .training_only = true,
    .cheap = true,
    .in_place = true,
};

/* The factor of this image's branch (Huang et al. 2016; timm drop_path): 0 or 1 / keep. */
static double path_factor(const vt_tile *t) {
    const vt_dropout mask = mask_of(t);
    uint32_t word[4];
    vt_rng_draw(word, mask.key, mask.image, mask.site, 0);
    return vt_rng_keep(word[0], mask.keep) ? 1.0 / mask.keep : 0.0;
}

static vt_status drop_path_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    t->kernels->scale_add(t->out, NULL, t->in[0], path_factor(t), elements(t));
    return VT_OK;
}

static vt_status drop_path_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    t->kernels->scale_add(t->din[0], t->base[0], t->dout, path_factor(t), elements(t));
    return VT_OK;
}

const vt_op vt_op_drop_path = {
    .name = "drop_path",
    .inputs = 1,
    .attributes = {{"rate", VT_ATTR_FLOAT, false}, {"site", VT_ATTR_NAME, false}},
    .infer = random_infer,
    .forward = drop_path_forward,
    .backward = drop_path_backward,
    .training_only = true,
    .cheap = true,
    .in_place = true,
};
