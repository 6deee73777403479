/* Affine maps and perspective: each pixel of the result asks where in the input it comes from. A
 * pixel is mapped by its centre: pixel (j, i) is the point (j + 0.5, i + 0.5). There is no
 * antialiasing, as in Pillow's Image.transform. The result is filled first; pixels that come from
 * outside the input are skipped, so they keep the fill. */
#include "base/scratch.h"
#include "image/geometry.h"
#include "image/kernels.h"
#include "image/operations.h"
#include "image/sample.h"

enum { HEIGHT, WIDTH, FILTER, MATRIX };

/* From a point (x, y) of the result to the input: x_in = (m[0] x + m[1] y + m[2]) / d and
 * y_in = (m[3] x + m[4] y + m[5]) / d with d = m[6] x + m[7] y + 1, or d = 1 for affine maps. */
typedef struct mapping {
    const double *m;
    bool is_perspective;
} mapping;

static vt_status form(vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    (void)in;
    const double filter = numbers.value[FILTER];
    if (!(filter >= VT_FILTER_NEAREST && filter <= VT_FILTER_BICUBIC)) {
        return vt_fail(error, VT_VALUE,
                       "interpolation is number %g, expected nearest, bilinear or bicubic", filter);
    }
    VT_TRY(vt_side(&out->height, numbers.value[HEIGHT], "height", error));
    return vt_side(&out->width, numbers.value[WIDTH], "width", error);
}

/* ---------------------------------------------------------------- nearest, in steps */

/* Whether the point that (x, y) comes from fits signed integers of 16 bits. */
static bool fits_fixed(const double *m, double x, double y) {
    return fabs(x * m[0] + y * m[1] + m[2]) < 32768 && fabs(x * m[3] + y * m[4] + m[5]) < 32768;
}

/* x in fixed point with 16 fractional bits, rounded. */
static int64_t fixed(double x) { return (int64_t)floor(x * 65536.0 + 0.5); }

static bool is_inside(int64_t x, int64_t y, const vt_image *in) {
    return x >= 0 && x < in->width && y >= 0 && y < in->height;
}

/* n pixels from (x, y) on, all inside, in steps of (dx, dy). */
static inline void copy_along(char *to, const vt_image *in, int64_t n, int64_t x, int64_t y,
                              int64_t dx, int64_t dy, int64_t bytes) {
    for (int64_t i = 0; i < n; i++, x += dx, y += dy) {
        const char *row = vt_image_row(in, y >> 16);
        vt_copy_pixel(to + i * bytes, row + (x >> 16) * bytes, bytes);
    }
}

/* A row of the result: n pixels from (x, y) on, in steps of (dx, dy), all in fixed point. The
 * points are on a line and the input is a rectangle, so those inside are consecutive: pixels are
 * skipped from both ends, and pixels `first` to `last` - 1 are copied without a check. */
static void fixed_row(char *to, const vt_image *in, int64_t n, int64_t x, int64_t y, int64_t dx,
                      int64_t dy) {
    const int64_t pixel = vt_image_pixel_bytes(in);
    int64_t first = 0, last = n;
    while (first < last && !is_inside((x + first * dx) >> 16, (y + first * dy) >> 16, in)) first++;
    while (first < last && !is_inside((x + (last - 1) * dx) >> 16, (y + (last - 1) * dy) >> 16, in))
        last--;
    x += first * dx, y += first * dy;
    VT_WITH_PIXEL_BYTES(pixel,
                        copy_along(to + first * bytes, in, last - first, x, y, dx, dy, bytes))
}

/* Pillow's affine_fixed: starts where the first centre comes from, and adds (dx, dy) per column and
 * (ex, ey) per row in integers. */
static void fixed_affine(const vt_image *out, const vt_image *in, const double *m) {
    const int64_t x = fixed(m[2] + m[0] * 0.5 + m[1] * 0.5), dx = fixed(m[0]), ex = fixed(m[1]);
    const int64_t y = fixed(m[5] + m[3] * 0.5 + m[4] * 0.5), dy = fixed(m[3]), ey = fixed(m[4]);
    for (int64_t i = 0; i < out->height; i++) {
        fixed_row(vt_image_row(out, i), in, out->width, x + i * ex, y + i * ey, dx, dy);
    }
}

/* The same in doubles, for coordinates that do not fit 16 bits. The steps are summed and not
 * multiplied, because the rounding of the sums is Pillow's. */
static void stepped_affine(const vt_image *out, const vt_image *in, const double *m) {
    const int64_t bytes = vt_image_pixel_bytes(in);
    double x0 = m[2] + m[1] * 0.5 + m[0] * 0.5, y0 = m[5] + m[4] * 0.5 + m[3] * 0.5;
    for (int64_t i = 0; i < out->height; i++, x0 += m[1], y0 += m[4]) {
        double x = x0, y = y0;
        char *to = vt_image_row(out, i);
        for (int64_t j = 0; j < out->width; j++, x += m[0], y += m[3]) {
            if (!(x >= 0 && x < (double)in->width && y >= 0 && y < (double)in->height)) continue;
            const char *row = vt_image_row(in, (int64_t)y);
            vt_copy_pixel(to + j * bytes, row + (int64_t)x * bytes, bytes);
        }
    }
}

