/* Nearly a Gaussian blur: three boxes in each direction, whose ends count in part. Gwosdek et al.,
 * "Theoretical foundations of Gaussian convolution by extended box filtering" (SSVM 2011), in
 * Pillow's fixed point: weights of 24 bits, bytes between the passes, edges repeated. */
#include <math.h>

#include "base/memory.h"
#include "base/scratch.h"
#include "image/colour.h"
#include "image/operations.h"

enum { PASSES = 3, MOST_RADIUS = 10000 };

typedef struct box {
    int64_t radius;     /* whole pixels to each side */
    uint32_t near, far; /* weights of those, and of the two beyond */
} box;

/* In float, as Pillow: [7], [11] and [14] of the paper. */
static float box_radius(float sigma) {
    const float variance = sigma * sigma / PASSES;
    const float length = (float)sqrt(12.0 * (double)variance + 1.0);
    const float whole = (float)floor(((double)length - 1.0) / 2.0);
    const float above = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
    return whole + above / (6 * (variance - (whole + 1) * (whole + 1)));
}

static box box_of(float radius) {
    box b = {.radius = (int64_t)radius, .near = (uint32_t)((float)(1 << 24) / (radius * 2 + 1))};
    b.far = ((1 << 24) - (uint32_t)(b.radius * 2 + 1) * b.near) / 2;
    return b;
}

/* `n` places `step` bytes apart, each of `wide` samples that are blurred side by side. */
typedef struct lines {
    int64_t n, step, wide;
} lines;

/* The sum of the box around the place before the first one. */
static void start_sums(uint32_t *sum, const uint8_t *in, lines l, int64_t radius) {
    const int64_t seen = radius < l.n ? radius : l.n - 1;
    for (int64_t i = 0; i < l.wide; i++) sum[i] = (uint32_t)(radius + 1) * in[i];
    for (int64_t x = 0; x < seen; x++) {
        for (int64_t i = 0; i < l.wide; i++) sum[i] += in[x * l.step + i];
    }
    const uint8_t *last = in + (l.n - 1) * l.step;
    for (int64_t i = 0; i < l.wide; i++) sum[i] += (uint32_t)(radius - seen) * last[i];
}

static void blur_lines(uint8_t *restrict out, const uint8_t *restrict in, lines l, box b,
                       uint32_t *restrict sum) {
    start_sums(sum, in, l, b.radius);
    for (int64_t x = 0; x < l.n; x++) {
        const int64_t before = x - b.radius - 1, after = x + b.radius, last = l.n - 1;
        const uint8_t *left = in + (before < 0 ? 0 : before) * l.step;
        const uint8_t *entering = in + (after < last ? after : last) * l.step;
        const uint8_t *right = in + (after + 1 < last ? after + 1 : last) * l.step;
        uint8_t *to = out + x * l.step;
        for (int64_t i = 0; i < l.wide; i++) {
            sum[i] += (uint32_t)entering[i] - left[i];
            const uint32_t ends = (uint32_t)left[i] + right[i];
            to[i] = (uint8_t)((sum[i] * b.near + ends * b.far + (1u << 23)) >> 24);
        }
    }
}

static void blur_across(const vt_image *image, box b, uint8_t *spare, uint32_t *sum) {
    const lines l = {image->width, image->channels, image->channels};
    const size_t bytes = (size_t)vt_image_row_bytes(image);
    for (int64_t y = 0; y < image->height; y++) {
        uint8_t *row = vt_image_row(image, y);
        for (int pass = 0; pass < PASSES; pass++) {
            blur_lines(pass % 2 == 0 ? spare : row, pass % 2 == 0 ? row : spare, l, b, sum);
        }
        memcpy(row, spare, bytes);
    }
}

/* The rows of a result have no gaps. */
static void blur_down(const vt_image *image, box b, uint8_t *spare, uint32_t *sum) {
    const lines l = {image->height, image->stride, vt_image_row_bytes(image)};
    for (int pass = 0; pass < PASSES; pass++) {
        uint8_t *data = image->data;
        blur_lines(pass % 2 == 0 ? spare : data, pass % 2 == 0 ? data : spare, l, b, sum);
    }
    memcpy(image->data, spare, (size_t)(image->height * image->stride));
}

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    const double sigma = numbers.value[0];
    if (!(sigma >= 0 && sigma <= MOST_RADIUS)) {
        return vt_fail(error, VT_VALUE, "radius is %g, expected 0 to %d", sigma, MOST_RADIUS);
    }
    if (in->sample != VT_SAMPLE_U8) {
        return vt_fail(error, VT_TYPE, "box_blur takes uint8, got %s", vt_sample_name(in->sample));
    }
    const float radius = box_radius((float)sigma);
    vt_image_copy(out, in);
    if (radius == 0) return VT_OK;
    const size_t area = vt_align((size_t)(out->height * out->stride));
    uint8_t *spare;
    VT_TRY(vt_scratch((void **)&spare, area + (size_t)out->stride * sizeof(uint32_t), error));
    uint32_t *sum = (uint32_t *)(void *)(spare + area);
    blur_across(out, box_of(radius), spare, sum);
    blur_down(out, box_of(radius), spare, sum);
    return VT_OK;
}

const vt_image_op vt_image_op_box_blur = {"box_blur", "radius", NULL, run};
