/* Every pixel from elsewhere, each by its own displacement. */
#include "base/scratch.h"
#include "image/geometry.h"
#include "image/kernels.h"
#include "image/sample.h"

typedef struct elastic {
    const vt_image_kernels *kernels;
    const vt_image *in;
    vt_image around; /* one pixel: the fill, which is around the image */
    double *x, *y;   /* (width): where the pixels of a row come from, from the first centre on */
} elastic;

/* Clamped to one pixel outside the image; NaN compares false, so it becomes -1. */
static inline double near_by(double position, double size) {
    const double least = position > -1 ? position : -1;
    return least < size ? least : size;
}

static void find_positions(double *restrict position, const float *restrict move, double step,
                           double first, int64_t n, int64_t size) {
    for (int32_t j = 0; j < (int32_t)n; j++) { /* 64-bit integers would not be vectorised */
        position[j] = near_by(first + step * j + (double)move[j], (double)size);
    }
}

static bool has_four(const vt_image *in, double x, double y) {
    return x >= 0 && x <= (double)(in->width - 1) && y >= 0 && y <= (double)(in->height - 1);
}

static double pixel_or_fill(const elastic *e, int64_t x, int64_t y, int64_t c) {
    const bool inside = x >= 0 && x < e->in->width && y >= 0 && y < e->in->height;
    return inside ? vt_sample_at(e->in, x, y, c) : vt_sample_at(&e->around, 0, 0, c);
}

/* A pixel that has the edge of the image among its four neighbours. */
static void edge_pixel(char *to, const elastic *e, double x, double y) {
    const int64_t left = (int64_t)floor(x), top = (int64_t)floor(y);
    const double dx = x - (double)left, dy = y - (double)top;
    for (int64_t c = 0; c < e->in->channels; c++) {
        const double upper =
            vt_line(pixel_or_fill(e, left, top, c), pixel_or_fill(e, left + 1, top, c), dx);
        const double lower =
            vt_line(pixel_or_fill(e, left, top + 1, c), pixel_or_fill(e, left + 1, top + 1, c), dx);
        vt_sample_put_rounded(to, e->in, c, vt_line(upper, lower, dy));
    }
}

/* The kernel's coordinates start at the corner of the first pixel, hence the 0.5. Pixels with the
 * edge among their neighbours are written here, and -1 makes the kernel skip them. */
static void bilinear_row(char *to, const elastic *e) {
    const int64_t n = e->in->width, bytes = vt_image_pixel_bytes(e->in);
    for (int64_t j = 0; j < n; j++) {
        const double x = e->x[j], y = e->y[j];
        if (has_four(e->in, x, y)) {
            e->x[j] += 0.5;
            e->y[j] += 0.5;
        } else {
            edge_pixel(to + j * bytes, e, x, y);
            e->x[j] = -1;
        }
    }
    e->kernels->bilinear(to, e->in, e->x, e->y, n, true);
}

/* Adding 1.5 * 2^52 and subtracting it again rounds to an integer, ties to even. */
static double nearest(double x) { return x + 6755399441055744.0 - 6755399441055744.0; }

static void nearest_row(char *to, const elastic *e) {
    const int64_t bytes = vt_image_pixel_bytes(e->in);
    for (int64_t j = 0; j < e->in->width; j++) {
        const double x = nearest(e->x[j]), y = nearest(e->y[j]);
        const char *from = e->around.data;
        if (has_four(e->in, x, y)) {
            from = (const char *)vt_image_row(e->in, (int64_t)y) + (int64_t)x * bytes;
        }
        vt_copy_pixel(to + j * bytes, from, bytes);
    }
}

vt_status vt_image_displace(const vt_image *out, const vt_image *in, const float *field,
                            bool bilinear, const double *fill, vt_error *error) {
    elastic e = {.kernels = vt_image_kernels_now(), .in = in, .around = *in};
    float pixel[VT_IMAGE_CHANNELS];
    vt_fill_pixel(pixel, in, fill);
    e.around.data = pixel;
    e.around.height = e.around.width = 1;
    VT_TRY(vt_scratch((void **)&e.x, 2 * (size_t)in->width * sizeof *e.x, error));
    e.y = e.x + in->width;
    for (int64_t i = 0; i < in->height; i++) {
        const float *across = field + i * in->width, *down = across + in->width * in->height;
        find_positions(e.x, across, 1, 0, in->width, in->width);
        find_positions(e.y, down, 0, (double)i, in->width, in->height);
        if (bilinear) {
            bilinear_row(vt_image_row(out, i), &e);
        } else {
            nearest_row(vt_image_row(out, i), &e);
        }
    }
    return VT_OK;
}
