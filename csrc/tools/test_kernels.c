/* Tests of the arithmetic kernels. No arguments; exits with 1 if a check failed.
 *
 * - every float kernel, at each level the CPU has, against the double one and the plain float one:
 *   odd sizes, unaligned arrays, in place, base NULL / dx / another, guards around each array;
 * - the same bits wherever a row or an element stands; NaN where double has NaN;
 * - the double kernels against central differences and closed forms;
 * - arguments far out: the tails of GELU, scores far below the greatest. */
#include <float.h>
#include <math.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "kernels/kernels.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#endif

/* ---------------------------------------------------------------- counting and reporting */

static int passed, failed, failed_in_group;

static void check(bool good, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void check(bool good, const char *format, ...) {
    enum { SHOWN = 5 };
    if (good) {
        passed++;
        return;
    }
    failed++;
    if (++failed_in_group > SHOWN) return;
    va_list arguments;
    va_start(arguments, format);
    printf("  FAILED: ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
}

/* ---------------------------------------------------------------- numbers */

static uint64_t random_state = 1;

/* Uniform in [0, 1): splitmix64. */
static double uniform(void) {
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* 'n': about normal; 'p': in (0, 1); 'l': a logarithm of a probability. Exact in float. */
static double draw(char kind) {
    double sum = -2;
    if (kind == 'p') return (double)(float)(uniform() + 1e-3);
    if (kind == 'l') return (double)(float)(-8 * uniform());
    for (int i = 0; i < 4; i++) sum += uniform();
    return (double)(float)(2 * sum);
}

static double get(const void *array, vt_dtype dtype, int64_t i) {
    return dtype == VT_F64 ? ((const double *)array)[i] : (double)((const float *)array)[i];
}

static void set(void *array, vt_dtype dtype, int64_t i, double value) {
    if (dtype == VT_F64) {
        ((double *)array)[i] = value;
    } else {
        ((float *)array)[i] = (float)value;
    }
}

/* ---------------------------------------------------------------- arrays with guards */

enum { GUARD = 64, GUARD_BYTE = 0xA5, MEMORY = 1 << 24, ARRAYS = 32 };

static _Alignas(64) unsigned char memory[MEMORY];
static size_t memory_used;
static struct {
    unsigned char *start;
    size_t bytes;
} arrays[ARRAYS];
static int array_count;

static void start_arrays(void) {
    ASAN_UNPOISON_MEMORY_REGION(memory, sizeof memory);
    memory_used = 0;
    array_count = 0;
}

/* An array that starts `offset` elements behind a multiple of 64 bytes, between two guards. */
static void *new_array(vt_dtype dtype, int64_t elements, int offset) {
    const size_t size = vt_dtype_size(dtype), bytes = (size_t)elements * size;
    unsigned char *start = memory + memory_used + GUARD + (size_t)offset * size;
    const size_t whole = (2 * GUARD + (size_t)offset * size + bytes + 63) & ~(size_t)63;
    memset(memory + memory_used, GUARD_BYTE, whole);
    memory_used += whole;
    arrays[array_count].start = start;
    arrays[array_count++].bytes = bytes;
    ASAN_POISON_MEMORY_REGION(start + bytes, (size_t)(memory + memory_used - start) - bytes);
    return start;
}

static bool guards_intact(void) {
    ASAN_UNPOISON_MEMORY_REGION(memory, sizeof memory);
    for (int a = 0; a < array_count; a++) {
        for (size_t i = 1; i <= GUARD; i++) {
            if (*(arrays[a].start - i) != GUARD_BYTE) return false;
            if (arrays[a].start[arrays[a].bytes + i - 1] != GUARD_BYTE) return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- the slots as data */

enum { OUTPUTS = 3, INPUTS = 5 };

/* One call of a kernel. Arrays are (rows, ld) or (cols). */
typedef struct call {
    void *out[OUTPUTS], *in[INPUTS];
    int64_t rows, cols, ld;
    double result; /* what the kernel returned */
} call;

/* An array: shape 'm' (rows, cols) or 'v' (cols), and what draw() fills it with; outputs with '-'
 * are only written. */
typedef struct spec {
    const char *name;
    void (*run)(const vt_kernels *, call *);
    const char *out[OUTPUTS], *in[INPUTS];
    double tolerance; /* relative L2 of an output in float */
    int alias;        /* the input that out[0] may be, or -1 */
    bool base;        /* in[0] is what is added to */
    bool elementwise;
    bool strided; /* takes rows ld apart */
    bool one_row;
} spec;

static const double eps = 1e-6, scale = 0.3;
static const vt_adamw adamw_step = {.lr = 1e-3,
                                    .beta1 = 0.9,
                                    .beta2 = 0.999,
                                    .eps = 1e-8,
                                    .weight_decay = 0.05,
                                    .beta1_power = 0.729,
                                    .beta2_power = 0.997002999};
static const vt_dropout mask = {{7, 3, 1}, 5, 11, 2, 0.8};

static void run_norm_forward(const vt_kernels *k, call *c) {
    k->norm_forward(c->out[0], c->in[0], c->in[1], c->in[2], eps, c->rows, c->cols);
}
static void run_norm_backward(const vt_kernels *k, call *c) {
    k->norm_backward(c->out[0], c->out[1], c->out[2], c->in[0], c->in[1], c->in[2], c->in[3], eps,
                     c->rows, c->cols);
}
static void run_softmax_forward(const vt_kernels *k, call *c) {
    k->softmax_forward(c->out[0], scale, c->rows, c->cols, c->ld);
}
static void run_softmax_backward(const vt_kernels *k, call *c) {
    k->softmax_backward(c->out[0], c->in[0], scale, c->rows, c->cols, c->ld);
}
static void run_log_softmax_forward(const vt_kernels *k, call *c) {
    k->log_softmax_forward(c->out[0], c->in[0], c->rows, c->cols);
}
static void run_log_softmax_backward(const vt_kernels *k, call *c) {
    k->log_softmax_backward(c->out[0], c->in[0], c->in[1], c->in[2], c->rows, c->cols);
}
static void run_gelu_forward(const vt_kernels *k, call *c) {
    k->gelu_forward(c->out[0], c->in[0], c->rows * c->cols);
}
static void run_gelu_backward(const vt_kernels *k, call *c) {
    k->gelu_backward(c->out[0], c->in[0], c->in[1], c->in[2], c->rows * c->cols);
}
static void run_scale_add(const vt_kernels *k, call *c) {
    k->scale_add(c->out[0], c->in[0], c->in[1], scale, c->rows * c->cols);
}
static void run_column_sum(const vt_kernels *k, call *c) {
    k->column_sum(c->out[0], c->in[0], c->rows, c->cols, c->ld);
}
static void run_dropout(const vt_kernels *k, call *c) {
    k->dropout(c->out[0], c->in[0], c->in[1], &mask, c->rows * c->cols);
}
static void run_cross_entropy(const vt_kernels *k, call *c) {
    c->result = k->cross_entropy(c->out[0], c->in[0], c->in[1], c->cols);
}
static void run_adamw(const vt_kernels *k, call *c) {
    k->adamw(c->out[0], c->out[1], c->out[2], c->in[0], c->rows * c->cols, &adamw_step);
}
static void run_sum_of_squares(const vt_kernels *k, call *c) {
    c->result = k->sum_of_squares(c->in[0], c->rows * c->cols);
}
static void run_count_nonfinite(const vt_kernels *k, call *c) {
    c->result = (double)k->count_nonfinite(c->in[0], c->rows * c->cols);
}

static const spec specs[] = {
    {"norm_forward", run_norm_forward, {"m-"}, {"mn", "vn", "vn"}, 3e-7, .alias = 0},
    {"norm_backward",
     run_norm_backward,
     {"m-", "v-", "v-"},
     {"mn", "mn", "mn", "vn"},
     3e-7,
     .alias = 1,
     .base = true},
    {"softmax_forward", run_softmax_forward, {"mn"}, {NULL}, 3e-7, .alias = -1, .strided = true},
    {"softmax_backward", run_softmax_backward, {"mn"}, {"mp"}, 3e-7, .alias = -1, .strided = true},
    {"log_softmax_forward", run_log_softmax_forward, {"m-"}, {"mn"}, 3e-7, .alias = 0},
    {"log_softmax_backward",
     run_log_softmax_backward,
     {"m-"},
     {"mn", "mn", "ml"},
     3e-7,
     .alias = 1,
     .base = true},
    {"gelu_forward", run_gelu_forward, {"m-"}, {"mn"}, 2e-7, .alias = 0, .elementwise = true},
    {"gelu_backward",
     run_gelu_backward,
     {"m-"},
     {"mn", "mn", "mn"},
     2e-7,
     .alias = 1,
     .base = true,
     .elementwise = true},
    {"scale_add",
     run_scale_add,
     {"m-"},
     {"mn", "mn"},
     1e-7,
     .alias = 1,
     .base = true,
     .elementwise = true},
    {"column_sum", run_column_sum, {"v-"}, {"mn"}, 4e-7, .alias = -1, .strided = true},
    {"dropout", run_dropout, {"m-"}, {"mn", "mn"}, 1e-7, .alias = 1, .base = true},
    {"cross_entropy", run_cross_entropy, {"m-"}, {"mn", "mp"}, 2e-7, .alias = 1, .one_row = true},
    {"adamw", run_adamw, {"mn", "mn", "mp"}, {"mn"}, 2e-7, .alias = -1, .elementwise = true},
    {"sum_of_squares", run_sum_of_squares, {NULL}, {"mn"}, 1e-14, .alias = -1},
    {"count_nonfinite", run_count_nonfinite, {NULL}, {"mn"}, 0, .alias = -1},
};
_Static_assert(sizeof specs / sizeof *specs == VT_KERNEL_SLOT_COUNT, "one spec for each slot");

/* ---------------------------------------------------------------- building calls */

enum { BASE_OTHER, BASE_NULL, BASE_OUTPUT, BASES };

/* How a call is laid out. */
typedef struct layout {
    int64_t rows, cols;
    int offset; /* elements from alignment, for every array another one */
    bool in_place;
    int base;
    uint64_t seed;
} layout;

static int64_t leading(const spec *s, const layout *l) {
    return s->strided ? l->cols + 3 : l->cols;
}

static int64_t elements(const char *array, const layout *l, int64_t ld) {
    return array[0] == 'v' ? l->cols : (l->rows - 1) * ld + l->cols;
}

static void *new_filled(vt_dtype dtype, const char *array, const layout *l, int64_t ld,
                        int number) {
    const int64_t n = elements(array, l, ld);
    void *p = new_array(dtype, n, l->offset == 0 ? 0 : (l->offset + 3 * number) % 16);
    for (int64_t i = 0; i < n; i++) set(p, dtype, i, array[1] == '-' ? 777 : draw(array[1]));
    return p;
}

/* The same numbers in any dtype, for the same layout. */
static call new_call(const spec *s, const layout *l, vt_dtype dtype) {
    call c = {.rows = l->rows, .cols = l->cols, .ld = leading(s, l)};
    random_state = l->seed;
    for (int i = 0; i < INPUTS && s->in[i] != NULL; i++) {
        c.in[i] = new_filled(dtype, s->in[i], l, c.ld, i);
    }
    for (int i = 0; i < OUTPUTS && s->out[i] != NULL; i++) {
        c.out[i] = new_filled(dtype, s->out[i], l, c.ld, INPUTS + i);
    }
    if (l->in_place) c.out[0] = c.in[s->alias];
    if (s->base && l->base == BASE_NULL) c.in[0] = NULL;
    if (s->base && l->base == BASE_OUTPUT) c.out[0] = c.in[0];
    return c;
}

/* Relative L2 distance of two outputs of `rows` rows, `ld` apart. */
static double distance(const void *a, vt_dtype a_type, const void *b, vt_dtype b_type, int64_t rows,
                       int64_t cols, int64_t ld) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < rows * cols; i++) {
        const int64_t at = i / cols * ld + i % cols;
        const double x = get(a, a_type, at), y = get(b, b_type, at);
        difference += (x - y) * (x - y);
        size += y * y;
    }
    return sqrt(difference) / (sqrt(size) + DBL_MIN);
}

/* What lies between the rows is as it was, the same numbers for both. */
static bool gaps_intact(const void *a, vt_dtype a_type, const void *b, vt_dtype b_type,
                        int64_t rows, int64_t cols, int64_t ld) {
    for (int64_t at = 0; at < (rows - 1) * ld; at++) {
        if (at % ld >= cols && get(a, a_type, at) != get(b, b_type, at)) return false;
    }
    return true;
}

static double worst[VT_ISA_COUNT][VT_KERNEL_SLOT_COUNT]; /* distance seen, per level and spec */

/* One kernel in float against the same call by `other`. */
static void compare(const spec *s, const layout *l, vt_isa isa, const vt_kernels *other,
                    double factor) {
    start_arrays();
    call a = new_call(s, l, VT_F32), b = new_call(s, l, other->dtype);
    s->run(vt_kernels_level(VT_F32, (int)isa), &a);
    s->run(other, &b);
    check(guards_intact(), "%s %s wrote outside of an array", vt_isa_name(isa), s->name);
    const double difference = fabs(a.result - b.result) / (fabs(b.result) + DBL_MIN);
    check(difference <= s->tolerance * factor, "%s %s returned %.9g, expected %.9g",
          vt_isa_name(isa), s->name, a.result, b.result);
    for (int i = 0; i < OUTPUTS && s->out[i] != NULL; i++) {
        const int64_t rows = s->out[i][0] == 'm' ? l->rows : 1;
        const double d = distance(a.out[i], VT_F32, b.out[i], other->dtype, rows, l->cols, a.ld);
        if (other->dtype == VT_F64) worst[isa][s - specs] = fmax(worst[isa][s - specs], d);
        check(d <= s->tolerance * factor,
              "%s %s output %d: %.2e (%lld x %lld, offset %d, in place %d, base %d)",
              vt_isa_name(isa), s->name, i, d, (long long)l->rows, (long long)l->cols, l->offset,
              l->in_place, l->base);
        check(gaps_intact(a.out[i], VT_F32, b.out[i], other->dtype, rows, l->cols, a.ld),
              "%s %s wrote between the rows", vt_isa_name(isa), s->name);
    }
}

static bool layout_makes_sense(const spec *s, const layout *l) {
    if (s->one_row && l->rows > 1) return false;
    if (l->in_place && s->alias < 0) return false;
    if (l->base != BASE_OTHER && !s->base) return false;
    return !(l->in_place && l->base == BASE_OUTPUT);
}

/* ---------------------------------------------------------------- groups: float against others */

static const int64_t all_cols[] = {1, 2, 7, 8, 15, 16, 17, 63, 192, 197, 768};
static const int64_t all_rows[] = {1, 2, 50};

/* The gradient of one or two normalised columns is 0 but for eps: nothing to be relative to. */
static bool vanishes(const spec *s, const layout *l) {
    return l->cols <= 2 && l->base == BASE_NULL && strcmp(s->name, "norm_backward") == 0;
}

static void compare_layouts(const spec *s, vt_isa isa, int64_t rows, int64_t cols) {
    for (int variant = 0; variant < 2 * 2 * BASES; variant++) {
        const layout l = {rows,
                          cols,
                          variant % 2 * (int)(1 + cols % 15),
                          variant / 2 % 2,
                          variant / 4,
                          (uint64_t)(rows * 1000 + cols)};
        if (!layout_makes_sense(s, &l) || vanishes(s, &l)) continue;
        compare(s, &l, isa, vt_kernels_level(VT_F64, VT_ISA_REF), 1);
        compare(s, &l, isa, vt_kernels_level(VT_F32, VT_ISA_REF), 2);
    }
}

static void compare_spec(const spec *s, vt_isa isa) {
    for (size_t r = 0; r < sizeof all_rows / sizeof *all_rows; r++) {
        for (size_t c = 0; c < sizeof all_cols / sizeof *all_cols; c++) {
            compare_layouts(s, isa, all_rows[r], all_cols[c]);
        }
    }
}

/* Copy row r of every matrix of `whole` into the call of one row. */
static void take_row(const spec *s, const call *whole, call *one, int64_t r, int64_t cols) {
    const size_t row = (size_t)(r * whole->ld) * sizeof(float),
                 bytes = (size_t)cols * sizeof(float);
    for (int i = 0; i < INPUTS && s->in[i] != NULL; i++) {
        const size_t from = s->in[i][0] == 'm' ? row : 0;
        memcpy(one->in[i], (const char *)whole->in[i] + from, bytes);
    }
    for (int i = 0; i < OUTPUTS && s->out[i] != NULL; i++) {
        const size_t from = s->out[i][0] == 'm' ? row : 0;
        memcpy(one->out[i], (const char *)whole->out[i] + from, bytes);
    }
}

static bool same_rows(const spec *s, const call *whole, const call *one, int64_t r, int64_t cols) {
    for (int i = 0; i < OUTPUTS && s->out[i] != NULL; i++) {
        if (s->out[i][0] != 'm') continue;
        const float *row = (const float *)whole->out[i] + r * whole->ld;
        if (memcmp(row, one->out[i], (size_t)cols * sizeof(float)) != 0) return false;
    }
    return true;
}

/* A row among others and the same row alone, elsewhere: the same bits. For elementwise kernels a
 * call on (rows, cols) is one on rows * cols elements, so this moves elements between the lanes. */
static void check_rows_alone(const spec *s, vt_isa isa, int64_t rows, int64_t cols) {
    const vt_kernels *k = vt_kernels_level(VT_F32, (int)isa);
    for (int64_t r = 0; r < rows; r++) {
        start_arrays();
        const layout many = {rows, cols, 0, false, BASE_OTHER, 9};
        const layout single = {1, cols, 1 + (int)r % 15, false, BASE_OTHER, 8};
        call whole = new_call(s, &many, VT_F32), one = new_call(s, &single, VT_F32);
        take_row(s, &whole, &one, r, cols);
        s->run(k, &whole);
        s->run(k, &one);
        check(same_rows(s, &whole, &one, r, cols), "%s %s: row %lld of %lld x %lld alone differs",
              vt_isa_name(isa), s->name, (long long)r, (long long)rows, (long long)cols);
    }
}

static void check_spec_alone(const spec *s, vt_isa isa) {
    static const int64_t cols[] = {1, 3, 17, 63, 197};
    const bool depends = strcmp(s->name, "dropout") == 0 || s->one_row; /* on its offset */
    for (size_t c = 0; !depends && c < sizeof cols / sizeof *cols; c++) {
        check_rows_alone(s, isa, 19, cols[c]);
    }
}

/* A NaN in one input, in front and at the end, is NaN where the double kernel has one. */
static void check_nan(const spec *s, vt_isa isa, int input, bool at_end) {
    start_arrays();
    const layout l = {1, 37, 1, false, BASE_OTHER, 3};
    call a = new_call(s, &l, VT_F32), b = new_call(s, &l, VT_F64);
    void **pa = input < INPUTS ? &a.in[input] : &a.out[input - INPUTS];
    void **pb = input < INPUTS ? &b.in[input] : &b.out[input - INPUTS];
    set(*pa, VT_F32, at_end ? l.cols - 1 : 0, NAN);
    set(*pb, VT_F64, at_end ? l.cols - 1 : 0, NAN);
    s->run(vt_kernels_level(VT_F32, (int)isa), &a);
    s->run(vt_kernels_level(VT_F64, VT_ISA_REF), &b);
    bool same = !isnan(a.result) == !isnan(b.result), any = isnan(b.result) || b.result == 1;
    for (int i = 0; i < OUTPUTS && s->out[i] != NULL; i++) {
        for (int64_t c = 0; c < l.cols; c++) {
            const bool expected = isnan(get(b.out[i], VT_F64, c));
            any |= expected;
            same &= expected == isnan(get(a.out[i], VT_F32, c));
        }
    }
    check(same && any, "%s %s: a NaN in array %d does not come out as it should", vt_isa_name(isa),
          s->name, input);
}

static void check_spec_nan(const spec *s, vt_isa isa) {
    for (int i = 0; i < INPUTS + OUTPUTS; i++) {
        const char *array = i < INPUTS ? s->in[i] : s->out[i - INPUTS];
        if (array == NULL || array[1] == '-') continue;
        check_nan(s, isa, i, false);
        check_nan(s, isa, i, true);
    }
}

/* ---------------------------------------------------------------- groups: the tails */

/* Element by element, relative to the double kernel. */
static void check_tail(vt_isa isa, const char *name, double from, double to, double tolerance) {
    enum { N = 20011 };
    static float x[N], ones[N], y[N];
    static double wide_x[N], wide_ones[N], wide_y[N];
    const vt_kernels *k = vt_kernels_level(VT_F32, (int)isa);
    const vt_kernels *wide = vt_kernels_level(VT_F64, VT_ISA_REF);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(from + (to - from) * i / (N - 1));
        wide_x[i] = (double)x[i];
        ones[i] = 1;
        wide_ones[i] = 1;
    }
    if (strcmp(name, "gelu_forward") == 0) {
        k->gelu_forward(y, x, N);
        wide->gelu_forward(wide_y, wide_x, N);
    } else {
        k->gelu_backward(y, NULL, ones, x, N);
        wide->gelu_backward(wide_y, NULL, wide_ones, wide_x, N);
    }
    double most = 0;
    for (int i = 0; i < N; i++) {
        most = fmax(most, fabs((double)y[i] - wide_y[i]) / (fabs(wide_y[i]) + DBL_MIN));
    }
    check(most <= tolerance, "%s %s from %g to %g: relative error %.2e", vt_isa_name(isa), name,
          from, to, most);
    printf("  %-7s %-14s %6g .. %-5g largest relative error of an element %.2e\n", vt_isa_name(isa),
           name, from, to, most);
}

/* The largest error of exp in units of the last place, read from softmax([0, -t]): p1 / p0. */
static void check_exp(vt_isa isa) {
    double most = 0;
    for (double t = 0; t < 87; t += 0.0137) {
        float x[2] = {0, (float)-t};
        const double expected = exp((double)x[1]);
        vt_kernels_level(VT_F32, (int)isa)->softmax_forward(x, 1.0, 1, 2, 2);
        const double ratio = (double)x[1] / (double)x[0];
        most = fmax(most, fabs(ratio / expected - 1) * 0x1p23);
    }
    check(most <= 3, "%s exp: %.2f units of 2^-23 off", vt_isa_name(isa), most); /* 1 by division */
    printf("  %-7s exp in softmax, with two roundings behind it: %.2f x 2^-23\n", vt_isa_name(isa),
           most);
}

static void check_far_arguments(vt_isa isa) {
    const vt_kernels *k = vt_kernels_level(VT_F32, (int)isa);
    float x[9] = {-1e30f, 3, -FLT_MAX, -200, 3, -97, -88.5f, -1e9f, -120};
    k->softmax_forward(x, 1.0, 1, 9, 9);
    check(x[1] == 0.5f && x[4] == 0.5f, "softmax %g %g", (double)x[1], (double)x[4]);
    check(x[0] == 0 && x[2] == 0 && x[3] == 0 && x[7] == 0, "softmax of far scores is not 0");
    float z[9] = {-1e30f, 1e30f, -20, 20, -0.0f, 0, -1e4f, 1e4f, -14};
    k->gelu_forward(z, z, 9);
    check(z[0] == 0 && z[1] == 1e30f && z[2] == 0 && z[3] == 20 && z[4] == 0 && z[5] == 0 &&
              z[6] == 0 && z[7] == 1e4f && fabsf(z[8]) < 1e-37f,
          "gelu of far arguments");
    float one[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    float far[9] = {-1e30f, 1e30f, -20, 20, -100, 100, -1e4f, 1e4f, 0};
    k->gelu_backward(one, NULL, one, far, 9);
    check(one[0] == 0 && one[1] == 1 && one[2] == 0 && one[3] == 1 && one[4] == 0 && one[5] == 1 &&
              one[6] == 0 && one[7] == 1 && one[8] == 0.5f,
          "slope of far arguments");
    float infinite[3] = {INFINITY, -INFINITY, 1};
    check(k->count_nonfinite(infinite, 3) == 2, "count_nonfinite");
    k->gelu_forward(infinite, infinite, 3);
    check(k->count_nonfinite(infinite, 3) == 2, "gelu hides an infinity");
}

static void check_constant_rows(vt_isa isa) {
    enum { COLS = 37 };
    float x[COLS], w[COLS], b[COLS], y[COLS];
    for (int c = 0; c < COLS; c++) x[c] = 4, w[c] = 2, b[c] = (float)c;
    vt_kernels_level(VT_F32, (int)isa)->norm_forward(y, x, w, b, eps, 1, COLS);
    check(memcmp(y, b, sizeof y) == 0, "%s norm of a constant row", vt_isa_name(isa));
}

/* ---------------------------------------------------------------- groups: double */

/* dx of `spec` in double against central differences of sum(weight * forward): every input and
 * parameter that has a gradient. `point` holds them one behind the other, `gradient` likewise. */
typedef struct derivative {
    const char *name;
    double (*loss)(const vt_kernels *, const double *point);
    void (*backward)(const vt_kernels *, double *gradient, const double *point);
    int size;
} derivative;

enum { R = 3, C = 5, RC = R * C };
static double weight[RC], base[RC]; /* of the outputs in the loss; added to the gradient */

static double weighted(const double *y) {
    double sum = 0;
    for (int i = 0; i < RC; i++) sum += weight[i] * y[i];
    return sum;
}

static double norm_loss(const vt_kernels *k, const double *x) {
    double y[RC];
    k->norm_forward(y, x, x + RC, x + RC + C, 0.01, R, C);
    return weighted(y);
}
static void norm_gradient(const vt_kernels *k, double *g, const double *x) {
    k->norm_backward(g, g + RC, g + RC + C, base, weight, x, x + RC, 0.01, R, C);
}

static double softmax_loss(const vt_kernels *k, const double *x) {
    double y[RC];
    memcpy(y, x, sizeof y);
    k->softmax_forward(y, scale, R, C, C);
    return weighted(y);
}
static void softmax_gradient(const vt_kernels *k, double *g, const double *x) {
    double p[RC];
    memcpy(p, x, sizeof p);
    memcpy(g, weight, sizeof p);
    k->softmax_forward(p, scale, R, C, C);
    k->softmax_backward(g, p, scale, R, C, C);
    for (int i = 0; i < RC; i++) g[i] += base[i];
}

static double log_softmax_loss(const vt_kernels *k, const double *x) {
    double y[RC];
    k->log_softmax_forward(y, x, R, C);
    return weighted(y);
}
static void log_softmax_gradient(const vt_kernels *k, double *g, const double *x) {
    double y[RC];
    k->log_softmax_forward(y, x, R, C);
    k->log_softmax_backward(g, base, weight, y, R, C);
}

static double gelu_loss(const vt_kernels *k, const double *x) {
    double y[RC];
    k->gelu_forward(y, x, RC);
    return weighted(y);
}
static void gelu_gradient(const vt_kernels *k, double *g, const double *x) {
    k->gelu_backward(g, base, weight, x, RC);
}

static double cross_entropy_loss(const vt_kernels *k, const double *x) {
    double dx[RC];
    return k->cross_entropy(dx, x, weight, RC);
}
static void cross_entropy_gradient(const vt_kernels *k, double *g, const double *x) {
    k->cross_entropy(g, x, weight, RC);
    for (int i = 0; i < RC; i++) g[i] += base[i];
}

static const derivative derivatives[] = {
    {"norm", norm_loss, norm_gradient, RC + 2 * C},
    {"softmax", softmax_loss, softmax_gradient, RC},
    {"log_softmax", log_softmax_loss, log_softmax_gradient, RC},
    {"gelu", gelu_loss, gelu_gradient, RC},
    {"cross_entropy", cross_entropy_loss, cross_entropy_gradient, RC},
};

static void check_derivative(const derivative *d) {
    const vt_kernels *k = vt_kernels_level(VT_F64, VT_ISA_REF);
    const double h = 1e-5;
    double point[RC + 2 * C], gradient[RC + 2 * C];
    for (int i = 0; i < d->size; i++) point[i] = draw('n');
    for (int i = 0; i < RC; i++) weight[i] = draw('p'), base[i] = draw('n');
    d->backward(k, gradient, point);
    for (int i = 0; i < d->size; i++) {
        const double at = point[i];
        point[i] = at + h;
        const double above = d->loss(k, point);
        point[i] = at - h;
        const double below = d->loss(k, point);
        point[i] = at;
        const double slope = (above - below) / (2 * h) + (i < RC ? base[i] : 0);
        check(fabs(slope - gradient[i]) <= 1e-6 * fmax(1, fabs(slope)),
              "%s: gradient %d is %.9g, differences give %.9g", d->name, i, gradient[i], slope);
    }
}

static bool near(double a, double b) { return fabs(a - b) <= 1e-13 * fmax(1, fabs(b)); }

/* The double kernels that sum or copy against loops, and the others against their definitions. */
static void check_definitions(void) {
    const vt_kernels *k = vt_kernels_level(VT_F64, VT_ISA_REF);
    double x[RC], y[RC], sums[C], squares = 0, probability[RC];
    for (int i = 0; i < RC; i++) x[i] = draw('n'), squares += x[i] * x[i], y[i] = x[i];
    check(near(k->sum_of_squares(x, RC), squares), "sum_of_squares");
    k->column_sum(sums, x, R, C - 1, C);
    for (int c = 0; c < C - 1; c++)
        check(near(sums[c], x[c] + x[C + c] + x[2 * C + c]), "column_sum");
    k->scale_add(y, y, x, -3, RC);
    for (int i = 0; i < RC; i++) check(near(y[i], -2 * x[i]), "scale_add");
    k->scale_add(y, NULL, x, 0.5, RC);
    for (int i = 0; i < RC; i++) check(near(y[i], 0.5 * x[i]), "scale_add without base");
    k->gelu_forward(y, x, RC);
    for (int i = 0; i < RC; i++) check(near(y[i], x[i] / 2 * (1 + erf(x[i] / sqrt(2)))), "gelu");
    memcpy(probability, x, sizeof x);
    k->softmax_forward(probability, 1, R, C, C);
    k->log_softmax_forward(y, x, R, C);
    for (int i = 0; i < RC; i++) {
        check(near(log(probability[i]), y[i]), "log_softmax is not the logarithm of softmax");
        check(near(probability[i] / probability[i / C * C], exp(x[i] - x[i / C * C])), "softmax");
    }
}

/* One step from zero moments: m / (1 - beta1) = g and v / (1 - beta2) = g^2. */
static void check_adamw(void) {
    const vt_adamw step = {1e-2, 0.9, 0.99, 1e-3, 0.1, 0.9, 0.99};
    for (int i = 0; i < RC; i++) {
        const double start = draw('n'), g = draw('n');
        double p = start, m = 0, v = 0;
        vt_kernels_level(VT_F64, VT_ISA_REF)->adamw(&p, &m, &v, &g, 1, &step);
        check(near(m, 0.1 * g) && near(v, 0.01 * g * g), "adamw moments");
        check(near(p, start * (1 - 1e-3) - 1e-2 * g / (fabs(g) + 1e-3)), "adamw parameter");
    }
}

static void check_dropout(vt_dtype dtype, double keep) {
    enum { N = 4000, SPLIT = 1237 };
    static double x[N], y[N], parts[N];
    const size_t size = vt_dtype_size(dtype);
    const vt_kernels *k = vt_kernels_get(dtype);
    vt_dropout d = {{3, 5, 0}, 9, 4, 6, keep};
    for (int i = 0; i < N; i++) set(x, dtype, i, 1);
    k->dropout(y, NULL, x, &d, N);
    k->dropout(parts, NULL, x, &d, SPLIT);
    d.offset += SPLIT;
    k->dropout((char *)parts + SPLIT * size, NULL, x, &d, N - SPLIT);
    check(memcmp(y, parts, N * size) == 0, "dropout depends on where a call starts");
    int kept = 0;
    for (int i = 0; i < N; i++) {
        uint32_t word[4];
        vt_rng_draw(word, d.key, d.row, d.site, (uint32_t)(i + 6) / 4);
        const bool keeps = word[(i + 6) % 4] < keep * 0x1p32;
        const double expected = keeps ? 1 / keep : 0;
        check(fabs(get(y, dtype, i) - expected) <= 1e-7 * expected, "dropout element %d", i);
        kept += keeps;
    }
    check(fabs(kept - keep * N) <= 4 * sqrt(N * keep * (1 - keep)), "dropout keeps %d", kept);
}

/* norm_backward leaves out what is NULL, and the rest is the same. */
static void check_norm_outputs(vt_isa isa) {
    enum { N = 40 };
    const vt_kernels *k = vt_kernels_level(VT_F32, (int)isa);
    float x[2 * N], dy[2 * N], w[N], all[4][2 * N], some[4][2 * N];
    for (int i = 0; i < 2 * N; i++) x[i] = (float)draw('n'), dy[i] = (float)draw('n');
    for (int i = 0; i < N; i++) w[i] = (float)draw('n');
    k->norm_backward(all[0], all[1], all[2], NULL, dy, x, w, eps, 2, N);
    for (int set_of = 0; set_of < 8; set_of++) {
        float *dx = set_of & 1 ? some[0] : NULL, *dw = set_of & 2 ? some[1] : NULL;
        float *db = set_of & 4 ? some[2] : NULL;
        k->norm_backward(dx, dw, db, NULL, dy, x, w, eps, 2, N);
        check(dx == NULL || memcmp(dx, all[0], sizeof all[0]) == 0, "dx of %d", set_of);
        check(dw == NULL || memcmp(dw, all[1], sizeof w) == 0, "dw of %d", set_of);
        check(db == NULL || memcmp(db, all[2], sizeof w) == 0, "db of %d", set_of);
    }
}

/* ---------------------------------------------------------------- tables and levels */

static void check_tables(void) {
    vt_error error;
    check(vt_isa_select("avx9000", &error) == VT_VALUE && strstr(error.message, "avx9000") != NULL,
          "an unknown level was taken");
    for (int isa = 0; isa < VT_ISA_COUNT; isa++) {
        const vt_kernels *k = vt_kernels_level(VT_F32, isa);
        const bool available = vt_isa_available((vt_isa)isa);
        check((k != NULL) == available, "table of %s", vt_isa_name((vt_isa)isa));
        check((vt_isa_select(vt_isa_name((vt_isa)isa), &error) == VT_OK) == available, "selection");
        if (!available) continue;
        check(k == vt_kernels_get(VT_F32) && k->dtype == VT_F32, "the selected table is another");
        check(vt_kernels_get(VT_F64)->dtype == VT_F64, "dtype of the double table");
        for (int slot = 0; slot < VT_KERNEL_SLOT_COUNT; slot++) {
            check(isa != VT_ISA_REF || strcmp(vt_kernel_slot_level(VT_F32, slot), "ref") == 0,
                  "%s is not plain", vt_kernel_slot_name(slot));
        }
    }
    check(vt_isa_select("", &error) == VT_OK && vt_isa_selected() == VT_ISA_NATIVE, "default");
    for (int slot = 0; slot < VT_KERNEL_SLOT_COUNT; slot++) {
        check(strcmp(vt_kernel_slot_name(slot), specs[slot].name) == 0, "order of the specs");
    }
}

/* ---------------------------------------------------------------- main */

static int before;

static void begin(void) {
    failed_in_group = 0;
    before = passed;
}

static void end(const char *level, const char *name, const char *note) {
    printf("%-4s %-7s %-40s %6d checks%s\n", failed_in_group ? "FAIL" : "ok", level, name,
           passed - before + failed_in_group, note);
}

static void run_spec(const spec *s, vt_isa isa) {
    char note[64];
    begin();
    compare_spec(s, isa);
    check_spec_alone(s, isa);
    check_spec_nan(s, isa);
    snprintf(note, sizeof note, ", largest distance %.1e", worst[isa][s - specs]);
    end(vt_isa_name(isa), s->name, note);
}

static void run_tails(vt_isa isa) {
    begin();
    check_exp(isa);
    check_tail(isa, "gelu_forward", -1, 8, 4e-7);
    check_tail(isa, "gelu_forward", -12.9, -1, 6e-7);
    check_tail(isa, "gelu_backward", -0.5, 8, 6e-7);
    check_tail(isa, "gelu_backward", -12.9, -1, 2e-6);
    check_far_arguments(isa);
    check_constant_rows(isa);
    check_norm_outputs(isa);
    end(vt_isa_name(isa), "tails and special values", "");
}

static void run_double(void) {
    begin();
    for (size_t d = 0; d < sizeof derivatives / sizeof *derivatives; d++) {
        check_derivative(&derivatives[d]);
    }
    end("double", "gradients against central differences", "");
    begin();
    check_definitions();
    check_adamw();
    end("double", "closed forms", "");
}

static void run_dropout_draws(void) {
    begin();
    const double keep[] = {0, 0.3, 0.9, 1};
    for (int i = 0; i < 8; i++) check_dropout(i < 4 ? VT_F32 : VT_F64, keep[i % 4]);
    end("both", "dropout draws", "");
}

int main(void) {
    begin();
    check_tables();
    end("all", "tables and levels", "");
    run_double();
    run_dropout_draws();
    for (int isa = VT_ISA_REF; isa < VT_ISA_NATIVE; isa++) {
        if (!vt_isa_available((vt_isa)isa)) continue;
        for (int i = 0; i < VT_KERNEL_SLOT_COUNT; i++) run_spec(&specs[i], (vt_isa)isa);
        run_tails((vt_isa)isa);
    }
    printf("%d passed, %d failed\n", passed, failed);
    return failed == 0 ? 0 : 1;
}
