/* Rotary positions (Su et al. 2021; timm EvaAttention).
 *
 * rope: the queries and keys of (N, 3 C), columns q | k | v, each head-major, turned by the angles
 * of a table; v stays. A table (N, d) is for all heads of d columns, one of (N, C) has d columns
 * for each; a row is cos | sin of d / 2 angles each. Angle i turns the columns i and d / 2 + i of a
 * head with `halves`, else 2 i and 2 i + 1.
 *
 * rope_table: such a table for the patches of a grid, row by row, behind `prefix` rows of angle 0.
 * The first half of the angles is of one axis, the other of the other: of y then x, or of x then y
 * if `swapped`. The coordinate is start + step * index; angle i of it is
 * coordinate * temperature^(-4 i / d).
 *
 * rope_mixed: a table from frequencies (2 depth heads, d / 2), those of the first axis before those
 * of the second: the angle is first * f[0, block, head, i] + second * f[1, block, head, i]
 * (Heo et al. 2024), the coordinates being row and column of the grid. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "ops/operations.h"

/* ---------------------------------------------------------------- rope */

enum { HEADS, HALVES };
enum { QKV, TABLE };

typedef struct turned {
    int64_t heads, size, channels; /* d, C */
    int64_t table;                 /* columns of the table */
    bool halves;
} turned;

static turned turned_of(const vt_signature *s) {
    const int64_t heads = s->node->attributes[HEADS].i, cols = vt_shape_cols(&s->input[QKV]);
    return (turned){.heads = heads,
                    .size = cols / 3 / heads,
                    .channels = cols / 3,
                    .table = vt_shape_cols(&s->input[TABLE]),
                    .halves = s->node->attributes[HALVES].i == 1};
}

static vt_status rope_infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, QKV, error));
    VT_TRY(vt_expect_matrix(s, TABLE, error));
    const int64_t heads = s->node->attributes[HEADS].i, halves = s->node->attributes[HALVES].i;
    const int64_t rows = s->input[QKV].dim[0], cols = s->input[QKV].dim[1];
    if (heads < 1 || heads > cols || cols % (6 * heads) != 0) {
        return vt_fail(error, VT_VALUE,
                       "%lld columns of q, k and v cannot be split into %lld heads of pairs",
                       (long long)cols, (long long)heads);
    }
    if (halves != 0 && halves != 1) {
        return vt_fail(error, VT_VALUE, "halves is %lld, expected 0 or 1", (long long)halves);
    }
    const turned z = turned_of(s);
    if (s->input[TABLE].dim[0] != rows || (z.table != z.size && z.table != z.channels)) {
        return vt_fail(error, VT_VALUE, "the table is %lld x %lld, expected %lld x %lld or %lld",
                       (long long)s->input[TABLE].dim[0], (long long)z.table, (long long)rows,
                       (long long)z.size, (long long)z.channels);
    }
    s->node->shape = s->input[QKV];
    return VT_OK;
}

static const void *base_row(const vt_tile *t, int input, int64_t at) {
    return t->base[input] == NULL ? NULL : vt_const_at(t->base[input], t->element, at);
}

/* y = base + q | k turned, v as it is; one row, from element `at` on */
static void turn_row(const vt_tile *t, turned z, void *y, const void *base, const void *x,
                     const void *table, double sign) {
    /* A table for all heads turns them in one call; else each head of q and k has angles of its
     * own, the same for both. */
    const int64_t pieces = z.table == z.size ? 2 * z.heads : 1;
    for (int64_t p = 0; p < 2 * z.heads; p += pieces) {
        const int64_t at = p * z.size, angles = pieces == 1 ? at % z.channels : 0;
        t->kernels->rotate(vt_at(y, t->element, at),
                           base == NULL ? NULL : vt_const_at(base, t->element, at),
                           vt_const_at(x, t->element, at), vt_const_at(table, t->element, angles),
                           z.halves, sign, pieces, z.size);
    }
    const int64_t v = 2 * z.channels;
    if (x == y && base == NULL) return;
    t->kernels->scale_add(vt_at(y, t->element, v),
                          base == NULL ? NULL : vt_const_at(base, t->element, v),
                          vt_const_at(x, t->element, v), 1.0, z.channels);
}

