/* Operations that map each level to another, the same for all pixels: by a table for integers. */
#include <math.h>

#include "base/scratch.h"
#include "image/colour.h"
#include "image/operations.h"

/* The new level of a level; white is the largest. The result is clamped to 0 and white. */
typedef double (*level_map)(double level, double white, const double *number);

static void map_bytes(const vt_image *out, const vt_image *in, const uint8_t table[256]) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    vt_image to = *out, from = *in;
    vt_image_flatten(&to, &from);
    for (int64_t y = 0; y < from.height; y++) {
        kernels->look_up(vt_image_row(&to, y), vt_image_row(&from, y), from.width * from.channels,
                         table);
    }
}

static void map_words(const vt_image *out, const vt_image *in, const uint16_t *table) {
    for (int64_t y = 0; y < in->height; y++) {
        const uint16_t *from = vt_image_row(in, y);
        uint16_t *to = vt_image_row(out, y);
        for (int64_t i = 0; i < in->width * in->channels; i++) to[i] = table[from[i]];
    }
}

void vt_image_look_up(const vt_image *out, const vt_image *in, const void *table) {
    if (in->sample == VT_SAMPLE_U8) {
        map_bytes(out, in, table);
    } else {
        map_words(out, in, table);
    }
}

static void map_reals(const vt_image *out, const vt_image *in, level_map map,
                      const double *number) {
    for (int64_t y = 0; y < in->height; y++) {
        const float *from = vt_image_row(in, y);
        void *to = vt_image_row(out, y);
        for (int64_t i = 0; i < in->width * in->channels; i++) {
            vt_write(to, i, VT_SAMPLE_F32, (float)map((double)from[i], 1, number));
        }
    }
}

static double cut_level(double level, double white) {
    return level < 0 ? 0 : level > white ? white : level;
}

/* The new level of each one. */
static void fill_table(void *table, vt_sample sample, level_map map, const double *number) {
    VT_WITH_SAMPLE(sample, {
        sample_t *to = table;
        for (int i = 0; i <= white; i++) to[i] = (sample_t)cut_level(map(i, white, number), white);
    });
}

static vt_status map_levels(const vt_image *out, const vt_image *in, level_map map,
                            const double *number, vt_error *error) {
    if (in->sample == VT_SAMPLE_F32) {
        map_reals(out, in, map, number);
        return VT_OK;
    }
    uint8_t bytes[256];
    void *table = bytes;
    if (in->sample == VT_SAMPLE_U16) VT_TRY(vt_scratch(&table, 65536 * sizeof(uint16_t), error));
    fill_table(table, in->sample, map, number);
    vt_image_look_up(out, in, table);
    return VT_OK;
}

/* ---------------------------------------------------------------- the operations */

static double inverted(double level, double white, const double *number) {
    (void)number;
    return white - level;
}

static vt_status invert(const vt_image *out, const vt_image *in, vt_numbers numbers,
                        vt_error *error) {
    return map_levels(out, in, inverted, numbers.value, error);
}

const vt_image_op vt_image_op_invert = {"invert", "", NULL, invert};

static double solarized(double level, double white, const double *threshold) {
    return level < threshold[0] ? level : white - level;
}

static vt_status solarize(const vt_image *out, const vt_image *in, vt_numbers numbers,
                          vt_error *error) {
    return map_levels(out, in, solarized, numbers.value, error);
}

const vt_image_op vt_image_op_solarize = {"solarize", "threshold", NULL, solarize};

static double added(double level, double white, const double *number) {
    (void)white;
    return level < number[1] ? level + number[0] : level;
}

static vt_status solarize_add(const vt_image *out, const vt_image *in, vt_numbers numbers,
                              vt_error *error) {
    return map_levels(out, in, added, numbers.value, error);
}

const vt_image_op vt_image_op_solarize_add = {"solarize_add", "addition threshold", NULL,
                                              solarize_add};

static double posterized(double level, double white, const double *bits) {
    const double step = (white + 1) / exp2(bits[0]);
    return floor(level / step) * step;
}

/* torchvision's: white is not a separate level, but belongs to the highest of the 2^bits. */
static void posterize_reals(const vt_image *out, const vt_image *in, double bits) {
    const float levels = (float)exp2(bits), most = levels - 1, step = 1 / levels;
    for (int64_t y = 0; y < in->height; y++) {
        const float *restrict from = vt_image_row(in, y);
        float *restrict to = vt_image_row(out, y);
        for (int64_t i = 0; i < in->width * in->channels; i++) {
            const float positive = from[i] > 0 ? from[i] : 0, cut = positive < 1 ? positive : 1;
            const float level = (float)(int32_t)(cut * levels);
            to[i] = (level < most ? level : most) * step;
        }
    }
}

static vt_status posterize(const vt_image *out, const vt_image *in, vt_numbers numbers,
                           vt_error *error) {
    static const double most[VT_SAMPLE_COUNT] = {8, 16, 24};
    const double bits = numbers.value[0];
    if (!(bits >= 0 && bits <= most[in->sample] && bits == floor(bits))) {
        return vt_fail(error, VT_VALUE, "bits is %g, expected an integer from 0 to %g", bits,
                       most[in->sample]);
    }
    if (in->sample != VT_SAMPLE_F32) return map_levels(out, in, posterized, &bits, error);
    posterize_reals(out, in, bits);
    return VT_OK;
}

const vt_image_op vt_image_op_posterize = {"posterize", "bits", NULL, posterize};

/* torchvision's: a factor of almost white + 1, so that rounding down does not darken white. */
static double bent(double level, double white, const double *number) {
    const double most = white == 1 ? 1 : white + 1 - 1e-3;
    return most * number[1] * pow(level / white, number[0]);
}

static vt_status gamma_curve(const vt_image *out, const vt_image *in, vt_numbers numbers,
                             vt_error *error) {
    if (!(numbers.value[0] >= 0)) {
        return vt_fail(error, VT_VALUE, "gamma is %g, expected 0 or more", numbers.value[0]);
    }
    return map_levels(out, in, bent, numbers.value, error);
}

const vt_image_op vt_image_op_gamma = {"gamma", "gamma gain", NULL, gamma_curve};
