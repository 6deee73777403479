/* Every arithmetic kernel on extreme numbers: at each level that the CPU has, one array of a call
 * holds zeros, denormals, arguments where exp ends, large, infinite numbers or NaN, in front, at
 * the end or all over, and what comes out is that of the double kernel, rounded to float: not a
 * number or infinite where that is, and near it elsewhere. What differs for a reason stands in
 * `reasons`.
 *
 * No arguments; exits with 1 if a check failed. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "kernels/kernels.h"
#include "tools/check.h"
#include "tools/numbers.h"
#include "tools/slots.h"

enum { COLS = 37, ARRAYS = INPUTS + OUTPUTS };

/* Of either sign. */
static const double magnitudes[] = {0,   1e-45, 1e-40,  1e-30, 87,   88,   89,       104,
                                    1e4, 1e10,  1.3e12, 7e15,  1e20, 3e38, INFINITY, NAN};
enum { MAGNITUDES = sizeof magnitudes / sizeof *magnitudes };

/* Where it stands in the array. */
typedef enum position { FIRST, LAST, ALTERNATING, POSITIONS } position;

/* ---------------------------------------------------------------- other specs */

/* Of quick GELU, without the x^3 of the spec. */
static void run_quick_forward(const vt_kernels *k, call *c) {
    k->swish_forward(c->out[0], c->in[0], 1.702, 0, c->rows * c->cols);
}
static void run_quick_backward(const vt_kernels *k, call *c) {
    k->swish_backward(c->out[0], c->in[0], c->in[1], c->in[2], 1.702, 0, c->rows * c->cols);
}
/* Of neighbours; one row is turned as halves by the spec. */
static void run_neighbours(const vt_kernels *k, call *c) { run_turned(k, c, false); }

static const spec others[] = {
    {"swish_forward", run_quick_forward, {"m-"}, {"mn"}, .elementwise = true},
    {"swish_backward", run_quick_backward, {"m-"}, {"mn", "mn", "mn"}, .elementwise = true},
    {"rotate", run_neighbours, {"m-"}, {"mn", "mn", "vn"}, .elementwise = false},
};
enum { OTHERS = sizeof others / sizeof *others };

/* ---------------------------------------------------------------- differences with a reason */

/* Where float may differ from double, torch being no better: tests/test_extremes.py has the same
 * arguments for torch. `seen` proves that it does. */
static struct reason {
    const char *slot;
    int array; /* in[array] of the spec, or out[array - INPUTS] */
    const char *why;
    bool seen;
} reasons[] = {
    {"norm_backward", 1, "dy of 3e38: their sum overflows", false},
    {"norm_backward", 3, "w of 3e38: the sum of dy w overflows", false},
    {"rms_norm_backward", 1, "dy of 3e38: their sum overflows", false},
    {"rms_norm_backward", 3, "w of 3e38: the sum of dy w overflows", false},
    {"softmax_backward", 0, "p of 3e38, which is no probability", false},
    {"softmax_backward", INPUTS, "dp of 3e38: their difference overflows", false},
    {"focal_cross_entropy", 1, "coefficients of 3e38: a part of the gradient overflows", false},
    {"adamw", 0, "g of 3e38: v is infinite, and p stays", false},
    {"radam", 0, "g of 3e38: v is infinite, and p stays", false},
    {"sgd", 0, "g of 3e38: g and the momentum together overflow", false},
    {"lamb_moments", 1, "g of 3e38: v is infinite, and the direction 0", false},
    {"lamb_moments", INPUTS, "m of 3e38: divided by 1 - beta1^t it overflows", false},
    {"rotate", 1, "x of 3e38: a term overflows, and the sum would not", false},
    {"rotate", 2, "cosines of 3e38, which are at most 1", false},
    {"rotate_slope", 1, "dy of 3e38: their sum overflows", false},
    {"rotate_slope", 2, "x of 3e38: the sum of dy x overflows", false},
    {"lamb_apply", 0, "m of 3e38: divided by 1 - beta1^t it overflows", false},
};
enum { REASONS = sizeof reasons / sizeof *reasons };