static vt_status rope_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const turned z = turned_of(t->signature);
    for (int64_t i = 0; i < t->rows; i++) {
        const int64_t at = i * 3 * z.channels;
        turn_row(t, z, vt_at(t->out, t->element, at), NULL, vt_const_at(t->in[QKV], t->element, at),
                 vt_const_at(t->in[TABLE], t->element, i * z.table), 1.0);
    }
    return VT_OK;
}

/* The gradient of a row of the table: the sum over q and k, and over heads that share it. */
static void table_row(const vt_tile *t, turned z, void *dtable, const void *base, const void *dy,
                      const void *x) {
    const int64_t pieces = z.table == z.size ? 2 * z.heads : 1;
    for (int64_t p = 0; p < 2 * z.heads; p += pieces) {
        const int64_t at = p * z.size, angles = pieces == 1 ? at % z.channels : 0;
        const void *from = p < z.heads ? base : dtable; /* k is added to what q gave */
        t->kernels->rotate_slope(vt_at(dtable, t->element, angles),
                                 from == NULL ? NULL : vt_const_at(from, t->element, angles),
                                 vt_const_at(dy, t->element, at), vt_const_at(x, t->element, at),
                                 z.halves, pieces, z.size);
    }
}

/* Of q and k the gradient is turned back. */
static vt_status rope_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const turned z = turned_of(t->signature);
    for (int64_t i = 0; i < t->rows; i++) {
        const int64_t at = i * 3 * z.channels, row = i * z.table;
        const void *dy = vt_const_at(t->dout, t->element, at);
        if (t->din[TABLE] != NULL) {
            table_row(t, z, vt_at(t->din[TABLE], t->element, row), base_row(t, TABLE, row), dy,
                      vt_const_at(t->in[QKV], t->element, at));
        }
        if (t->din[QKV] != NULL) {
            turn_row(t, z, vt_at(t->din[QKV], t->element, at), base_row(t, QKV, at), dy,
                     vt_const_at(t->in[TABLE], t->element, row), -1.0);
        }
    }
    return VT_OK;
}

const vt_op vt_op_rope = {
    .name = "rope",
    .inputs = 2,
    .attributes = {{"heads", VT_ATTR_INT, false}, {"halves", VT_ATTR_INT, true}},
    .infer = rope_infer,
    .forward = rope_forward,
    .backward = rope_backward,
    .in_place = true,
    .backward_reads_input = true,
    .bilinear = true,
};

/* ---------------------------------------------------------------- grids */

/* The first attributes of both tables. */
enum { PREFIX, HEIGHT, WIDTH, SWAPPED, GRID_END };

static int64_t attribute(const vt_signature *s, int index) { return s->node->attributes[index].i; }

static vt_status infer_grid(vt_signature *s, int64_t cols, vt_error *error) {
    const int64_t most = (int64_t)1 << 24; /* so that no product overflows */
    const int64_t prefix = attribute(s, PREFIX), swapped = attribute(s, SWAPPED);
    const int64_t height = attribute(s, HEIGHT), width = attribute(s, WIDTH);
    if (prefix < 0 || prefix > most || height < 1 || height > most || width < 1 || width > most) {
        return vt_fail(error, VT_VALUE, "there is no grid of %lld x %lld behind %lld rows",
                       (long long)height, (long long)width, (long long)prefix);
    }
    if (swapped != 0 && swapped != 1) {
        return vt_fail(error, VT_VALUE, "swapped is %lld, expected 0 or 1", (long long)swapped);
    }
    s->node->shape = (vt_shape){2, {prefix + height * width, cols}};
    return VT_OK;
}

static void store(void *to, size_t element, int64_t at, double value) {
    if (element == sizeof(float)) {
        ((float *)to)[at] = (float)value;
    } else {
        ((double *)to)[at] = value;
    }
}

static double load(const void *from, size_t element, int64_t at) {
    return element == sizeof(float) ? (double)((const float *)from)[at]
                                    : ((const double *)from)[at];
}

static void store_angle(void *row, size_t element, int64_t cosine, int64_t sine, double angle) {
    store(row, element, cosine, cos(angle));
    store(row, element, sine, sin(angle));
}

/* ---------------------------------------------------------------- rope_table */

enum { SIZE = GRID_END, TEMPERATURE, Y_START, Y_STEP, X_START, X_STEP, TABLE_END };

