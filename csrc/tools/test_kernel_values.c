/* The arithmetic kernels by their values: the tails of exp and GELU element by element, arguments
 * far out, and, in double, the gradients against central differences and everything else against
 * closed forms. The double kernels are what test_kernels.c compares the others with.
 *
 * No arguments; exits with 1 if a check failed. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "kernels/kernels.h"
#include "tools/check.h"
#include "tools/numbers.h"

static const double eps = 1e-6, scale = 0.3;

/* ---------------------------------------------------------------- groups: the tails */

/* The largest relative error of an element of gelu_forward (or gelu_backward) between two
 * arguments, against the double kernel. */
static double tail_error(vt_isa isa, bool backward, double from, double to) {
    enum { N = 20011 };
    static float x[N], ones[N], y[N];
    static double wide_x[N], wide_ones[N], wide_y[N];
    const vt_kernels *k = vt_kernels_level(VT_F32, (int)isa);
    const vt_kernels *wide = vt_kernels_level(VT_F64, VT_ISA_REF);
    for (int i = 0; i < N; i++) {
        x[i] = (float)(from + (to - from) * i / (N - 1));
        wide_x[i] = (double)x[i];
        wide_ones[i] = ones[i] = 1;
    }
    if (backward) {
        k->gelu_backward(y, NULL, ones, x, N);
        wide->gelu_backward(wide_y, NULL, wide_ones, wide_x, N);
    } else {
        k->gelu_forward(y, x, N);
        wide->gelu_forward(wide_y, wide_x, N);
    }
    double most = 0;
    for (int i = 0; i < N; i++) {
        most = fmax(most, fabs((double)y[i] - wide_y[i]) / (fabs(wide_y[i]) + DBL_MIN));
    }
    return most;
}

/* In the lower tail plain C rounds x / sqrt 2 before erfc and x^2 / 2 before exp, which multiplies
 * that rounding by x^2; the vector kernels carry the rest along. */
static void check_tails(vt_isa isa) {
    const bool plain = isa == VT_ISA_REF;
    const struct {
        bool backward;
        double from, to, tolerance;
    } parts[] = {
        {false, -1, 8, 4e-7},
        {false, -12.9, -1, plain ? 2e-5 : 6e-7},
        {true, -0.5, 8, 6e-7},
        {true, -12.9, -1, plain ? 8e-6 : 2e-6},
    };
    for (size_t i = 0; i < sizeof parts / sizeof *parts; i++) {
        const char *name = parts[i].backward ? "gelu_backward" : "gelu_forward";
        const double error = tail_error(isa, parts[i].backward, parts[i].from, parts[i].to);
        printf("  %-14s %6g .. %-5g largest relative error of an element %.2e\n", name,
               parts[i].from, parts[i].to, error);
        vt_check(error <= parts[i].tolerance, "%s %s from %g: %.2e", vt_isa_name(isa), name,
                 parts[i].from, error);
    }
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
    vt_check(most <= 3, "%s exp: %.2f units of 2^-23 off", vt_isa_name(isa),
             most); /* 1 by division */
    printf("  exp in softmax, with two roundings behind it: %.2f x 2^-23\n", most);
}

