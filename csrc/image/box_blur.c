/* Nearly a Gaussian blur: three boxes in each direction, whose end samples have a smaller weight.
 * Gwosdek et al., "Theoretical foundations of Gaussian convolution by extended box filtering" (SSVM
 * 2011), in Pillow's fixed point: weights of 24 bits, integers between the passes, edges repeated.
 * Floating point has weights and sums in double.
 *
 * A tile has `wide` samples side by side, to be blurred down: some columns, or some transposed
 * rows, so that one pass serves both directions. */
#include <math.h>

#include "base/memory.h"
#include "base/scratch.h"
#include "image/geometry.h"
#include "image/kernels.h"
#include "image/operations.h"

enum { PASSES = 3, MOST_RADIUS = 10000, COLUMNS = 128, ROWS = 32 };

/* In float, as Pillow: [7], [11] and [14] of the paper. */
static float box_radius(float sigma) {
    const float variance = sigma * sigma / PASSES;
    const float length = (float)sqrt(12.0 * (double)variance + 1.0);
    const float whole = (float)floor(((double)length - 1.0) / 2.0);
    const float above = (2 * whole + 1) * (whole * (whole + 1) - 3 * variance);
    return whole + above / (6 * (variance - (whole + 1) * (whole + 1)));
}

static vt_box box_of(float radius) {
    vt_box b = {.radius = (int64_t)radius};
    const int64_t size = b.radius * 2 + 1;
    b.near = (uint32_t)((float)(1 << 24) / (radius * 2 + 1));
    b.far = ((1 << 24) - (uint32_t)size * b.near) / 2;
    b.real_near = 1 / ((double)radius * 2 + 1);
    b.real_far = (1 - (double)size * b.real_near) / 2;
    return b;
}

typedef void (*box_pass)(void *out, const void *in, int64_t n, int64_t wide, const vt_box *box,
                         void *sum);

static box_pass pass_of(vt_sample sample) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    const box_pass pass[VT_SAMPLE_COUNT] = {kernels->box_bytes, kernels->box_words,
                                            kernels->box_reals};
    return pass[sample];
}

typedef struct work {
    box_pass pass;
    vt_box box;
    void *tile, *blurred, *sum;
} work;

static void blur_tile(const work *w, int64_t n, int64_t wide) {
    w->pass(w->blurred, w->tile, n, wide, &w->box, w->sum);
    w->pass(w->tile, w->blurred, n, wide, &w->box, w->sum);
    w->pass(w->blurred, w->tile, n, wide, &w->box, w->sum);
}

/* An image that fills a tile. */
static vt_image tile_image(void *tile, int64_t height, int64_t width, const vt_image *like) {
    vt_image image = *like;
    image.data = tile;
    image.height = height;
    image.width = width;
    image.stride = vt_image_row_bytes(&image);
    return image;
}

static void blur_across(const vt_image *out, const vt_image *in, const work *w, int64_t rows) {
    for (int64_t y = 0; y < in->height; y += rows) {
        vt_image to = *out, from = *in;
        to.data = vt_image_row(out, y);
        from.data = vt_image_row(in, y);
        to.height = from.height = in->height - y < rows ? in->height - y : rows;
        const vt_image tile = tile_image(w->tile, in->width, from.height, in);
        const vt_image blurred = tile_image(w->blurred, in->width, from.height, in);
        vt_image_transpose(&tile, &from);
        blur_tile(w, in->width, from.height * in->channels);
        vt_image_transpose(&to, &blurred);
    }
}

static void blur_down(const vt_image *image, const work *w) {
    vt_image columns = *image;
    columns.channels = 1;
    const int64_t samples = image->width * image->channels;
    for (int64_t x = 0; x < samples; x += COLUMNS) {
        columns.data = (char *)image->data + x * vt_image_pixel_bytes(&columns);
        columns.width = samples - x < COLUMNS ? samples - x : COLUMNS;
        const vt_image tile = tile_image(w->tile, columns.height, columns.width, &columns);
        const vt_image blurred = tile_image(w->blurred, columns.height, columns.width, &columns);
        vt_image_copy(&tile, &columns);
        blur_tile(w, columns.height, columns.width);
        vt_image_copy(&columns, &blurred);
    }
}

/* Two tiles and the sums of one, for tiles of `rows` rows or COLUMNS columns. */
static vt_status take_memory(work *w, const vt_image *image, int64_t rows, vt_error *error) {
    const int64_t across = rows * image->channels, sums = across > COLUMNS ? across : COLUMNS;
    const int64_t lying = image->width * across, standing = image->height * COLUMNS;
    const int64_t most = lying > standing ? lying : standing;
    const size_t tile = vt_align((size_t)most * vt_sample_size(image->sample));
    char *memory;
    VT_TRY(vt_scratch((void **)&memory, 2 * tile + (size_t)sums * sizeof(double), error));
    w->tile = memory;
    w->blurred = memory + tile;
    w->sum = memory + 2 * tile;
    return VT_OK;
}

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    const double sigma = numbers.value[0];
    if (!(sigma >= 0 && sigma <= MOST_RADIUS)) {
        return vt_fail(error, VT_VALUE, "radius is %g, expected 0 to %d", sigma, MOST_RADIUS);
    }
    const float radius = box_radius((float)sigma);
    if (radius == 0) {
        vt_image_copy(out, in);
        return VT_OK;
    }
    const int64_t fitting = COLUMNS / in->channels;
    const int64_t rows = fitting < 1 ? 1 : fitting < ROWS ? fitting : ROWS;
    work w = {.pass = pass_of(in->sample), .box = box_of(radius)};
    VT_TRY(take_memory(&w, in, rows, error));
    blur_across(out, in, &w, rows);
    blur_down(out, &w);
    return VT_OK;
}

const vt_image_op vt_image_op_box_blur = {"box_blur", "radius", NULL, run};