static vt_status table_infer(vt_signature *s, vt_error *error) {
    const int64_t size = attribute(s, SIZE);
    if (size < 4 || size > (1 << 20) || size % 4 != 0) {
        return vt_fail(error, VT_VALUE, "size is %lld, expected a multiple of 4", (long long)size);
    }
    const double temperature = s->node->attributes[TEMPERATURE].f;
    if (!(temperature > 0) || !isfinite(temperature)) {
        return vt_fail(error, VT_VALUE, "temperature is %g, expected a number above 0",
                       temperature);
    }
    for (int i = Y_START; i < TABLE_END; i++) {
        if (isfinite(s->node->attributes[i].f)) continue;
        return vt_fail(error, VT_VALUE, "%s is %g, expected a number",
                       s->node->op->attributes[i].name, s->node->attributes[i].f);
    }
    return infer_grid(s, size, error);
}

/* The angles of one axis in row `i` of the strip; `like`: an earlier row of it with the same
 * coordinate, or -1. */
static void axis_angles(const vt_tile *t, int64_t i, bool second, double coordinate, int64_t like) {
    const vt_attribute *attributes = t->signature->node->attributes;
    /* A row is cos | sin, and each of these the first axis | the second. */
    const int64_t size = attributes[SIZE].i, count = size / 4;
    void *row = vt_at(t->out, t->element, i * size);
    const int64_t cosine = second ? count : 0, sine = size / 2 + cosine;
    /* A copy is much cheaper than cosines. */
    if (like >= 0) {
        const void *from = vt_const_at(t->out, t->element, like * size);
        const size_t bytes = (size_t)count * t->element;
        memcpy(vt_at(row, t->element, cosine), vt_const_at(from, t->element, cosine), bytes);
        memcpy(vt_at(row, t->element, sine), vt_const_at(from, t->element, sine), bytes);
        return;
    }
    for (int64_t k = 0; k < count; k++) {
        const double slowness = pow(attributes[TEMPERATURE].f, (double)k / (double)count);
        store_angle(row, t->element, cosine + k, sine + k, coordinate / slowness);
    }
}

static void table_row_forward(const vt_tile *t, int64_t i) {
    const vt_attribute *attributes = t->signature->node->attributes;
    const int64_t width = attributes[WIDTH].i, patch = t->row + i - attributes[PREFIX].i;
    const bool swapped = attributes[SWAPPED].i == 1;
    if (patch < 0) {
        axis_angles(t, i, false, 0, -1);
        axis_angles(t, i, true, 0, -1);
        return;
    }
    /* The patch beside it has the same y, that above it the same x, if they are in the strip. */
    const int64_t y = patch / width, x = patch % width;
    const int64_t beside = i >= 1 && x >= 1 ? i - 1 : -1;
    const int64_t above = i >= width && y >= 1 ? i - width : -1;
    const double at_y = attributes[Y_START].f + attributes[Y_STEP].f * (double)y;
    const double at_x = attributes[X_START].f + attributes[X_STEP].f * (double)x;
    axis_angles(t, i, swapped, at_y, beside);
    axis_angles(t, i, !swapped, at_x, above);
}

static vt_status table_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    for (int64_t i = 0; i < t->rows; i++) table_row_forward(t, i);
    return VT_OK;
}

/* There is no input to give a gradient to. */
static vt_status table_backward(const vt_tile *t, vt_error *error) {
    (void)t, (void)error;
    return VT_OK;
}

/* It gathers, for its rows are not those of an input. */
const vt_op vt_op_rope_table = {
    .name = "rope_table",
    .inputs = 0,
    .attributes = {{"prefix", VT_ATTR_INT, false},
                   {"height", VT_ATTR_INT, false},
                   {"width", VT_ATTR_INT, false},
                   {"swapped", VT_ATTR_INT, true},
                   {"size", VT_ATTR_INT, false},
                   {"temperature", VT_ATTR_FLOAT, false},
                   {"y_start", VT_ATTR_FLOAT, false},
                   {"y_step", VT_ATTR_FLOAT, false},
                   {"x_start", VT_ATTR_FLOAT, false},
                   {"x_step", VT_ATTR_FLOAT, false}},
    .infer = table_infer,
    .forward = table_forward,
    .backward = table_backward,
    .gathers = true,
    .cheap = true,
};

/* ---------------------------------------------------------------- rope_mixed */

