/* Affine maps and perspective: each pixel of the result asks where it comes from, (x, y) meaning
 * the middle of a pixel. Without antialiasing, as Pillow's Image.transform; what comes from outside
 * of the image is filled. */
#include <math.h>

#include "image/geometry.h"
#include "image/operations.h"
#include "image/taps.h"

enum { HEIGHT, WIDTH, FILTER, MATRIX };

/* x = (m[0] x + m[1] y + m[2]) / (m[6] x + m[7] y + 1), and so on; affine maps have no divisor. */
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

static bool fits_fixed(const double *m, double x, double y) {
    return fabs(x * m[0] + y * m[1] + m[2]) < 32768 && fabs(x * m[3] + y * m[4] + m[5]) < 32768;
}

static int64_t fixed(double x) { return (int64_t)floor(x * 65536.0 + 0.5); }

static bool is_inside(int64_t x, int64_t y, const vt_image *in) {
    return x >= 0 && x < in->width && y >= 0 && y < in->height;
}

static inline void copy_along(char *to, const vt_image *in, int64_t n, int64_t x, int64_t y,
                              int64_t dx, int64_t dy, int64_t bytes) {
    for (int64_t i = 0; i < n; i++, x += dx, y += dy) {
        const char *row = vt_image_row(in, y >> 16);
        vt_copy_pixel(to + i * bytes, row + (x >> 16) * bytes, bytes);
    }
}

/* From (x, y) on in steps of (dx, dy), 16 bits behind the point. Inside and outside are convex:
 * only the ends of a row need to be looked at. */
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

static void fixed_affine(const vt_image *out, const vt_image *in, const double *m) {
    const int64_t x = fixed(m[2] + m[0] * 0.5 + m[1] * 0.5), dx = fixed(m[0]), ex = fixed(m[1]);
    const int64_t y = fixed(m[5] + m[3] * 0.5 + m[4] * 0.5), dy = fixed(m[3]), ey = fixed(m[4]);
    for (int64_t i = 0; i < out->height; i++) {
        fixed_row(vt_image_row(out, i), in, out->width, x + i * ex, y + i * ey, dx, dy);
    }
}

/* The same in doubles, for coordinates that do not fit. */
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

/* ---------------------------------------------------------------- any filter, by place */

static inline double sample_at(const vt_image *in, int64_t x, int64_t y, int64_t c) {
    const void *row = vt_image_row(in, y);
    const int64_t i = x * in->channels + c;
    switch (in->sample) {
        case VT_SAMPLE_U8: return ((const uint8_t *)row)[i];
        case VT_SAMPLE_U16: return ((const uint16_t *)row)[i];
        default: return (double)((const float *)row)[i];
    }
}

static inline int64_t clip(int64_t i, int64_t size) { return i < 0 ? 0 : i < size ? i : size - 1; }

/* The points around a place: columns and rows from (x, y) on, and how far from the second (of four)
 * or first (of two) it is. Beyond an edge there is the edge. */
typedef struct around {
    int64_t x[4], y[4];
    double dx, dy;
} around;

static around around_place(const vt_image *in, double x, double y, int points) {
    x -= 0.5;
    y -= 0.5;
    const int64_t left = (int64_t)floor(x), top = (int64_t)floor(y), before = points / 2 - 1;
    around a = {.dx = x - (double)left, .dy = y - (double)top};
    for (int i = 0; i < points; i++) {
        a.x[i] = clip(left - before + i, in->width);
        a.y[i] = clip(top - before + i, in->height);
    }
    return a;
}

static inline double line(double a, double b, double d) { return a + (b - a) * d; }

static inline double cubic(const double v[4], double d) {
    const double p1 = v[1], p2 = -v[0] + v[2], p3 = 2 * (v[0] - v[1]) + v[2] - v[3];
    const double p4 = -v[0] + v[1] - v[2] + v[3];
    return p1 + d * (p2 + d * (p3 + d * p4));
}

static double bilinear_at(const vt_image *in, const around *a, int64_t c) {
    const double above =
        line(sample_at(in, a->x[0], a->y[0], c), sample_at(in, a->x[1], a->y[0], c), a->dx);
    const double below =
        line(sample_at(in, a->x[0], a->y[1], c), sample_at(in, a->x[1], a->y[1], c), a->dx);
    return line(above, below, a->dy);
}