static bool excused(const spec *s, int array, double value) {
    if (fabs(value) != 3e38) return false;
    for (int i = 0; i < REASONS; i++) {
        if (strcmp(reasons[i].slot, s->name) != 0 || reasons[i].array != array) continue;
        return reasons[i].seen = true;
    }
    return false;
}

/* ---------------------------------------------------------------- calls */

static double room[2][ARRAYS][COLS];

static const char *array_spec(const spec *s, int array) {
    return array < INPUTS ? s->in[array] : s->out[array - INPUTS];
}

/* The same call in any dtype, its arrays in room[which]; one of them is extreme. */
static call new_call(const spec *s, int which, vt_dtype dtype, int extreme, double value,
                     position where) {
    call c = {.rows = 1, .cols = COLS, .ld = COLS};
    random_state = 5;
    for (int i = 0; i < ARRAYS; i++) {
        if (array_spec(s, i) == NULL) continue;
        void *p = room[which][i];
        const char kind = array_spec(s, i)[1];
        for (int n = 0; n < COLS; n++) {
            const bool here = where == ALTERNATING || n == (where == FIRST ? 0 : COLS - 1);
            const double sign = where == ALTERNATING && n % 2 ? -1 : 1;
            const double drawn = kind == '-' ? 777 : draw(kind);
            set(p, dtype, n, i == extreme && here ? sign * (double)(float)value : drawn);
        }
        if (i < INPUTS) {
            c.in[i] = p;
        } else {
            c.out[i - INPUTS] = p;
        }
    }
    return c;
}

/* The largest finite element, at least 1. */
static double size_of(const void *array) {
    double size = 1;
    for (int n = 0; n < COLS; n++) {
        const double x = fabs(get(array, VT_F64, n));
        if (x <= FLT_MAX) size = fmax(size, x);
    }
    return size;
}

static bool same(double found, double expected, double size) {
    if (isnan(expected) || isnan(found)) return isnan(expected) && isnan(found);
    if (isinf(expected) || isinf(found)) return found == expected;
    return fabs(found - expected) <= 1e-4 * size;
}

/* The first element of an output that is not as it should be, or -1. */
static int first_wrong(const spec *s, const void *found, const void *expected) {
    const double whole = size_of(expected);
    for (int n = 0; n < COLS; n++) {
        const double wide = get(expected, VT_F64, n), rounded = (double)(float)wide;
        const double size = s->elementwise ? fmax(1, fabs(wide)) : whole;
        if (!same(get(found, VT_F32, n), isinf(rounded) ? rounded : wide, size)) return n;
    }
    return -1;
}

static void check_call(const spec *s, vt_isa isa, int extreme, double value, position where) {
    call a = new_call(s, 0, VT_F32, extreme, value, where);
    call b = new_call(s, 1, VT_F64, extreme, value, where);
    s->run(vt_kernels_level(VT_F32, (int)isa), &a);
    s->run(vt_kernels_level(VT_F64, VT_ISA_REF), &b);
    const double size = fmax(1, fabs(b.result));
    if (!same(a.result, b.result, size) && !excused(s, extreme, value)) {
        vt_check(false, "%s %s: %g in array %d, position %d: returned %g, expected %g",
                 vt_isa_name(isa), s->name, value, extreme, (int)where, a.result, b.result);
    }
    for (int i = 0; i < OUTPUTS && s->out[i] != NULL; i++) {
        const int n = first_wrong(s, a.out[i], b.out[i]);
        if (n >= 0 && excused(s, extreme, value)) continue;
        vt_check(n < 0,
                 "%s %s: %g in array %d, position %d: output %d, element %d is %g, expected %g",
                 vt_isa_name(isa), s->name, value, extreme, (int)where, i, n,
                 n < 0 ? 0 : get(a.out[i], VT_F32, n), n < 0 ? 0 : get(b.out[i], VT_F64, n));
    }
}