/* ---------------------------------------------------------------- any filter, point by point */

/* The pixel that contains each point: its index is the coordinate without the fraction. */
static void nearest_row(void *out, const vt_image *in, const double *x, const double *y,
                        int64_t n) {
    const int64_t bytes = vt_image_pixel_bytes(in);
    for (int64_t i = 0; i < n; i++) {
        if (!vt_is_inside(in, x[i], y[i])) continue;
        const char *from = (const char *)vt_image_row(in, (int64_t)y[i]) + (int64_t)x[i] * bytes;
        vt_copy_pixel((char *)out + i * bytes, from, bytes);
    }
}

/* The points that the n pixels of row i come from. */
static void find_row(double *x, double *y, const mapping *map, int64_t i, int64_t n) {
    const double *m = map->m, row = (double)i + 0.5;
    for (int64_t j = 0; j < n; j++) {
        const double column = (double)j + 0.5;
        x[j] = m[0] * column + m[1] * row + m[2];
        y[j] = m[3] * column + m[4] * row + m[5];
    }
    /* A second loop, so that affine maps do not pay for the divisions. */
    for (int64_t j = 0; map->is_perspective && j < n; j++) {
        const double divisor = m[6] * ((double)j + 0.5) + m[7] * row + 1;
        x[j] /= divisor;
        y[j] /= divisor;
    }
}

/* Row by row: the points first, then a kernel that reads the input around them. */
static vt_status warp_by_position(const vt_image *out, const vt_image *in, const mapping *map,
                                  vt_filter filter, vt_error *error) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    double *x;
    VT_TRY(vt_scratch((void **)&x, 2 * (size_t)out->width * sizeof *x, error));
    double *y = x + out->width;
    for (int64_t i = 0; i < out->height; i++) {
        void *to = vt_image_row(out, i);
        find_row(x, y, map, i, out->width);
        switch (filter) {
            case VT_FILTER_NEAREST: nearest_row(to, in, x, y, out->width); break;
            case VT_FILTER_BILINEAR: kernels->bilinear(to, in, x, y, out->width, false); break;
            default: kernels->bicubic(to, in, x, y, out->width);
        }
    }
    return VT_OK;
}

/* ---------------------------------------------------------------- the operations */

void vt_fill_pixel(void *pixel, const vt_image *image, const double *value) {
    for (int64_t c = 0; c < image->channels; c++) vt_sample_put(pixel, image, c, value[c]);
}

void vt_image_fill(const vt_image *image, const void *pixel) {
    const int64_t bytes = vt_image_pixel_bytes(image);
    /* The first row pixel by pixel, the others as copies of it. */
    char *first = image->data;
    for (int64_t x = 0; x < image->width; x++) vt_copy_pixel(first + x * bytes, pixel, bytes);
    for (int64_t y = 1; y < image->height; y++) {
        memcpy(vt_image_row(image, y), first, (size_t)(image->width * bytes));
    }
}

static void fill(const vt_image *out, const double *value) {
    float pixel[VT_IMAGE_CHANNELS];
    vt_fill_pixel(pixel, out, value);
    vt_image_fill(out, pixel);
}

/* Nearest neighbours of 8 bits and floating point are found as in Pillow, by steps from pixel to
 * pixel, whose rounding differs from that of separate points. A map without rotation and shear
 * treats rows and columns separately; another one steps in fixed point if the corners of the result
 * fit, else in doubles. Samples of 16 bits and the other filters go point by point. */
static vt_status affine(const vt_image *out, const vt_image *in, vt_numbers numbers,
                        vt_error *error) {
    const vt_filter filter = (vt_filter)(int)numbers.value[FILTER];
    const double *m = numbers.value + MATRIX, w = (double)out->width, h = (double)out->height;
    fill(out, m + 6);
    if (filter != VT_FILTER_NEAREST || in->sample == VT_SAMPLE_U16) {
        return warp_by_position(out, in, &(mapping){m, false}, filter, error);
    } else if (m[1] == 0 && m[3] == 0) {
        return vt_scale_nearest(out, in, m, error);
    } else if (fits_fixed(m, 0, 0) && fits_fixed(m, w, h) && fits_fixed(m, 0, h) &&
               fits_fixed(m, w, 0)) {
        fixed_affine(out, in, m);
    } else {
        stepped_affine(out, in, m);
    }
    return VT_OK;
}

const vt_image_op vt_image_op_affine = {"affine", "height width filter a b c d e f fill...", form,
                                        affine};

static vt_status perspective(const vt_image *out, const vt_image *in, vt_numbers numbers,
                             vt_error *error) {
    const mapping map = {numbers.value + MATRIX, true};
    fill(out, map.m + 8);
    return warp_by_position(out, in, &map, (vt_filter)(int)numbers.value[FILTER], error);
}

const vt_image_op vt_image_op_perspective = {
    "perspective", "height width filter a b c d e f g h fill...", form, perspective};