static double bicubic_at(const vt_image *in, const around *a, int64_t c) {
    double rows[4];
    for (int j = 0; j < 4; j++) {
        double v[4];
        for (int i = 0; i < 4; i++) v[i] = sample_at(in, a->x[i], a->y[j], c);
        rows[j] = cubic(v, a->dx);
    }
    return cubic(rows, a->dy);
}

/* Real numbers as they are; whole ones cut, without fraction. */
static void put(char *pixel, const vt_image *in, int64_t c, double value) {
    const double white = vt_sample_white(in->sample);
    const double cut = value > 0 ? value < white ? value : white : 0;
    switch (in->sample) {
        case VT_SAMPLE_U8: ((uint8_t *)pixel)[c] = (uint8_t)cut; break;
        case VT_SAMPLE_U16: ((uint16_t *)(void *)pixel)[c] = (uint16_t)cut; break;
        default: ((float *)(void *)pixel)[c] = (float)value;
    }
}

static void pixel_at(char *to, const vt_image *in, double x, double y, vt_filter filter) {
    if (filter == VT_FILTER_NEAREST) {
        const int64_t bytes = vt_image_pixel_bytes(in);
        vt_copy_pixel(to, (const char *)vt_image_row(in, (int64_t)y) + (int64_t)x * bytes, bytes);
        return;
    }
    const bool is_cubic = filter == VT_FILTER_BICUBIC;
    const around a = around_place(in, x, y, is_cubic ? 4 : 2);
    for (int64_t c = 0; c < in->channels; c++) {
        put(to, in, c, is_cubic ? bicubic_at(in, &a, c) : bilinear_at(in, &a, c));
    }
}

static void place(double *x, double *y, const mapping *map, int64_t j, int64_t i) {
    const double *m = map->m, column = (double)j + 0.5, row = (double)i + 0.5;
    *x = m[0] * column + m[1] * row + m[2];
    *y = m[3] * column + m[4] * row + m[5];
    if (map->is_perspective) {
        *x /= m[6] * column + m[7] * row + 1;
        *y /= m[6] * column + m[7] * row + 1;
    }
}

static void warp_by_place(const vt_image *out, const vt_image *in, const mapping *map,
                          vt_filter filter) {
    const int64_t bytes = vt_image_pixel_bytes(in);
    for (int64_t i = 0; i < out->height; i++) {
        char *to = vt_image_row(out, i);
        for (int64_t j = 0; j < out->width; j++) {
            double x, y;
            place(&x, &y, map, j, i);
            if (x >= 0 && x < (double)in->width && y >= 0 && y < (double)in->height) {
                pixel_at(to + j * bytes, in, x, y, filter);
            }
        }
    }
}

/* ---------------------------------------------------------------- the operations */

void vt_fill_pixel(void *pixel, const vt_image *image, const double *value) {
    for (int64_t c = 0; c < image->channels; c++) put(pixel, image, c, value[c]);
}

void vt_image_fill(const vt_image *image, const void *pixel) {
    const int64_t bytes = vt_image_pixel_bytes(image);
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

/* Pillow steps from pixel to pixel for nearest neighbours of 8 bits and real numbers. */
static vt_status affine(const vt_image *out, const vt_image *in, vt_numbers numbers,
                        vt_error *error) {
    const vt_filter filter = (vt_filter)(int)numbers.value[FILTER];
    const double *m = numbers.value + MATRIX, w = (double)out->width, h = (double)out->height;
    fill(out, m + 6);
    if (filter != VT_FILTER_NEAREST || in->sample == VT_SAMPLE_U16) {
        warp_by_place(out, in, &(mapping){m, false}, filter);
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
    (void)error;
    const mapping map = {numbers.value + MATRIX, true};
    fill(out, map.m + 8);
    warp_by_place(out, in, &map, (vt_filter)(int)numbers.value[FILTER]);
    return VT_OK;
}

const vt_image_op vt_image_op_perspective = {
    "perspective", "height width filter a b c d e f g h fill...", form, perspective};
