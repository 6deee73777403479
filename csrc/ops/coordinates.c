/* relative_coordinates: how far two patches of a grid (h, w) may be apart, ((2 h - 1) (2 w - 1),
 * 2): for each difference dy from -(h - 1) on, then dx from -(w - 1) on, the row sign(d) log(1 +
 * |d|) of both (Liu et al. 2022; timm gen_relative_log_coords). */
#include <math.h>

#include "ops/operations.h"

enum { HEIGHT, WIDTH };

static vt_status infer(vt_signature *s, vt_error *error) {
    const int64_t height = s->node->attributes[HEIGHT].i, width = s->node->attributes[WIDTH].i;
    const int64_t most = (int64_t)1 << 14; /* so that no product overflows */
    if (height < 1 || height > most || width < 1 || width > most) {
        return vt_fail(error, VT_VALUE, "there is no grid of %lld x %lld", (long long)height,
                       (long long)width);
    }
    s->node->shape = (vt_shape){2, {(2 * height - 1) * (2 * width - 1), 2}};
    return VT_OK;
}

static double logarithm(int64_t difference) {
    const double size = log1p(fabs((double)difference));
    return difference < 0 ? -size : size;
}

static void store(const vt_tile *t, int64_t at, double value) {
    if (t->element == sizeof(float)) {
        ((float *)t->out)[at] = (float)value;
    } else {
        ((double *)t->out)[at] = value;
    }
}

static vt_status forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const vt_attribute *attributes = t->signature->node->attributes;
    const int64_t height = attributes[HEIGHT].i, width = attributes[WIDTH].i,
                  across = 2 * width - 1;
    for (int64_t i = 0; i < t->rows; i++) {
        store(t, 2 * i, logarithm((t->row + i) / across - height + 1));
        store(t, 2 * i + 1, logarithm((t->row + i) % across - width + 1));
    }
    return VT_OK;
}

/* There is no input to give a gradient to. */
static vt_status backward(const vt_tile *t, vt_error *error) {
    (void)t, (void)error;
    return VT_OK;
}

/* It gathers, for its rows are not those of an input. */
const vt_op vt_op_relative_coordinates = {
    .name = "relative_coordinates",
    .inputs = 0,
    .attributes = {{"height", VT_ATTR_INT, false}, {"width", VT_ATTR_INT, false}},
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .gathers = true,
    .cheap = true,
};
