/* Normal noise: level + white (mean + sigma z), z being number (y width + x) channels + c of the
 * key's first stream. Integers are rounded and clamped to their range; floating point is clamped to
 * 0 and 1 if `clip` is not 0. */
#include <math.h>

#include "image/operations.h"
#include "image/random.h"

typedef struct noise {
    vt_stream stream;
    float shift, spread;
    float least, most;
} noise;

static inline float noisy(float level, float z, const noise *of) {
    const float sum = level + (of->shift + of->spread * z);
    return sum < of->least ? of->least : sum > of->most ? of->most : sum;
}

static void add(void *out, const void *in, const float *z, int64_t n, vt_sample sample,
                const noise *of) {
    VT_WITH_SAMPLE(sample, {
        const sample_t *from = in;
        sample_t *to = out;
        for (int64_t i = 0; i < n; i++) {
            const float sum = noisy(from[i], z[i], of);
            to[i] = (sample_t)(is_whole ? sum + 0.5f : sum);
        }
    });
}

static void add_to_row(void *out, const void *in, uint64_t first, int64_t n, vt_sample sample,
                       const noise *of) {
    const int64_t bytes = (int64_t)vt_sample_size(sample);
    float z[VT_IMAGE_CHUNK];
    for (int64_t i = 0; i < n; i += VT_IMAGE_CHUNK) {
        const int64_t some = n - i < VT_IMAGE_CHUNK ? n - i : VT_IMAGE_CHUNK;
        vt_normals(z, &of->stream, first + (uint64_t)i, some);
        add((char *)out + i * bytes, (const char *)in + i * bytes, z, some, sample, of);
    }
}

static vt_status check(double mean, double sigma, vt_error *error) {
    enum { MOST = 1000000 };
    if (!(fabs(mean) <= MOST)) {
        return vt_fail(error, VT_VALUE, "mean is %g, expected -%d to %d", mean, MOST, MOST);
    }
    if (!(sigma >= 0 && sigma <= MOST)) {
        return vt_fail(error, VT_VALUE, "sigma is %g, expected 0 to %d", sigma, MOST);
    }
    return VT_OK;
}

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    const double mean = numbers.value[0], sigma = numbers.value[1];
    const bool clip = numbers.value[2] != 0 || in->sample != VT_SAMPLE_F32;
    VT_TRY(check(mean, sigma, error));
    const double white = vt_sample_white(in->sample);
    noise of = {.shift = (float)(white * mean), .spread = (float)(white * sigma)};
    of.least = clip ? 0 : -INFINITY;
    of.most = clip ? (float)white : INFINITY;
    VT_TRY(vt_image_key(of.stream.key, numbers.value + 3, error));
    const int64_t n = in->width * in->channels;
    for (int64_t y = 0; y < in->height; y++) {
        add_to_row(vt_image_row(out, y), vt_image_row(in, y), (uint64_t)(y * n), n, in->sample,
                   &of);
    }
    return VT_OK;
}

const vt_image_op vt_image_op_noise = {"noise", "mean sigma clip key_low key_high", NULL, run};
