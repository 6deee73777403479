/* Left and right, or top and bottom, exchanged. */
#include "image/geometry.h"
#include "image/operations.h"

static inline void reverse_row(char *to, const char *from, int64_t width, int64_t bytes) {
    for (int64_t x = 0; x < width; x++) {
        vt_copy_pixel(to + (width - 1 - x) * bytes, from + x * bytes, bytes);
    }
}

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    (void)error;
    const bool across = numbers.value[0] != 0, down = numbers.value[1] != 0;
    const int64_t pixel = vt_image_pixel_bytes(in);
    for (int64_t y = 0; y < in->height; y++) {
        const char *from = vt_image_row(in, y);
        char *to = vt_image_row(out, down ? in->height - 1 - y : y);
        if (across) {
            VT_WITH_PIXEL_BYTES(pixel, reverse_row(to, from, in->width, bytes))
        } else {
            memcpy(to, from, (size_t)(in->width * pixel));
        }
    }
    return VT_OK;
}

const vt_image_op vt_image_op_flip = {"flip", "across down", NULL, run};
