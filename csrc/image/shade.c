/* Uneven light: the levels of each pixel times its own factor. */
#include "base/scratch.h"
#include "image/image.h"

/* x / white * factor, clamped to 0 and 1, times white and rounded, ties to even. */
static inline float shaded(float x, float factor, float white) {
    float share = x / white * factor;
    share = share > 0 ? share : 0;
    share = share < 1 ? share : 1;
    return share * white + 0x1p23f - 0x1p23f;
}

static void shade_row(void *out, const void *in, const float *factor, int64_t n, vt_sample sample) {
    VT_WITH_SAMPLE(sample, {
        const sample_t *from = in;
        sample_t *to = out;
        for (int64_t i = 0; i < n; i++) {
            const float level = from[i];
            to[i] = (sample_t)(is_whole ? shaded(level, factor[i], white) : level * factor[i]);
        }
    });
}

vt_status vt_image_shade(const vt_image *out, const vt_image *in, const float *field,
                         vt_error *error) {
    const int64_t n = in->width * in->channels;
    float *factor;
    VT_TRY(vt_scratch((void **)&factor, (size_t)n * sizeof *factor, error));
    for (int64_t y = 0; y < in->height; y++) {
        for (int64_t x = 0, i = 0; x < in->width; x++) {
            for (int64_t c = 0; c < in->channels; c++) factor[i++] = field[y * in->width + x];
        }
        shade_row(vt_image_row(out, y), vt_image_row(in, y), factor, n, in->sample);
    }
    return VT_OK;
}