static void check_far_arguments(vt_isa isa) {
    const vt_kernels *k = vt_kernels_level(VT_F32, (int)isa);
    float x[9] = {-1e30f, 3, -FLT_MAX, -200, 3, -97, -88.5f, -1e9f, -120};
    k->softmax_forward(x, 1.0, 1, 9, 9);
    vt_check(x[1] == 0.5f && x[4] == 0.5f, "softmax %g %g", (double)x[1], (double)x[4]);
    vt_check(x[0] == 0 && x[2] == 0 && x[3] == 0 && x[7] == 0, "softmax of far scores is not 0");
    float z[9] = {-1e30f, 1e30f, -20, 20, -0.0f, 0, -1e4f, 1e4f, -14};
    k->gelu_forward(z, z, 9);
    vt_check(z[0] == 0 && z[1] == 1e30f && z[2] == 0 && z[3] == 20 && z[4] == 0 && z[5] == 0 &&
                 z[6] == 0 && z[7] == 1e4f && fabsf(z[8]) < 1e-37f,
             "gelu of far arguments");
    float one[9] = {1, 1, 1, 1, 1, 1, 1, 1, 1};
    float far[9] = {-1e30f, 1e30f, -20, 20, -100, 100, -1e4f, 1e4f, 0};
    k->gelu_backward(one, NULL, one, far, 9);
    vt_check(one[0] == 0 && one[1] == 1 && one[2] == 0 && one[3] == 1 && one[4] == 0 &&
                 one[5] == 1 && one[6] == 0 && one[7] == 1 && one[8] == 0.5f,
             "slope of far arguments");
    float infinite[3] = {INFINITY, -INFINITY, 1};
    vt_check(k->count_nonfinite(infinite, 3) == 2, "count_nonfinite");
    k->gelu_forward(infinite, infinite, 3);
    vt_check(k->count_nonfinite(infinite, 3) == 2, "gelu hides an infinity");
}

static void check_constant_rows(vt_isa isa) {
    enum { COLS = 37 };
    float x[COLS], w[COLS], b[COLS], y[COLS];
    for (int c = 0; c < COLS; c++) x[c] = 4, w[c] = 2, b[c] = (float)c;
    vt_kernels_level(VT_F32, (int)isa)->norm_forward(y, x, w, b, eps, 1, COLS);
    vt_check(memcmp(y, b, sizeof y) == 0, "%s norm of a constant row", vt_isa_name(isa));
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
        vt_check(fabs(slope - gradient[i]) <= 1e-6 * fmax(1, fabs(slope)),
                 "%s: gradient %d is %.9g, differences give %.9g", d->name, i, gradient[i], slope);
    }
}

static bool near(double a, double b) { return fabs(a - b) <= 1e-13 * fmax(1, fabs(b)); }

/* The double kernels that sum or copy against loops, and the others against their definitions. */
static void check_definitions(void) {
    const vt_kernels *k = vt_kernels_level(VT_F64, VT_ISA_REF);
    double x[RC], y[RC], sums[C], squares = 0, probability[RC];
    for (int i = 0; i < RC; i++) x[i] = draw('n'), squares += x[i] * x[i], y[i] = x[i];
    vt_check(near(k->sum_of_squares(x, RC), squares), "sum_of_squares");
    k->column_sum(sums, x, R, C - 1, C);
    for (int c = 0; c < C - 1; c++)
        vt_check(near(sums[c], x[c] + x[C + c] + x[2 * C + c]), "column_sum");
    k->column_max(sums, x, R, C);
    for (int c = 0; c < C; c++)
        vt_check(sums[c] == fmax(x[c], fmax(x[C + c], x[2 * C + c])), "column_max");
    k->scale_add(y, y, x, -3, RC);
    for (int i = 0; i < RC; i++) vt_check(near(y[i], -2 * x[i]), "scale_add");
    k->scale_add(y, NULL, x, 0.5, RC);
    for (int i = 0; i < RC; i++) vt_check(near(y[i], 0.5 * x[i]), "scale_add without base");
    k->gelu_forward(y, x, RC);
    for (int i = 0; i < RC; i++) vt_check(near(y[i], x[i] / 2 * (1 + erf(x[i] / sqrt(2)))), "gelu");
    memcpy(probability, x, sizeof x);
    k->softmax_forward(probability, 1, R, C, C);
    k->log_softmax_forward(y, x, R, C);
    for (int i = 0; i < RC; i++) {
        vt_check(near(log(probability[i]), y[i]), "log_softmax is not the logarithm of softmax");
        vt_check(near(probability[i] / probability[i / C * C], exp(x[i] - x[i / C * C])),
                 "softmax");
    }
}

