/* Gaussian blur by a kernel of an odd number of pixels, first across, then down; the image is
 * mirrored at its first and last pixels. It is torchvision's, with sums in float from the ends of
 * the kernel to its middle. Integers are rounded once, ties to even. */
#include "base/memory.h"
#include "base/scratch.h"
#include "image/geometry.h"
#include "image/kernels.h"
#include "image/operations.h"

enum { X_SIZE, Y_SIZE, X_SIGMA, Y_SIGMA };

/* The kernel of one axis: weight[k] is that of the two pixels at a distance of k. */
typedef struct bell {
    int64_t reach;
    float *weight;
} bell;

typedef struct blur {
    const vt_image_kernels *kernels;
    const vt_image *in;
    bell across, down;
    int64_t samples;   /* of a row */
    float *padded;     /* a row with across.reach pixels more on both sides */
    float *rows;       /* the latest rows, blurred across: row y is at y % kept */
    int64_t kept;      /* how many of them: those that a row of the result needs */
    float *sum;        /* a row of the result */
    const float **tap; /* the samples or rows under the kernel */
} blur;

/* Weights below 1e-30 at the ends are dropped: with denormals a processor is a hundred times
 * slower. */
static void fill_bell(bell *b, double sigma) {
    double sum = 0;
    for (int64_t i = b->reach; i >= 0; i--) {
        const double far = (double)i / sigma;
        sum += (i > 0 ? 2 : 1) * exp(-0.5 * far * far);
    }
    for (int64_t i = 0; i <= b->reach; i++) {
        const double far = (double)i / sigma;
        b->weight[i] = (float)(exp(-0.5 * far * far) / sum);
    }
    while (b->weight[b->reach] < 1e-30f) b->reach--;
}

static void widen_row(float *out, const blur *b, int64_t y) {
    const int64_t n = b->samples;
    const void *row = vt_image_row(b->in, y);
    const uint16_t *words = row;
    switch (b->in->sample) {
        case VT_SAMPLE_U8: b->kernels->to_float(out, row, n); break;
        case VT_SAMPLE_U16:
            for (int64_t i = 0; i < n; i++) out[i] = words[i];
            break;
        default: memcpy(out, row, (size_t)n * sizeof *out);
    }
}

static void narrow_row(const vt_image *out, int64_t y, const blur *b) {
    const float *sum = b->sum;
    const int64_t n = b->samples;
    void *row = vt_image_row(out, y);
    uint16_t *words = row;
    switch (out->sample) {
        case VT_SAMPLE_U8: b->kernels->to_bytes(row, sum, n); break;
        case VT_SAMPLE_U16:
            for (int64_t i = 0; i < n; i++) words[i] = (uint16_t)rintf(sum[i]);
            break;
        default: memcpy(row, sum, (size_t)n * sizeof *sum);
    }
}

static void blur_across(const blur *b, int64_t y) {
    const int64_t channels = b->in->channels, width = b->in->width, reach = b->across.reach;
    float *middle = b->padded + reach * channels;
    const size_t pixel = (size_t)channels * sizeof *middle;
    widen_row(middle, b, y);
    for (int64_t x = 1; x <= reach; x++) {
        const int64_t right = width - 1 + x;
        memcpy(middle - x * channels, middle + vt_mirror(-x, width) * channels, pixel);
        memcpy(middle + right * channels, middle + vt_mirror(right, width) * channels, pixel);
    }
    for (int64_t k = -reach; k <= reach; k++) b->tap[reach + k] = middle + k * channels;
    float *out = b->rows + y % b->kept * b->samples;
    b->kernels->convolve(out, b->tap + reach, b->across.weight, reach, b->samples);
}

static void blur_down(const blur *b, int64_t y) {
    const int64_t reach = b->down.reach, height = b->in->height;
    for (int64_t k = -reach; k <= reach; k++) {
        b->tap[reach + k] = b->rows + vt_mirror(y + k, height) % b->kept * b->samples;
    }
    b->kernels->convolve(b->sum, b->tap + reach, b->down.weight, reach, b->samples);
}

static void blur_rows(const vt_image *out, const blur *b) {
    int64_t done = 0;
    for (int64_t y = 0; y < out->height; y++) {
        for (; done < out->height && done <= y + b->down.reach; done++) blur_across(b, done);
        blur_down(b, y);
        narrow_row(out, y, b);
    }
}

/* ---------------------------------------------------------------- the operation */

static vt_status check(vt_numbers numbers, vt_error *error) {
    for (int axis = 0; axis < 2; axis++) {
        const double size = numbers.value[X_SIZE + axis], sigma = numbers.value[X_SIGMA + axis];
        if (!(size >= 1 && size < VT_IMAGE_SIDE && fmod(size, 2) == 1)) {
            return vt_fail(error, VT_VALUE,
                           "kernel_size is %g, expected an odd number from 1 to %d", size,
                           VT_IMAGE_SIDE - 1);
        }
        if (!(sigma > 0)) {
            return vt_fail(error, VT_VALUE, "sigma is %g, expected more than 0", sigma);
        }
    }
    return VT_OK;
}

/* Memory for all arrays of it. */
static vt_status take_memory(blur *b, vt_error *error) {
    const int64_t across = b->across.reach, down = b->down.reach;
    float **const array[] = {&b->across.weight, &b->down.weight, &b->padded, &b->rows, &b->sum};
    const int64_t count[] = {across + 1, down + 1, b->samples + 2 * across * b->in->channels,
                             b->kept * b->samples, b->samples};
    enum { ARRAYS = sizeof array / sizeof *array };
    size_t bytes[ARRAYS];
    const int64_t taps = 2 * (across > down ? across : down) + 1;
    size_t all = vt_align((size_t)taps * sizeof *b->tap);
    for (int i = 0; i < ARRAYS; i++) all += bytes[i] = vt_align((size_t)count[i] * sizeof(float));
    char *memory;
    VT_TRY(vt_scratch((void **)&memory, all, error));
    b->tap = (const float **)(void *)memory;
    memory += vt_align((size_t)taps * sizeof *b->tap);
    for (int i = 0; i < ARRAYS; memory += bytes[i++]) *array[i] = (float *)(void *)memory;
    return VT_OK;
}

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    VT_TRY(check(numbers, error));
    const double *n = numbers.value;
    blur b = {.kernels = vt_image_kernels_now(), .in = in, .samples = in->width * in->channels};
    b.across.reach = (int64_t)n[X_SIZE] / 2;
    b.down.reach = (int64_t)n[Y_SIZE] / 2;
    b.kept = 2 * b.down.reach + 1 < in->height ? 2 * b.down.reach + 1 : in->height;
    VT_TRY(take_memory(&b, error));
    fill_bell(&b.across, n[X_SIGMA]);
    fill_bell(&b.down, n[Y_SIGMA]);
    blur_rows(out, &b);
    return VT_OK;
}

const vt_image_op vt_image_op_gaussian_blur = {"gaussian_blur", "x_size y_size x_sigma y_sigma",
                                               NULL, run};
