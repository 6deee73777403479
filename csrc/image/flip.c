/* Left and right, or top and bottom, exchanged. */
#include <string.h>

#include "image/kernels.h"
#include "image/operations.h"

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    (void)error;
    const bool across = numbers.value[0] != 0, down = numbers.value[1] != 0;
    const int64_t pixel = vt_image_pixel_bytes(in);
    const vt_image_kernels *kernels = vt_image_kernels_now();
    for (int64_t y = 0; y < in->height; y++) {
        const uint8_t *from = vt_image_row(in, y);
        uint8_t *to = vt_image_row(out, down ? in->height - 1 - y : y);
        if (across) {
            kernels->reverse(to, from, in->width, pixel);
        } else {
            memcpy(to, from, (size_t)(in->width * pixel));
        }
    }
    return VT_OK;
}

const vt_image_op vt_image_op_flip = {"flip", "across down", NULL, run};
