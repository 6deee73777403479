/* Nearest neighbours under scaling and moving. */
#include "base/scratch.h"
#include "image/geometry.h"

/* Pillow sums the steps for 8 bits and floating point, and multiplies for 16 bits. */
static double position(const vt_image *in, int64_t i, double step, double offset, double *sum) {
    if (in->sample == VT_SAMPLE_U16) return step * ((double)i + 0.5) + offset;
    const double here = *sum;
    *sum += step;
    return here;
}

/* The index that each pixel of a row comes from, -1 if from outside. Pixels `first` to `last` - 1
 * include all that come from inside; if `run`, they come from consecutive indices. */
typedef struct origins {
    int32_t *from;
    int64_t first, last;
    bool run;
} origins;

static void tabulate(origins *o, const vt_image *out, const vt_image *in, const double a[6]) {
    double sum = a[2] + a[0] * 0.5;
    o->first = o->last = 0;
    o->run = true;
    for (int64_t x = 0; x < out->width; x++) {
        const int64_t index = vt_pixel_index(position(in, x, a[0], a[2], &sum));
        o->from[x] = index < in->width ? (int32_t)index : -1;
        if (o->from[x] < 0) continue;
        if (o->last == 0) o->first = x;
        if (o->last != 0) o->run = o->run && o->last == x && o->from[x] == o->from[x - 1] + 1;
        o->last = x + 1;
    }
}

static inline void pick_row(char *to, const char *row, const int32_t *from, int64_t n,
                            int64_t bytes) {
    for (int64_t x = 0; x < n; x++) {
        if (from[x] >= 0) vt_copy_pixel(to + x * bytes, row + from[x] * bytes, bytes);
    }
}

vt_status vt_scale_nearest(const vt_image *out, const vt_image *in, const double a[6],
                           vt_error *error) {
    origins o;
    VT_TRY(vt_scratch((void **)&o.from, (size_t)out->width * sizeof *o.from, error));
    tabulate(&o, out, in, a);
    if (o.last == 0) return VT_OK;
    const int64_t pixel = vt_image_pixel_bytes(in);
    double sum = a[5] + a[4] * 0.5;
    for (int64_t y = 0; y < out->height; y++) {
        const int64_t index = vt_pixel_index(position(in, y, a[4], a[5], &sum));
        if (index < 0 || index >= in->height) continue;
        char *to = vt_image_row(out, y);
        const char *row = vt_image_row(in, index);
        if (o.run) {
            const size_t bytes = (size_t)((o.last - o.first) * pixel);
            memcpy(to + o.first * pixel, row + o.from[o.first] * pixel, bytes);
            continue;
        }
        VT_WITH_PIXEL_BYTES(pixel, pick_row(to, row, o.from, out->width, bytes))
    }
    return VT_OK;
}