static void check_spec(const spec *s, vt_isa isa) {
    const int before = vt_passed;
    vt_failed_in_group = 0;
    for (int array = 0; array < ARRAYS; array++) {
        if (array_spec(s, array) == NULL || array_spec(s, array)[1] == '-') continue;
        for (int i = 0; i < 2 * MAGNITUDES * POSITIONS; i++) {
            const double magnitude = magnitudes[i / POSITIONS / 2];
            check_call(s, isa, array, i / POSITIONS % 2 ? -magnitude : magnitude, i % POSITIONS);
        }
    }
    printf("%-4s %-7s %-22s %5d checks\n", vt_failed_in_group ? "FAIL" : "ok", vt_isa_name(isa),
           s->name, vt_passed - before + vt_failed_in_group);
}

/* ---------------------------------------------------------------- small numbers */

/* A row from -value to value / 2 in steps comes back within half a step, if it is not as good as
 * zeros; of what is not finite nothing does. */
static void check_quantize(vt_isa isa, double value) {
    float x[COLS], step;
    uint8_t q[COLS];
    int32_t zero;
    for (int n = 0; n < COLS; n++) x[n] = (float)(value * (1.5 * n / (COLS - 1) - 1));
    vt_kernels_level(VT_F32, (int)isa)->quantize_rows(q, &step, &zero, x, 1, COLS);
    vt_check(isfinite(value) ? isfinite(step) && step > 0 : isnan(step), "%s scale of %g is %g",
             vt_isa_name(isa), value, (double)step);
    vt_check(zero >= 0 && zero <= 255, "%s zero point of %g is %d", vt_isa_name(isa), value, zero);
    const double most = fabs(value) < 1e-37 ? 1e-37 : 0.501 * (double)step;
    for (int n = 0; isfinite(value) && n < COLS; n++) {
        const double back = (double)step * (q[n] - zero);
        vt_check(fabs(back - (double)x[n]) <= most, "%s quantised %g is %g", vt_isa_name(isa),
                 (double)x[n], back);
    }
}

/* bfloat16 has the exponents of float, and 8 bits: 3e38 is near, and what is above 3.3953e38
 * infinite. */
static void check_bf16(vt_isa isa, float value, double expected) {
    const vt_kernels *k = vt_kernels_level(VT_F32, (int)isa);
    uint16_t small;
    float back;
    k->to_bf16(&small, &value, 1, 1, 1);
    k->from_bf16(&back, &small, 1);
    vt_check(isnan(expected) ? isnan(back) : (double)back == expected || same(back, expected, 0),
             "%s bfloat16 of %g is %g", vt_isa_name(isa), (double)value, (double)back);
    vt_check(isnan(expected) || !signbit(back) == !signbit(value), "sign of %g", (double)value);
}

static void check_small(vt_isa isa) {
    vt_failed_in_group = 0;
    for (int i = 0; i < 2 * MAGNITUDES; i++) {
        check_quantize(isa, i % 2 ? -magnitudes[i / 2] : magnitudes[i / 2]);
    }
    const struct {
        float value;
        double expected;
    } rounded[] = {{0, 0},
                   {-0.0f, 0},
                   {0x1p-149f, 0},
                   {0x1p-133f, 0x1p-133},
                   {-0x1.8p-134f, -0x1p-133},
                   {0x1.fep127f, 0x1.fep127},
                   {0x1.fefffep127f, 0x1.fep127},
                   {FLT_MAX, INFINITY},
                   {-FLT_MAX, -INFINITY},
                   {-INFINITY, -INFINITY},
                   {NAN, NAN}};
    for (size_t i = 0; i < sizeof rounded / sizeof *rounded; i++) {
        check_bf16(isa, rounded[i].value, rounded[i].expected);
    }
}

/* ---------------------------------------------------------------- main */

int main(void) {
    for (int isa = VT_ISA_REF; isa < VT_ISA_NATIVE; isa++) {
        if (!vt_isa_available((vt_isa)isa)) continue;
        for (int i = 0; i < SPECS; i++) check_spec(&specs[i], (vt_isa)isa);
        for (int i = 0; i < OTHERS; i++) check_spec(&others[i], (vt_isa)isa);
        check_small((vt_isa)isa);
    }
    for (int i = 0; i < REASONS; i++) {
        vt_check(reasons[i].seen, "%s no longer differs: %s", reasons[i].slot, reasons[i].why);
        printf("%-22s %s\n", reasons[i].slot, reasons[i].why);
    }
    return vt_check_summary();
}
