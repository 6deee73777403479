/* The last pass over an image: to planes of floats, standardised by channel. Flipping and the
 * mixing of two images happen on the way. */
#include <string.h>

#include "base/memory.h"
#include "base/scratch.h"
#include "image/colour.h"
#include "image/kernels.h"

/* ---------------------------------------------------------------- the standardisation of bytes */

static vt_inverse inverse_of(float x) {
    const float high = 1.0f / x;
    return (vt_inverse){high, (float)(1.0 / (double)x - (double)high)};
}

/* The fast formula is used only if it gives what two divisions give, for all bytes. */
static void fill_standard(vt_standard *standard, float mean, float std) {
    uint8_t bytes[256];
    float fast[256];
    standard->mean = mean;
    standard->white = inverse_of(255);
    standard->std = inverse_of(std);
    standard->exact = true;
    for (int i = 0; i < 256; i++) {
        bytes[i] = (uint8_t)i;
        standard->table[i] = ((float)i / 255.0f - mean) / std;
    }
    vt_image_kernels_now()->standardize(fast, bytes, 256, standard);
    standard->exact = memcmp(fast, standard->table, sizeof fast) == 0;
}

/* ---------------------------------------------------------------- rows */

typedef struct work {
    const vt_image_kernels *kernels;
    const float *mean, *std;
    vt_standard *standard; /* (channels), for bytes */
    uint8_t *bytes;        /* (channels, width): planes of a row */
    uint8_t *reversed;     /* (width, channels) */
    float *row, *other;    /* (channels, width) */
    int64_t channels, width;
} work;

static void split_bytes(const work *w, const uint8_t *from) {
    if (w->channels == 3) {
        uint8_t *const planes[3] = {w->bytes, w->bytes + w->width, w->bytes + 2 * w->width};
        w->kernels->split(planes, from, w->width);
        return;
    }
    for (int64_t c = 0; c < w->channels; c++) {
        for (int64_t x = 0; x < w->width; x++) {
            w->bytes[c * w->width + x] = from[x * w->channels + c];
        }
    }
}

/* A row, of pixels or of a plane, in reverse if flipped. */
static const uint8_t *turned(const work *w, vt_write_source source, const uint8_t *row,
                             int64_t bytes) {
    if (!source.flip) return row;
    w->kernels->reverse(w->reversed, row, w->width, bytes);
    return w->reversed;
}

static const void *plane_row(vt_write_source source, int64_t c, int64_t y) {
    const vt_image *image = source.image;
    return (const char *)image->data + c * image->stride +
           y * image->width * (int64_t)vt_sample_size(image->sample);
}

static void row_of_bytes(float *const *planes, vt_write_source source, int64_t y, const work *w) {
    if (!source.planar) {
        split_bytes(w, turned(w, source, vt_image_row(source.image, y), w->channels));
    }
    for (int64_t c = 0; c < w->channels; c++) {
        const uint8_t *plane =
            source.planar ? turned(w, source, plane_row(source, c, y), 1) : w->bytes + c * w->width;
        w->kernels->standardize(planes[c], plane, w->width, &w->standard[c]);
    }
}

static void row_of_wide(float *const *planes, vt_write_source source, int64_t y, const work *w) {
    const int64_t step = source.planar ? 1 : w->channels;
    for (int64_t c = 0; c < w->channels; c++) {
        const void *from = source.planar ? plane_row(source, c, y) : vt_image_row(source.image, y);
        const int64_t first = source.planar ? 0 : c;
        for (int64_t x = 0; x < w->width; x++) {
            const int64_t at = (source.flip ? w->width - 1 - x : x) * step + first;
            planes[c][x] = (vt_read(from, at, source.image->sample) - w->mean[c]) / w->std[c];
        }
    }
}

static void standard_row(float *const *planes, vt_write_source source, int64_t y, const work *w) {
    if (source.image->sample == VT_SAMPLE_U8) {
        row_of_bytes(planes, source, y, w);
    } else {
        row_of_wide(planes, source, y, w);
    }
}

static void set_planes(float **planes, float *first, int64_t apart, int64_t channels) {
    for (int64_t c = 0; c < channels; c++) planes[c] = first + c * apart;
}

/* ---------------------------------------------------------------- images */

static void write_rows(void *out, bool bf16, vt_write_source one, const vt_write_mix *mix,
                       const work *w) {
    float *planes[VT_IMAGE_CHANNELS], *others[VT_IMAGE_CHANNELS];
    const int64_t area = one.image->height * w->width;
    const vt_rectangle *box = &mix->box;
    set_planes(others, w->other, w->width, w->channels);
    for (int64_t y = 0; y < one.image->height; y++) {
        if (bf16) {
            set_planes(planes, w->row, w->width, w->channels);
        } else {
            set_planes(planes, (float *)out + y * w->width, area, w->channels);
        }
        standard_row(planes, one, y, w);
        if (mix->other.image != NULL && y >= box->top && y < box->top + box->height) {
            standard_row(others, mix->other, y, w);
            for (int64_t c = 0; c < w->channels; c++) {
                float *row = planes[c] + box->left;
                w->kernels->mix_reals(row, row, others[c] + box->left, box->width,
                                      (float)mix->share, (float)(1 - mix->share));
            }
        }
        for (int64_t c = 0; bf16 && c < w->channels; c++) {
            uint16_t *to = (uint16_t *)out + c * area + y * w->width;
            w->kernels->to_bf16(to, planes[c], w->width);
        }
    }
}

static vt_status check(vt_write_source one, const float *std, const vt_write_mix *mix,
                       vt_error *error) {
    const vt_image *in = one.image, *other = mix->other.image;
    for (int64_t c = 0; c < in->channels; c++) {
        if (std[c] > 0) continue;
        return vt_fail(error, VT_VALUE, "std of channel %lld is %g, expected more than 0",
                       (long long)c, (double)std[c]);
    }
    if (other == NULL) return VT_OK;
    VT_TRY(vt_image_check_alike(other, in, error));
    if (!(mix->share >= 0 && mix->share <= 1)) {
        return vt_fail(error, VT_VALUE, "lam is %g, expected 0 to 1", mix->share);
    }
    return vt_image_check_box(&mix->box, in->height, in->width, error);
}

vt_status vt_image_write(void *out, bool bf16, vt_write_source one, const float *mean,
                         const float *std, const vt_write_mix *mix, vt_error *error) {
    VT_TRY(check(one, std, mix, error));
    const vt_image *in = one.image;
    work w = {.kernels = vt_image_kernels_now(),
              .mean = mean,
              .std = std,
              .channels = in->channels,
              .width = in->width};
    const size_t samples = (size_t)(in->channels * in->width);
    const size_t standards = vt_align((size_t)in->channels * sizeof *w.standard);
    char *memory;
    VT_TRY(vt_scratch((void **)&memory,
                      standards + 2 * vt_align(samples) + 2 * vt_align(samples * sizeof(float)),
                      error));
    w.standard = (vt_standard *)(void *)memory;
    w.bytes = (uint8_t *)memory + standards;
    w.reversed = w.bytes + vt_align(samples);
    w.row = (float *)(void *)(w.reversed + vt_align(samples));
    w.other = w.row + vt_align(samples * sizeof(float)) / sizeof(float);
    for (int64_t c = 0; in->sample == VT_SAMPLE_U8 && c < in->channels; c++) {
        fill_standard(&w.standard[c], mean[c], std[c]);
    }
    write_rows(out, bf16, one, mix, &w);
    return VT_OK;
}