/* One step from zero moments: m / (1 - beta1) = g and v / (1 - beta2) = g^2. */
static void check_adamw(void) {
    const vt_adamw step = {1e-2, 0.9, 0.99, 1e-3, 0.1, 0.9, 0.99, 0};
    for (int i = 0; i < RC; i++) {
        const double start = draw('n'), g = draw('n');
        double p = start, m = 0, v = 0;
        vt_kernels_level(VT_F64, VT_ISA_REF)->adamw(&p, &m, &v, &g, 1, &step);
        vt_check(near(m, 0.1 * g) && near(v, 0.01 * g * g), "adamw moments");
        vt_check(near(p, start * (1 - 1e-3) - 1e-2 * g / (fabs(g) + 1e-3)), "adamw parameter");
    }
}

/* The same of RAdam, with and without its rectifier. */
static void check_radam(double rectifier) {
    const vt_radam step = {1e-2, 0.9, 0.99, 1e-3, 0.1, 0.3, 0.1, rectifier};
    for (int i = 0; i < RC; i++) {
        const double start = draw('n'), gradient = draw('n'), g = gradient + 0.3 * start;
        double p = start, m = 0, v = 0;
        vt_kernels_level(VT_F64, VT_ISA_REF)->radam(&p, &m, &v, &gradient, 1, &step);
        const double u = rectifier > 0 ? g * rectifier / (0.1 * fabs(g) + 1e-3) : g;
        vt_check(near(m, 0.1 * g) && near(v, 0.01 * g * g), "radam moments");
        vt_check(near(p, start * (1 - 1e-3) - 1e-2 * u), "radam parameter, %g", rectifier);
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
    vt_check(memcmp(y, parts, N * size) == 0, "dropout depends on where a call starts");
    int kept = 0;
    for (int i = 0; i < N; i++) {
        uint32_t word[4];
        vt_rng_draw(word, d.key, d.image, d.site, (uint32_t)(i + 6) / 4);
        const bool keeps = word[(i + 6) % 4] < keep * 0x1p32;
        const double expected = keeps ? 1 / keep : 0;
        vt_check(fabs(get(y, dtype, i) - expected) <= 1e-7 * expected, "dropout element %d", i);
        kept += keeps;
    }
    vt_check(fabs(kept - keep * N) <= 4 * sqrt(N * keep * (1 - keep)), "dropout keeps %d", kept);
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
        vt_check(dx == NULL || memcmp(dx, all[0], sizeof all[0]) == 0, "dx of %d", set_of);
        vt_check(dw == NULL || memcmp(dw, all[1], sizeof w) == 0, "dw of %d", set_of);
        vt_check(db == NULL || memcmp(db, all[2], sizeof w) == 0, "db of %d", set_of);
    }
}

/* ---------------------------------------------------------------- main */

static void begin(const char *level, const char *name) {
    vt_failed_in_group = 0;
    printf("%-7s %s\n", level, name);
}

static void run_tails(vt_isa isa) {
    begin(vt_isa_name(isa), "tails and special values");
    check_exp(isa);
    check_tails(isa);
    check_far_arguments(isa);
    check_constant_rows(isa);
    check_norm_outputs(isa);
}

static void run_double(void) {
    begin("double", "gradients against central differences");
    for (size_t d = 0; d < sizeof derivatives / sizeof *derivatives; d++) {
        check_derivative(&derivatives[d]);
    }
    begin("double", "closed forms");
    check_definitions();
    check_adamw();
    check_radam(0);
    check_radam(0.3);
}

static void run_dropout_draws(void) {
    const double keep[] = {0, 0.3, 0.9, 1};
    begin("both", "dropout draws");
    for (int i = 0; i < 8; i++) check_dropout(i < 4 ? VT_F32 : VT_F64, keep[i % 4]);
}

int main(void) {
    run_double();
    run_dropout_draws();
    for (int isa = VT_ISA_REF; isa < VT_ISA_NATIVE; isa++) {
        if (vt_isa_available((vt_isa)isa)) run_tails((vt_isa)isa);
    }
    return vt_check_summary();
}
