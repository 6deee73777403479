/* Sums of images, each times its weight; and batches whose images are mixed with each other. */
#include <string.h>

#include "image/colour.h"

/* ---------------------------------------------------------------- images */

static void add_row(float *sum, const void *in, int64_t n, vt_sample sample, float weight,
                    const vt_image_kernels *kernels) {
    if (sample == VT_SAMPLE_U8) {
        kernels->add_weighted(sum, in, n, weight);
        return;
    }
    for (int64_t i = 0; i < n; i++) sum[i] += weight * vt_read(in, i, sample);
}

static void store_row(void *out, const float *sum, int64_t n, vt_sample sample,
                      const vt_image_kernels *kernels) {
    if (sample == VT_SAMPLE_U8) {
        kernels->cut_bytes(out, sum, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) vt_write(out, i, sample, sum[i]);
}

static void mix_row(const vt_image *out, const vt_image *in, int count, const float *weight,
                    int64_t y) {
    const int64_t n = out->width * out->channels, bytes = (int64_t)vt_sample_size(out->sample);
    const vt_image_kernels *kernels = vt_image_kernels_now();
    float sum[VT_IMAGE_CHUNK];
    for (int64_t x = 0; x < n; x += VT_IMAGE_CHUNK) {
        const int64_t some = n - x < VT_IMAGE_CHUNK ? n - x : VT_IMAGE_CHUNK;
        memset(sum, 0, sizeof sum);
        for (int i = 0; i < count; i++) {
            const char *from = (const char *)vt_image_row(&in[i], y) + x * bytes;
            add_row(sum, from, some, out->sample, weight[i], kernels);
        }
        store_row((char *)vt_image_row(out, y) + x * bytes, sum, some, out->sample, kernels);
    }
}

vt_status vt_image_mix(const vt_image *out, const vt_image *in, int count, const float *weight,
                       vt_error *error) {
    for (int i = 1; i < count; i++) VT_TRY(vt_image_check_alike(&in[i], in, error));
    for (int64_t y = 0; y < in->height; y++) mix_row(out, in, count, weight, y);
    return VT_OK;
}

static void blend_row(void *out, const void *one, const void *other, int64_t n, vt_sample sample,
                      float ratio, const vt_image_kernels *kernels) {
    if (sample == VT_SAMPLE_U8) {
        kernels->blend(out, one, other, n, ratio);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        const float base = vt_read(one, i, sample);
        vt_write(out, i, sample, base + ratio * (vt_read(other, i, sample) - base));
    }
}

vt_status vt_image_blend(const vt_image *out, const vt_image *one, const vt_image *other,
                         float ratio, vt_error *error) {
    VT_TRY(vt_image_check_alike(other, one, error));
    const vt_image_kernels *kernels = vt_image_kernels_now();
    for (int64_t y = 0; y < one->height; y++) {
        blend_row(vt_image_row(out, y), vt_image_row(one, y), vt_image_row(other, y),
                  one->width * one->channels, one->sample, ratio, kernels);
    }
    return VT_OK;
}

/* ---------------------------------------------------------------- batches */

static void mix_values(const vt_batch *out, const vt_batch *in, int64_t one, int64_t other,
                       int64_t n, double lam) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    const float share = (float)lam, rest = (float)(1 - lam);
    const int64_t size = (int64_t)vt_sample_size(in->sample);
    const char *from = in->data;
    const void *a = from + one * size, *b = from + other * size;
    void *to = (char *)out->data + one * size;
    switch (in->sample) {
        case VT_SAMPLE_U8: kernels->mix_bytes(to, a, b, n, share, rest); break;
        case VT_SAMPLE_U16: kernels->mix_words(to, a, b, n, share, rest); break;
        default: kernels->mix_reals(to, a, b, n, share, rest);
    }
}

/* n values of the result from index `one` on, whose partners are at `other` and on. For a lam of 1
 * or 0 the values or the partners are copied bit by bit, NaN too. */
static void fill(const vt_batch *out, const vt_batch *in, int64_t one, int64_t other, int64_t n,
                 double lam) {
    const int64_t size = (int64_t)vt_sample_size(in->sample);
    if (lam > 0 && lam < 1) {
        mix_values(out, in, one, other, n, lam);
        return;
    }
    const int64_t from = lam == 1 ? one : other;
    memcpy((char *)out->data + one * size, (const char *)in->data + from * size,
           (size_t)(n * size));
}

static void mix_image(const vt_batch *out, const vt_batch *in, const vt_partners *partners,
                      int64_t i) {
    const vt_rectangle *box = &partners->box[i];
    const int64_t area = in->height * in->width, values = in->channels * area;
    const int64_t one = i * values, apart = (partners->index[i] - i) * values;
    const double lam = partners->lam[i];
    if (box->height == in->height && box->width == in->width) {
        fill(out, in, one, one + apart, values, lam);
        return;
    }
    fill(out, in, one, one, values, 1);
    for (int64_t c = 0; c < in->channels; c++) {
        for (int64_t y = box->top; y < box->top + box->height; y++) {
            const int64_t at = one + c * area + y * in->width + box->left;
            fill(out, in, at, at + apart, box->width, lam);
        }
    }
}

static vt_status check(const vt_batch *in, const vt_partners *partners, int64_t i,
                       vt_error *error) {
    const int64_t index = partners->index[i];
    if (!(index >= 0 && index < in->images)) {
        return vt_fail(error, VT_VALUE, "partner %lld of a batch of %lld images", (long long)index,
                       (long long)in->images);
    }
    if (!(partners->lam[i] >= 0 && partners->lam[i] <= 1)) {
        return vt_fail(error, VT_VALUE, "lam is %g, expected 0 to 1", partners->lam[i]);
    }
    return vt_image_check_box(&partners->box[i], in->height, in->width, error);
}

vt_status vt_batch_mix(const vt_batch *out, const vt_batch *in, const vt_partners *partners,
                       vt_error *error) {
    for (int64_t i = 0; i < in->images; i++) VT_TRY(check(in, partners, i, error));
    for (int64_t i = 0; i < in->images; i++) mix_image(out, in, partners, i);
    return VT_OK;
}