enum { MIXED_HEADS = GRID_END, BLOCK };

static vt_status mixed_infer(vt_signature *s, vt_error *error) {
    VT_TRY(vt_expect_matrix(s, 0, error));
    const int64_t rows = s->input[0].dim[0], heads = attribute(s, MIXED_HEADS);
    const int64_t block = attribute(s, BLOCK);
    if (heads < 1 || heads > rows || rows % (2 * heads) != 0 || block < 0 ||
        block >= rows / 2 / heads) {
        return vt_fail(error, VT_VALUE,
                       "%lld rows are not two times the frequencies of block %lld with %lld heads",
                       (long long)rows, (long long)block, (long long)heads);
    }
    if (s->input[0].dim[1] > (1 << 20)) {
        return vt_fail(error, VT_VALUE, "%lld frequencies are too many",
                       (long long)s->input[0].dim[1]);
    }
    return infer_grid(s, heads * 2 * s->input[0].dim[1], error);
}

/* One part is one head: where its frequencies are, and the table. */
typedef struct mixture {
    int64_t count, down, right; /* frequencies, and the first of those of either direction */
    int64_t prefix, width, rows;
    int64_t cols, start; /* of the table, and where the head begins in a row */
} mixture;

static mixture mixture_of(const vt_tile *t) {
    const vt_signature *s = t->signature;
    const int64_t heads = attribute(s, MIXED_HEADS), count = s->input[0].dim[1];
    const int64_t row = attribute(s, BLOCK) * heads + t->part;
    /* The upper half of the frequencies is of the first axis, the lower of the second. */
    const int64_t axis[] = {row * count, (s->input[0].dim[0] / 2 + row) * count};
    const bool swapped = attribute(s, SWAPPED) == 1;
    return (mixture){.count = count,
                     .down = axis[swapped],
                     .right = axis[!swapped],
                     .prefix = attribute(s, PREFIX),
                     .width = attribute(s, WIDTH),
                     .rows = s->node->shape.dim[0],
                     .cols = s->node->shape.dim[1],
                     .start = t->part * 2 * count};
}

/* Cosines and sines, one for each frequency. */
typedef struct turns {
    double *cosine, *sine;
} turns;

/* Those of the angles of a patch, found from the one beside it, or above it, in double: a few
 * products instead of a cosine and a sine for each patch. */
typedef struct walk {
    turns now, first; /* of this patch, and of the first in its row */
    turns down, right;
} walk;

enum { WALK_ARRAYS = 8 }; /* a cosine and a sine of four turns */

static turns turns_at(const vt_tile *t, const mixture *m, int64_t index) {
    double *start = (double *)t->scratch + 2 * index * m->count;
    return (turns){start, start + m->count};
}

/* The angles of a grow by those of `by`: cos and sin of a sum. */
static void turn(turns a, turns by, int64_t count) {
    for (int64_t k = 0; k < count; k++) {
        const double cosine = a.cosine[k] * by.cosine[k] - a.sine[k] * by.sine[k];
        a.sine[k] = a.sine[k] * by.cosine[k] + a.cosine[k] * by.sine[k];
        a.cosine[k] = cosine;
    }
}

static void copy_turns(turns to, turns from, int64_t count) {
    memcpy(to.cosine, from.cosine, 2 * (size_t)count * sizeof(double));
}

static walk start_walk(const vt_tile *t, const mixture *m) {
    walk w = {turns_at(t, m, 0), turns_at(t, m, 1), turns_at(t, m, 2), turns_at(t, m, 3)};
    for (int64_t k = 0; k < m->count; k++) {
        const double down = load(t->in[0], t->element, m->down + k);
        const double right = load(t->in[0], t->element, m->right + k);
        w.down.cosine[k] = cos(down), w.down.sine[k] = sin(down);
        w.right.cosine[k] = cos(right), w.right.sine[k] = sin(right);
        w.first.cosine[k] = 1, w.first.sine[k] = 0; /* patch (0, 0) is not turned */
    }
    copy_turns(w.now, w.first, m->count);
    return w;
}

/* From the patch before this one to this one. */
static void step(const walk *w, const mixture *m, int64_t patch) {
    if (patch <= 0) return;
    if (patch % m->width != 0) {
        turn(w->now, w->right, m->count);
        return;
    }
    /* A new row starts from the first patch of the last one: errors grow with height + width. */
    turn(w->first, w->down, m->count);
    copy_turns(w->now, w->first, m->count);
}

