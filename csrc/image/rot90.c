/* A quarter of a turn: a transposition of which one side is upside down. */
#include "image/geometry.h"
#include "image/operations.h"

/* Pixels of a square that is transposed at once: its rows and columns stay in the cache. */
enum { SIDE = 16 };

typedef struct square {
    int64_t y, x, rows, columns; /* in the input */
} square;

static inline void transpose_square(const vt_image *out, const vt_image *in, square s,
                                    int64_t bytes) {
    for (int64_t j = 0; j < s.columns; j++) {
        char *to = (char *)vt_image_row(out, s.x + j) + s.y * bytes;
        const char *from = (const char *)vt_image_row(in, s.y) + (s.x + j) * bytes;
        for (int64_t i = 0; i < s.rows; i++) {
            vt_copy_pixel(to + i * bytes, from + i * in->stride, bytes);
        }
    }
}

void vt_image_transpose(const vt_image *out, const vt_image *in) {
    const int64_t pixel = vt_image_pixel_bytes(in);
    for (int64_t x = 0; x < in->width; x += SIDE) {
        for (int64_t y = 0; y < in->height; y += SIDE) {
            const int64_t down = in->height - y, across = in->width - x;
            const square s = {y, x, down < SIDE ? down : SIDE, across < SIDE ? across : SIDE};
            VT_WITH_PIXEL_BYTES(pixel, transpose_square(out, in, s, bytes))
        }
    }
}

static vt_image upside_down(const vt_image *image) {
    vt_image turned = *image;
    turned.data = vt_image_row(image, image->height - 1);
    turned.stride = -image->stride;
    return turned;
}

static vt_status form(vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    (void)numbers, (void)error;
    out->height = in->width;
    out->width = in->height;
    return VT_OK;
}

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    (void)error;
    const bool clockwise = numbers.value[0] != 0;
    const vt_image to = clockwise ? *out : upside_down(out);
    const vt_image from = clockwise ? upside_down(in) : *in;
    vt_image_transpose(&to, &from);
    return VT_OK;
}

const vt_image_op vt_image_op_rot90 = {"rot90", "clockwise", form, run};
