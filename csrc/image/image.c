#include "image/image.h"

#include <math.h>
#include <string.h>

vt_status vt_image_check(const vt_image *image, const char *name, vt_error *error) {
    if (image->height >= 1 && image->width >= 1 && image->height <= VT_IMAGE_SIDE &&
        image->width <= VT_IMAGE_SIDE && image->channels >= 1 &&
        image->channels <= VT_IMAGE_CHANNELS) {
        return VT_OK;
    }
    return vt_fail(error, VT_VALUE,
                   "%s has %lld x %lld pixels of %lld channels, expected 1 to %d pixels per side "
                   "and 1 to %d channels",
                   name, (long long)image->height, (long long)image->width,
                   (long long)image->channels, VT_IMAGE_SIDE, VT_IMAGE_CHANNELS);
}

vt_status vt_image_check_numbers(const vt_image_op *op, const vt_image *in, vt_numbers numbers,
                                 vt_error *error) {
    int expected = 0;
    for (const char *at = op->arguments; *at != '\0'; at++) {
        expected += at == op->arguments || at[-1] == ' ';
    }
    if (strstr(op->arguments, "...") != NULL) expected += (int)in->channels - 1;
    if (numbers.count == expected) return VT_OK;
    return vt_fail(error, VT_TYPE, "%s takes %d numbers (%s), got %d", op->name, expected,
                   op->arguments, numbers.count);
}

vt_status vt_image_check_alike(const vt_image *one, const vt_image *other, vt_error *error) {
    if (one->height == other->height && one->width == other->width &&
        one->channels == other->channels && one->sample == other->sample) {
        return VT_OK;
    }
    return vt_fail(error, VT_VALUE,
                   "images to be mixed must be of one size, number of channels and type");
}

vt_status vt_image_check_box(const vt_rectangle *box, int64_t height, int64_t width,
                             vt_error *error) {
    if (box->top >= 0 && box->left >= 0 && box->height >= 0 && box->width >= 0 &&
        box->top <= height && box->height <= height - box->top && box->left <= width &&
        box->width <= width - box->left) {
        return VT_OK;
    }
    return vt_fail(error, VT_VALUE, "box (%lld, %lld, %lld, %lld) is not within %lld x %lld pixels",
                   (long long)box->top, (long long)box->left, (long long)box->height,
                   (long long)box->width, (long long)height, (long long)width);
}

vt_status vt_image_key(uint32_t key[2], const double *value, vt_error *error) {
    for (int i = 0; i < 2; i++) {
        if (!(value[i] >= 0 && value[i] <= UINT32_MAX && value[i] == floor(value[i]))) {
            return vt_fail(error, VT_VALUE, "key is %.17g, expected an unsigned integer of 32 bits",
                           value[i]);
        }
        key[i] = (uint32_t)value[i];
    }
    return VT_OK;
}

void vt_image_copy(const vt_image *out, const vt_image *in) {
    const size_t bytes = (size_t)vt_image_row_bytes(in);
    for (int64_t y = 0; y < in->height; y++) {
        memcpy(vt_image_row(out, y), vt_image_row(in, y), bytes);
    }
}
