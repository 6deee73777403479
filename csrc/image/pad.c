/* A margin around the image: filled, or continued from its pixels. A negative margin is cut off, so
 * this also crops to rectangles that are partly or wholly outside the image. */
#include "base/scratch.h"
#include "image/geometry.h"
#include "image/operations.h"

enum { LEFT, TOP, RIGHT, BOTTOM, MODE, FILL };

/* In the order of vitc.data.functional.PADDINGS. */
typedef enum padding { CONSTANT, EDGE, REFLECT, SYMMETRIC, PADDINGS } padding;

static vt_status check(const vt_numbers numbers, vt_error *error) {
    for (int i = LEFT; i <= BOTTOM; i++) {
        const double pixels = numbers.value[i];
        if (fabs(pixels) <= VT_IMAGE_SIDE && pixels == floor(pixels)) continue;
        return vt_fail(error, VT_VALUE, "padding is %g, expected an integer from -%d to %d", pixels,
                       VT_IMAGE_SIDE, VT_IMAGE_SIDE);
    }
    const double mode = numbers.value[MODE];
    if (mode >= CONSTANT && mode < PADDINGS) return VT_OK;
    return vt_fail(error, VT_VALUE, "padding_mode is number %g, expected 0 to %d", mode,
                   PADDINGS - 1);
}

static vt_status form(vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    VT_TRY(check(numbers, error));
    const double *n = numbers.value;
    VT_TRY(vt_side(&out->height, (double)in->height + n[TOP] + n[BOTTOM], "height", error));
    return vt_side(&out->width, (double)in->width + n[LEFT] + n[RIGHT], "width", error);
}

/* The index, of n, that position i takes its pixel from; -1 for the fill. */
static int64_t origin(int64_t i, int64_t n, padding mode) {
    if (i >= 0 && i < n) return i;
    switch (mode) {
        case CONSTANT: return -1;
        case EDGE: return i < 0 ? 0 : n - 1;
        case REFLECT: return vt_mirror(i, n);
        default: return vt_mirror_edge(i, n);
    }
}

static inline int64_t least(int64_t a, int64_t b) { return a < b ? a : b; }
static inline int64_t most(int64_t a, int64_t b) { return a > b ? a : b; }

typedef struct margin {
    int64_t left, top;
    padding mode;
    const char *filled; /* a row of the result, all fill, of CONSTANT */
} margin;

/* Pixels x to last - 1 of a row of the result, none of which is in the row `from`. */
static void pad_pixels(char *to, int64_t x, int64_t last, const char *from, const vt_image *in,
                       const margin *m) {
    const int64_t bytes = vt_image_pixel_bytes(in);
    if (m->mode == CONSTANT && x < last) {
        memcpy(to + x * bytes, m->filled, (size_t)((last - x) * bytes));
        return;
    }
    for (; x < last; x++) {
        vt_copy_pixel(to + x * bytes, from + origin(x - m->left, in->width, m->mode) * bytes,
                      bytes);
    }
}

static void pad_row(char *to, int64_t width, const char *from, const vt_image *in,
                    const margin *m) {
    const int64_t bytes = vt_image_pixel_bytes(in);
    const int64_t first = most(0, least(m->left, width));
    const int64_t last = most(first, least(m->left + in->width, width));
    pad_pixels(to, 0, first, from, in, m);
    if (first < last) {
        const char *inside = from + (first - m->left) * bytes;
        memcpy(to + first * bytes, inside, (size_t)((last - first) * bytes));
    }
    pad_pixels(to, last, width, from, in, m);
}

static void pad_rows(const vt_image *out, const vt_image *in, const margin *m) {
    for (int64_t y = 0; y < out->height; y++) {
        const int64_t from = origin(y - m->top, in->height, m->mode);
        if (from < 0) {
            memcpy(vt_image_row(out, y), m->filled, (size_t)vt_image_row_bytes(out));
        } else {
            pad_row(vt_image_row(out, y), out->width, vt_image_row(in, from), in, m);
        }
    }
}

static vt_status fill_row(margin *m, const vt_image *out, const double *fill, vt_error *error) {
    char *filled;
    VT_TRY(vt_scratch((void **)&filled, (size_t)vt_image_row_bytes(out), error));
    float pixel[VT_IMAGE_CHANNELS];
    vt_image row = *out;
    row.data = filled;
    row.height = 1;
    vt_fill_pixel(pixel, &row, fill);
    vt_image_fill(&row, pixel);
    m->filled = filled;
    return VT_OK;
}

/* Negative margins are cut off first: the others continue what is left. */
static vt_status cut_off(vt_image *in, margin *m, const double *n, vt_error *error) {
    in->data = (char *)vt_image_row(in, -(int64_t)least(0, m->top)) -
               least(0, m->left) * vt_image_pixel_bytes(in);
    in->height += (int64_t)(fmin(0, n[TOP]) + fmin(0, n[BOTTOM]));
    in->width += (int64_t)(fmin(0, n[LEFT]) + fmin(0, n[RIGHT]));
    m->left = most(0, m->left);
    m->top = most(0, m->top);
    if (in->height > 0 && in->width > 0) return VT_OK;
    return vt_fail(error, VT_VALUE, "borders below 0 leave nothing of the image to be continued");
}

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    const double *n = numbers.value;
    margin m = {(int64_t)n[LEFT], (int64_t)n[TOP], (padding)(int)n[MODE], NULL};
    vt_image from = *in;
    if (m.mode == CONSTANT) {
        VT_TRY(fill_row(&m, out, n + FILL, error));
    } else {
        VT_TRY(cut_off(&from, &m, n, error));
    }
    pad_rows(out, &from, &m);
    return VT_OK;
}

const vt_image_op vt_image_op_pad = {"pad", "left top right bottom mode fill...", form, run};
