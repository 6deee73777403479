/* resample: a table of positions for another grid of patches, (P + h w, D) -> (P + h' w', D). The
 * first P rows, of tokens that are not patches, stay. The rest is resized bicubically with
 * antialiasing, the rows of the grid by a matrix R (h', h), its columns by C (w', w):
 *
 *   y[i, j] = sum over a, b of R[i, a] C[j, b] x[a, b]
 *
 * The matrices are those of vitc.models.resample.bicubic (torch's interpolate, antialias=True). */
#include <math.h>
#include <string.h>

#include "ops/operations.h"

enum { PREFIX, HEIGHT, WIDTH, NEW_HEIGHT, NEW_WIDTH, COUNT };

static int64_t attribute(const vt_signature *s, int index) { return s->node->attributes[index].i; }

static vt_status infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    const int64_t rows = s->input[0].dim[0], prefix = attribute(s, PREFIX);
    const int64_t most = INT32_MAX; /* so that no product overflows */
    bool fits = prefix >= 0 && prefix < rows;
    for (int i = HEIGHT; i < COUNT; i++) {
        fits = fits && attribute(s, i) >= 1 && attribute(s, i) <= most;
    }
    if (!fits || attribute(s, HEIGHT) * attribute(s, WIDTH) != rows - prefix) {
        return vt_fail(error, VT_VALUE,
                       "%lld rows are not a prefix of %lld and a grid of %lld x %lld",
                       (long long)rows, (long long)prefix, (long long)attribute(s, HEIGHT),
                       (long long)attribute(s, WIDTH));
    }
    const int64_t grid = attribute(s, NEW_HEIGHT) * attribute(s, NEW_WIDTH);
    if (grid > most - prefix) {
        return vt_fail(error, VT_VALUE, "a grid of %lld x %lld is too large",
                       (long long)attribute(s, NEW_HEIGHT), (long long)attribute(s, NEW_WIDTH));
    }
    s->node->shape = (vt_shape){2, {prefix + grid, s->input[0].dim[1]}};
    return VT_OK;
}

/* ---------------------------------------------------------------- one row of a matrix */

/* Sample i of a new row of `count` samples reads [first, last) of the old one. */
typedef struct taps {
    int64_t first, last;
    double centre, stretch, sum;
} taps;

/* The cubic of Keys (1981) with A = -1/2. */
static double cubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1) return ((a + 2) * x - (a + 3)) * x * x + 1;
    return x < 2 ? ((x - 5) * x + 8) * x * a - 4 * a : 0;
}

static double unscaled(const taps *t, int64_t index) {
    return cubic(((double)index + 0.5 - t->centre) / t->stretch);
}

/* Centres are rounded to float, as torch has them. */
static taps taps_of(int64_t old, int64_t count, int64_t i) {
    const float scale = (float)((double)old / (double)count);
    taps t = {0, 0, scale * ((float)i + 0.5F), scale > 1 ? scale : 1, 0};
    const int64_t first = (int64_t)(t.centre - 2 * t.stretch + 0.5);
    const int64_t last = (int64_t)(t.centre + 2 * t.stretch + 0.5);
    t.first = first > 0 ? first : 0;
    t.last = last < old ? last : old;
    for (int64_t k = t.first; k < t.last; k++) t.sum += unscaled(&t, k);
    return t;
}

/* R[i, index] */
static double weight(const taps *t, int64_t index) {
    return index < t->first || index >= t->last ? 0 : unscaled(t, index) / t->sum;
}

/* ---------------------------------------------------------------- forward and backward */

static void forward_row(const vt_tile *t, int64_t row, void *y) {
    const vt_signature *s = t->signature;
    const int64_t cols = s->node->shape.dim[1], prefix = attribute(s, PREFIX);
    if (row < prefix) {
        memcpy(y, vt_const_at(t->in[0], t->element, row * cols), (size_t)cols * t->element);
        return;
    }
    const int64_t patch = row - prefix, width = attribute(s, NEW_WIDTH);
    const taps rows = taps_of(attribute(s, HEIGHT), attribute(s, NEW_HEIGHT), patch / width);
    const taps columns = taps_of(attribute(s, WIDTH), width, patch % width);
    memset(y, 0, (size_t)cols * t->element);
    for (int64_t a = rows.first; a < rows.last; a++) {
        for (int64_t b = columns.first; b < columns.last; b++) {
            const int64_t from = prefix + a * attribute(s, WIDTH) + b;
            t->kernels->scale_add(y, y, vt_const_at(t->in[0], t->element, from * cols),
                                  weight(&rows, a) * weight(&columns, b), cols);
        }
    }
}

static vt_status forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = t->signature->node->shape.dim[1];
    for (int64_t i = 0; i < t->rows; i++) {
        forward_row(t, t->row + i, vt_at(t->out, t->element, i * cols));
    }
    return VT_OK;
}

/* dx[a, b] += sum over i, j of R[i, a] C[j, b] dy[i, j] */
static void backward_row(const vt_tile *t, int64_t row, void *dx) {
    const vt_signature *s = t->signature;
    const int64_t cols = s->node->shape.dim[1], prefix = attribute(s, PREFIX);
    if (row < prefix) {
        t->kernels->scale_add(dx, dx, vt_const_at(t->dout, t->element, row * cols), 1.0, cols);
        return;
    }
    const int64_t patch = row - prefix, width = attribute(s, WIDTH), wide = attribute(s, NEW_WIDTH);
    for (int64_t i = 0; i < attribute(s, NEW_HEIGHT); i++) {
        const taps rows = taps_of(attribute(s, HEIGHT), attribute(s, NEW_HEIGHT), i);
        const double across = weight(&rows, patch / width);
        for (int64_t j = 0; across != 0 && j < wide; j++) {
            const taps columns = taps_of(width, wide, j);
            const double factor = across * weight(&columns, patch % width);
            if (factor == 0) continue;
            const int64_t from = prefix + i * wide + j;
            t->kernels->scale_add(dx, dx, vt_const_at(t->dout, t->element, from * cols), factor,
                                  cols);
        }
    }
}

static vt_status backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const int64_t cols = t->signature->node->shape.dim[1];
    const size_t bytes = (size_t)cols * t->element;
    for (int64_t i = 0; i < t->rows; i++) {
        void *dx = vt_at(t->din[0], t->element, i * cols);
        const void *base =
            t->base[0] == NULL ? NULL : vt_const_at(t->base[0], t->element, i * cols);
        if (base == NULL) memset(dx, 0, bytes);
        if (base != NULL && base != dx) memcpy(dx, base, bytes);
        backward_row(t, t->row + i, dx);
    }
    return VT_OK;
}

const vt_op vt_op_resample = {
    .name = "resample",
    .inputs = 1,
    .attributes = {{"prefix", VT_ATTR_INT, false},
                   {"height", VT_ATTR_INT, false},
                   {"width", VT_ATTR_INT, false},
                   {"new_height", VT_ATTR_INT, false},
                   {"new_width", VT_ATTR_INT, false}},
    .infer = infer,
    .forward = forward,
    .backward = backward,
    .gathers = true,
    .cheap = true,
};