static vt_status mixed_open(vt_products *products, const vt_signature *s, vt_arithmetic arithmetic,
                            vt_error *error) {
    (void)arithmetic, (void)error;
    products->parts = attribute(s, MIXED_HEADS);
    const int64_t sums = 2; /* of backward */
    products->scratch_bytes =
        vt_align((size_t)((WALK_ARRAYS + sums) * s->input[0].dim[1]) * sizeof(double));
    return VT_OK;
}

static vt_status mixed_forward(const vt_tile *t, vt_error *error) {
    (void)error;
    const mixture m = mixture_of(t);
    const walk w = start_walk(t, &m);
    for (int64_t row = 0; row < m.rows; row++) {
        const int64_t at = row * m.cols + m.start;
        step(&w, &m, row - m.prefix);
        for (int64_t k = 0; k < m.count; k++) {
            store(t->out, t->element, at + k, w.now.cosine[k]);
            store(t->out, t->element, at + m.count + k, w.now.sine[k]);
        }
    }
    return VT_OK;
}

/* The slopes of all frequencies: sum over patches of the coordinate * (cos dsin - sin dcos) */
static void add_frequency_slopes(const vt_tile *t, const mixture *m, turns now, int64_t row,
                                 double *down, double *right) {
    const int64_t at = row * m->cols + m->start, patch = row - m->prefix;
    const double y = (double)(patch / m->width), x = (double)(patch % m->width);
    for (int64_t k = 0; k < m->count; k++) {
        const double dangle = now.cosine[k] * load(t->dout, t->element, at + m->count + k) -
                              now.sine[k] * load(t->dout, t->element, at + k);
        down[k] += y * dangle;
        right[k] += x * dangle;
    }
}

/* The rows of other blocks get what others give to them. */
static void pass_other_blocks(const vt_tile *t, const mixture *m) {
    const int64_t heads = attribute(t->signature, MIXED_HEADS);
    const int64_t rows = t->signature->input[0].dim[0];
    for (int64_t row = t->part; row < rows; row += heads) {
        const int64_t at = row * m->count;
        if (at == m->down || at == m->right) continue;
        void *dx = vt_at(t->din[0], t->element, at);
        const size_t bytes = (size_t)m->count * t->element;
        if (t->base[0] == NULL) {
            memset(dx, 0, bytes);
        } else if (t->base[0] != t->din[0]) {
            memcpy(dx, vt_const_at(t->base[0], t->element, at), bytes);
        }
    }
}

/* din = base + slopes, of the frequencies from `first` on */
static void put_slopes(const vt_tile *t, const double *slopes, int64_t first, int64_t count) {
    for (int64_t k = first; k < first + count; k++) {
        const double base = t->base[0] == NULL ? 0 : load(t->base[0], t->element, k);
        store(t->din[0], t->element, k, base + slopes[k - first]);
    }
}

static vt_status mixed_backward(const vt_tile *t, vt_error *error) {
    (void)error;
    const mixture m = mixture_of(t);
    const walk w = start_walk(t, &m);
    double *down = (double *)t->scratch + WALK_ARRAYS * m.count, *right = down + m.count;
    memset(down, 0, 2 * (size_t)m.count * sizeof *down);
    for (int64_t row = m.prefix; row < m.rows; row++) {
        step(&w, &m, row - m.prefix);
        add_frequency_slopes(t, &m, w.now, row, down, right);
    }
    pass_other_blocks(t, &m);
    put_slopes(t, down, m.down, m.count);
    put_slopes(t, right, m.right, m.count);
    return VT_OK;
}

const vt_op vt_op_rope_mixed = {
    .name = "rope_mixed",
    .inputs = 1,
    .attributes = {{"prefix", VT_ATTR_INT, false},
                   {"height", VT_ATTR_INT, false},
                   {"width", VT_ATTR_INT, false},
                   {"swapped", VT_ATTR_INT, true},
                   {"heads", VT_ATTR_INT, false},
                   {"block", VT_ATTR_INT, false}},
    .infer = mixed_infer,
    .open = mixed_open,
    .forward = mixed_forward,
    .backward = mixed_backward,
    .space = VT_PARTS,
    .cheap = true,
    .backward_reads_input = true,
};
