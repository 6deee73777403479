#include "image/taps.h"

#include <math.h>
#include <string.h>

#include "base/memory.h"

/* ---------------------------------------------------------------- filters, as Pillow has them */

static double box(double x) { return x > -0.5 && x <= 0.5 ? 1.0 : 0.0; }

static double bilinear(double x) { return fabs(x) < 1.0 ? 1.0 - fabs(x) : 0.0; }

static double hamming(double x) {
    x = fabs(x);
    if (x == 0.0) return 1.0;
    if (x >= 1.0) return 0.0;
    x *= M_PI;
    return sin(x) / x * (0.54f + 0.46f * cos(x));
}

/* Keys' cubic with a = -0.5. */
static double bicubic(double x) {
    const double a = -0.5;
    x = fabs(x);
    if (x < 1.0) return ((a + 2.0) * x - (a + 3.0)) * x * x + 1;
    if (x < 2.0) return (((x - 5) * x + 8) * x - 4) * a;
    return 0.0;
}

static double sinc(double x) { return x == 0.0 ? 1.0 : sin(x * M_PI) / (x * M_PI); }

static double lanczos(double x) { return x >= -3.0 && x < 3.0 ? sinc(x) * sinc(x / 3) : 0.0; }

static const struct {
    double (*value)(double x);
    double support;
} filters[VT_FILTER_COUNT] = {
    [VT_FILTER_BILINEAR] = {bilinear, 1.0}, [VT_FILTER_BICUBIC] = {bicubic, 2.0},
    [VT_FILTER_BOX] = {box, 0.5},           [VT_FILTER_HAMMING] = {hamming, 1.0},
    [VT_FILTER_LANCZOS] = {lanczos, 3.0},
};

/* ---------------------------------------------------------------- weights */

/* Shrinking stretches the filter over the inputs: this is the antialiasing. */
static double stretch(int64_t in_size, int64_t out_size) {
    const double scale = (double)(float)in_size / (double)out_size;
    return scale < 1.0 ? 1.0 : scale;
}

int64_t vt_taps_step(int64_t in_size, int64_t out_size, vt_filter filter) {
    const double support = filters[filter].support * stretch(in_size, out_size);
    const int64_t most = 2 * (int64_t)ceil(support) + 1;
    return ((most < in_size ? most : in_size) + 3) & ~(int64_t)3;
}

size_t vt_taps_bytes(int64_t in_size, int64_t out_size, vt_filter filter) {
    const size_t weights = (size_t)(out_size * vt_taps_step(in_size, out_size, filter));
    return vt_align(weights * 8) + vt_align(weights * 4) + 2 * vt_align((size_t)out_size * 4);
}

static void *take(char **memory, size_t bytes) {
    void *taken = *memory;
    *memory += vt_align(bytes);
    return taken;
}

static void weigh(vt_taps *taps, int64_t i, double center, double support, double inverse,
                  double (*value)(double), int64_t in_size) {
    int64_t first = (int64_t)(center - support + 0.5), last = (int64_t)(center + support + 0.5);
    if (first < 0) first = 0;
    if (last > in_size) last = in_size;
    double *weight = taps->weight + i * taps->step, sum = 0;
    const int64_t count = last - first;
    for (int64_t k = 0; k < count; k++) {
        weight[k] = value(((double)(k + first) - center + 0.5) * inverse);
        sum += weight[k];
    }
    if (sum != 0) {
        for (int64_t k = 0; k < count; k++) weight[k] /= sum;
    }
    taps->start[i] = (int32_t)first;
    taps->count[i] = (int32_t)count;
}

/* torch's: the most fractional bits with which the largest weight fits 15 bits. */
static int small_bits(const vt_taps *taps) {
    double largest = 0;
    for (int64_t i = 0; i < taps->size; i++) {
        for (int64_t k = i * taps->step; k < i * taps->step + taps->count[i]; k++) {
            if (taps->weight[k] > largest) largest = taps->weight[k];
        }
    }
    int bits = 0;
    while (bits < 22 && (int)(0.5 + largest * (double)(1 << (bits + 1))) < 1 << 15) bits++;
    return bits;
}

static void round_weights(vt_taps *taps) {
    const double one = (double)(1 << taps->bits);
    memset(taps->fixed, 0, (size_t)(taps->size * taps->step) * sizeof *taps->fixed);
    for (int64_t i = 0; i < taps->size; i++) {
        for (int64_t k = i * taps->step; k < i * taps->step + taps->count[i]; k++) {
            const double w = taps->weight[k];
            taps->fixed[k] = (int32_t)(w * one + (w < 0 ? -0.5 : 0.5));
        }
    }
}

void vt_taps_fill(vt_taps *taps, void *memory, int64_t in_size, int64_t out_size, vt_filter filter,
                  bool small) {
    char *rest = memory;
    taps->size = out_size;
    taps->step = vt_taps_step(in_size, out_size, filter);
    const size_t weights = (size_t)(out_size * taps->step);
    taps->weight = take(&rest, weights * 8);
    taps->fixed = take(&rest, weights * 4);
    taps->start = take(&rest, (size_t)out_size * 4);
    taps->count = take(&rest, (size_t)out_size * 4);
    const double scale = (double)(float)in_size / (double)out_size;
    const double support = filters[filter].support * stretch(in_size, out_size);
    for (int64_t i = 0; i < out_size; i++) {
        weigh(taps, i, ((double)i + 0.5) * scale, support, 1.0 / stretch(in_size, out_size),
              filters[filter].value, in_size);
    }
    taps->bits = small ? small_bits(taps) : 22;
    round_weights(taps);
}
