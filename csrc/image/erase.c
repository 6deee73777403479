/* Rectangles of an array overwritten in place. */
#include "image/image.h"
#include "image/random.h"

static inline float cut(float x, float white) {
    x = x > 0 ? x : 0;
    return x < white ? x : white;
}

/* n values, `step` samples apart. */
static void store(const vt_planes *to, int64_t at, const float *value, int64_t n) {
    const int64_t step = to->next_pixel;
    VT_WITH_SAMPLE(to->sample, {
        sample_t *out = (sample_t *)to->data + at;
        for (int64_t i = 0; i < n; i++) {
            out[i * step] = (sample_t)(is_whole ? cut(value[i], white) : value[i]);
        }
    });
}

static void fill_even(const vt_planes *to, int64_t at, int64_t n, float value) {
    float same[VT_IMAGE_CHUNK];
    for (int64_t i = 0; i < VT_IMAGE_CHUNK && i < n; i++) same[i] = value;
    for (int64_t i = 0; i < n; i += VT_IMAGE_CHUNK) {
        store(to, at + i * to->next_pixel, same, n - i < VT_IMAGE_CHUNK ? n - i : VT_IMAGE_CHUNK);
    }
}

static void fill_randomly(const vt_planes *to, int64_t at, int64_t n, const vt_stream *stream,
                          int64_t first, float mean, float sigma) {
    float value[VT_IMAGE_CHUNK];
    for (int64_t i = 0; i < n; i += VT_IMAGE_CHUNK) {
        const int64_t some = n - i < VT_IMAGE_CHUNK ? n - i : VT_IMAGE_CHUNK;
        vt_normals(value, stream, (uint64_t)(first + i), some);
        for (int64_t k = 0; k < some; k++) value[k] = mean + sigma * value[k];
        store(to, at + i * to->next_pixel, value, some);
    }
}

/* Random numbers by value are numbered from the upper left corner of the rectangle in the first
 * channel on; those by channel have the index of the channel. */
static void erase_channel(const vt_planes *to, const vt_rectangle *box, int64_t channel,
                          const vt_filling *filling, const vt_stream *stream) {
    const float mean = filling->mean[channel], sigma = filling->sigma[channel];
    const bool by_value = filling->by_value && sigma != 0;
    float z = 0;
    if (sigma != 0) vt_normals(&z, stream, (uint64_t)channel, 1);
    for (int64_t y = 0; y < box->height; y++) {
        const int64_t at =
            channel * to->next_channel + (box->top + y) * to->next_row + box->left * to->next_pixel;
        const int64_t first = (channel * box->height + y) * box->width;
        if (by_value) {
            fill_randomly(to, at, box->width, stream, first, mean, sigma);
        } else {
            fill_even(to, at, box->width, mean + sigma * z);
        }
    }
}

vt_status vt_erase(const vt_planes *planes, const vt_rectangle *box, int64_t count,
                   const vt_filling *filling, vt_error *error) {
    for (int64_t i = 0; i < count; i++) {
        VT_TRY(vt_image_check_box(&box[i], planes->height, planes->width, error));
    }
    for (int64_t i = 0; i < count; i++) {
        const vt_stream stream = {{filling->key[0], filling->key[1]}, (uint32_t)i};
        for (int64_t c = 0; c < planes->channels; c++) {
            erase_channel(planes, &box[i], c, filling, &stream);
        }
    }
    return VT_OK;
}
