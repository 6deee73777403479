/* Images (image/): the vector kernels against their plain C twins, to the bit; every operation on
 * images that end where their memory ends, of all sizes, channels and samples, with their rows
 * apart: under the sanitizers a step too far ends the program. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/scratch.h"
#include "image/image.h"
#include "image/kernels.h"
#include "tools/check.h"
#include "tools/numbers.h"

static void *take(size_t bytes) {
    void *block = malloc(bytes); /* not the core's: the sanitizers know where this one ends */
    if (block == NULL) abort();
    return block;
}

static uint8_t *random_bytes(size_t count) {
    uint8_t *bytes = take(count);
    for (size_t i = 0; i < count; i++) bytes[i] = (uint8_t)(uniform() * 256);
    return bytes;
}

/* ---------------------------------------------------------------- kernels */

static void check_same(const void *a, const void *b, size_t bytes, const char *what, int64_t n) {
    vt_check(memcmp(a, b, bytes) == 0, "%s differs for %lld", what, (long long)n);
}

static void check_planes(const vt_image_kernels *k, int64_t n) {
    const vt_image_kernels *ref = vt_image_kernels_level(VT_ISA_REF);
    const size_t size = (size_t)n;
    uint8_t *in = random_bytes(3 * size), *out[2] = {take(3 * size), take(3 * size)};
    for (int i = 0; i < 2; i++) {
        uint8_t *const planes[3] = {out[i], out[i] + n, out[i] + 2 * n};
        (i == 0 ? ref : k)->split(planes, in, n);
    }
    check_same(out[0], out[1], 3 * size, "split", n);
    const uint8_t *const planes[3] = {in, in + n, in + 2 * n};
    ref->merge(out[0], planes, n), k->merge(out[1], planes, n);
    check_same(out[0], out[1], 3 * size, "merge", n);
    for (int64_t bytes = 1; bytes <= 3; bytes++) {
        ref->reverse(out[0], in, n, bytes), k->reverse(out[1], in, n, bytes);
        check_same(out[0], out[1], size * (size_t)bytes, "reverse", n);
    }
    ref->luma(out[0], planes, n), k->luma(out[1], planes, n);
    check_same(out[0], out[1], size, "luma", n);
    for (int i = 0; i < 2; i++) {
        uint8_t *const turned[3] = {out[i], out[i] + n, out[i] + 2 * n};
        (i == 0 ? ref : k)->turn_hue(turned, planes, n, -40);
    }
    check_same(out[0], out[1], 3 * size, "turn_hue", n);
    free(in), free(out[0]), free(out[1]);
}

static void check_samples(const vt_image_kernels *k, int64_t n) {
    const vt_image_kernels *ref = vt_image_kernels_level(VT_ISA_REF);
    const size_t size = (size_t)n;
    uint8_t *in = random_bytes(size), *base = random_bytes(size), *table = random_bytes(256);
    uint8_t *out[2] = {take(size), take(size)};
    for (double factor = 0; factor < 3; factor += 0.37) {
        ref->blend_even(out[0], in, n, 117, (float)factor);
        k->blend_even(out[1], in, n, 117, (float)factor);
        check_same(out[0], out[1], size, "blend_even", n);
        ref->blend(out[0], base, in, n, (float)factor),
            k->blend(out[1], base, in, n, (float)factor);
        check_same(out[0], out[1], size, "blend", n);
    }
    ref->look_up(out[0], in, n, table), k->look_up(out[1], in, n, table);
    check_same(out[0], out[1], size, "look_up", n);
    free(in), free(base), free(table), free(out[0]), free(out[1]);
}

/* n sums of 2 reach + 1 rows, each of which ends where its memory ends; bytes to floats and back.
 */
static void check_sums(const vt_image_kernels *k, int64_t n) {
    enum { REACH = 3 };
    const vt_image_kernels *ref = vt_image_kernels_level(VT_ISA_REF);
    const size_t size = (size_t)n;
    const float weight[REACH + 1] = {0.4f, 0.2f, 0.09f, 0.01f};
    uint8_t *bytes[2] = {random_bytes(size), take(size)};
    float *row[2 * REACH + 1], *out[2] = {take(size * sizeof **out), take(size * sizeof **out)};
    for (int i = 0; i <= 2 * REACH; i++) {
        row[i] = take(size * sizeof *row[i]);
        for (int64_t j = 0; j < n; j++) row[i][j] = (float)(uniform() * 255);
    }
    const float *const *middle = (const float *const *)row + REACH;
    for (int reach = 0; reach <= REACH; reach++) {
        ref->convolve(out[0], middle, weight, reach, n),
            k->convolve(out[1], middle, weight, reach, n);
        check_same(out[0], out[1], size * sizeof **out, "convolve", n);
    }
    ref->to_float(out[0], bytes[0], n), k->to_float(out[1], bytes[0], n);
    check_same(out[0], out[1], size * sizeof **out, "to_float", n);
    ref->to_bytes(bytes[0], row[0], n), k->to_bytes(bytes[1], row[0], n);
    check_same(bytes[0], bytes[1], size, "to_bytes", n);
    for (int i = 0; i <= 2 * REACH; i++) free(row[i]);
    free(bytes[0]), free(bytes[1]), free(out[0]), free(out[1]);
}

/* Boxes of bytes, down a tile of n samples side by side. */
static void check_box(const vt_image_kernels *k, int64_t n, int64_t radius) {
    enum { DOWN = 20 };
    const size_t size = (size_t)n;
    const vt_box box = {.radius = radius,
                        .near = (1u << 24) / (uint32_t)(2 * radius + 2),
                        .far = (1u << 24) / (uint32_t)(4 * radius + 4)};
    uint8_t *in = random_bytes(DOWN * size), *out[2] = {take(DOWN * size), take(DOWN * size)};
    void *sum = take(size * sizeof(double));
    vt_image_kernels_level(VT_ISA_REF)->box_bytes(out[0], in, DOWN, n, &box, sum);
    k->box_bytes(out[1], in, DOWN, n, &box, sum);
    check_same(out[0], out[1], DOWN * size, "box_bytes", n);
    free(in), free(out[0]), free(out[1]), free(sum);
}

/* Columns and rows of 30 x 30 pixels; `across` may read some bytes behind a row. */
static void check_resampling(const vt_image_kernels *k, int64_t out_size, int64_t channels,
                             vt_filter filter) {
    enum { SIDE = 30, ROWS = 7 };
    const size_t bytes = SIDE * SIDE * (size_t)channels;
    const size_t row = (size_t)(out_size * channels);
    uint8_t *in = random_bytes(bytes + VT_OVERRUN), *out[2] = {take(ROWS * row), take(ROWS * row)};
    vt_taps taps;
    void *memory = take(vt_taps_bytes(SIDE, out_size, filter));
    vt_taps_fill(&taps, memory, SIDE, out_size, filter, out_size % 2 == 0);
    void *plan = aligned_alloc(64, (vt_plan_bytes(taps.size, taps.step) + 63) & ~(size_t)63);
    const uint8_t *rows[ROWS];
    for (int r = 0; r < ROWS; r++) rows[r] = in + (r + SIDE - ROWS) * SIDE * channels;
    for (int i = 0; i < 2; i++) {
        const vt_image_kernels *one = i == 0 ? vt_image_kernels_level(VT_ISA_REF) : k;
        one->plan_across(plan, channels, &taps);
        one->across(out[i], (int64_t)row, rows, ROWS, channels, &taps, plan);
    }
    check_same(out[0], out[1], ROWS * row, "across", out_size);
    for (int64_t y = 0; y < out_size; y++) {
        uint8_t down[2][SIDE * 8];
        const int64_t n = SIDE * channels, stride = SIDE * channels;
        for (int i = 0; i < 2; i++) {
            const vt_image_kernels *one = i == 0 ? vt_image_kernels_level(VT_ISA_REF) : k;
            one->plan_down(plan, &taps);
            one->down(down[i], in + taps.start[y] * stride, stride, n, &taps, y, plan);
        }
        check_same(down[0], down[1], (size_t)n, "down", out_size);
    }
    free(in), free(out[0]), free(out[1]), free(memory), free(plan);
}

static void check_mixing(const vt_image_kernels *k, int64_t n) {
    const vt_image_kernels *ref = vt_image_kernels_level(VT_ISA_REF);
    const size_t size = (size_t)n;
    uint8_t *one = random_bytes(4 * size), *other = random_bytes(4 * size);
    uint8_t *out[2] = {take(4 * size), take(4 * size)};
    float added[VT_IMAGE_CHUNK];
    for (double share = 0; share <= 1; share += 0.125) {
        const float rest = (float)(1 - share);
        for (int i = 0; i < 2; i++) {
            (i == 0 ? ref : k)->mix_bytes(out[i], one, other, n, (float)share, rest);
        }
        check_same(out[0], out[1], size, "mix_bytes", n);
        for (int i = 0; i < 2; i++) {
            (i == 0 ? ref : k)
                ->mix_words((uint16_t *)(void *)out[i], (uint16_t *)(void *)one,
                            (uint16_t *)(void *)other, n, (float)share, rest);
        }
        check_same(out[0], out[1], 2 * size, "mix_words", n);
        for (int i = 0; i < 2; i++) {
            float *sum = (float *)(void *)out[i];
            for (int64_t x = 0; x < n; x++) added[x] = sum[x] = 40 * (float)x - 99;
            (i == 0 ? ref : k)->add_weighted(sum, one, n, (float)share);
            (i == 0 ? ref : k)->mix_reals(sum, sum, added, n, (float)share, rest);
        }
        check_same(out[0], out[1], 4 * size, "mix", n);
        for (int i = 0; i < 2; i++) {
            (i == 0 ? ref : k)->cut_bytes(i == 0 ? one : other, (float *)(void *)out[i], n);
        }
        check_same(one, other, size, "cut_bytes", n);
    }
    free(one), free(other), free(out[0]), free(out[1]);
}

static void check_normals(const vt_image_kernels *k) {
    float out[2][VT_NORMALS];
    for (uint32_t i = 0; i < 100; i++) {
        const vt_stream stream = {{i, ~i}, i % 3};
        const uint64_t group = (uint64_t)i << (i % 48);
        vt_image_kernels_level(VT_ISA_REF)->normals(out[0], &stream, group);
        k->normals(out[1], &stream, group);
        check_same(out[0], out[1], sizeof out[0], "normals", i);
    }
}

static void check_kernels(const vt_image_kernels *k) {
    static const int64_t sizes[] = {1, 7, 15, 16, 17, 31, 32, 33, 63, 64, 100, VT_IMAGE_CHUNK};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_planes(k, sizes[i]);
        check_samples(k, sizes[i]);
        check_sums(k, sizes[i]);
        for (int64_t radius = 0; radius < 300; radius = 5 * radius + 3) {
            check_box(k, sizes[i], radius);
        }
        check_mixing(k, sizes[i]);
    }
    for (vt_filter filter = VT_FILTER_BILINEAR; filter < VT_FILTER_COUNT; filter++) {
        for (int64_t channels = 1; channels <= 7; channels++) {
            for (int64_t size = 1; size < 64; size = size * 3 / 2 + 1) {
                check_resampling(k, size, channels, filter);
            }
        }
    }
    check_normals(k);
}

/* ---------------------------------------------------------------- operations */

/* Rows lie `gap` bytes apart, and the last one ends with the block. */
static vt_image new_image(int64_t height, int64_t width, int64_t channels, vt_sample sample,
                          int64_t gap) {
    vt_image image = {NULL, height, width, channels, 0, sample};
    image.stride = vt_image_row_bytes(&image) + gap;
    const size_t bytes = (size_t)((height - 1) * image.stride + vt_image_row_bytes(&image));
    image.data = take(bytes);
    for (int64_t y = 0; y < height; y++) {
        for (int64_t i = 0; i < width * channels; i++) {
            const double value = uniform();
            switch (sample) {
                case VT_SAMPLE_U8:
                    ((uint8_t *)vt_image_row(&image, y))[i] = (uint8_t)(value * 256);
                    break;
                case VT_SAMPLE_U16:
                    ((uint16_t *)vt_image_row(&image, y))[i] = (uint16_t)(value * 65536);
                    break;
                default: ((float *)vt_image_row(&image, y))[i] = (float)value;
            }
        }
    }
    return image;
}

/* n pixels from positions in and around an image, which ends where its memory ends. */
static void check_positions(const vt_image_kernels *k, int64_t n, int64_t channels,
                            vt_sample sample) {
    enum { SIDE = 9 };
    const vt_image_kernels *ref = vt_image_kernels_level(VT_ISA_REF);
    const size_t size = (size_t)(n * channels) * vt_sample_size(sample);
    double *x = take((size_t)n * sizeof *x), *y = take((size_t)n * sizeof *y);
    for (int64_t i = 0; i < n; i++) {
        x[i] = i % 7 == 0 ? SIDE - 0.25 : i % 11 == 0 ? 1e30 : uniform() * (SIDE + 2) - 1;
        y[i] = i % 5 == 0 ? SIDE - 0.25 : uniform() * (SIDE + 2) - 1;
    }
    const vt_image in = new_image(SIDE, SIDE, channels, sample, 0);
    uint8_t *out[2] = {random_bytes(size), take(size)};
    memcpy(out[1], out[0], size);
    for (int rounded = 0; rounded < 2; rounded++) {
        ref->bilinear(out[0], &in, x, y, n, rounded), k->bilinear(out[1], &in, x, y, n, rounded);
        check_same(out[0], out[1], size, "bilinear", n);
    }
    ref->bicubic(out[0], &in, x, y, n), k->bicubic(out[1], &in, x, y, n);
    check_same(out[0], out[1], size, "bicubic", n);
    free(x), free(y), free(in.data), free(out[0]), free(out[1]);
}

static void check_all_positions(const vt_image_kernels *k) {
    for (int64_t n = 1; n < 300; n = 3 * n - 1 + (n == 1)) {
        for (int64_t channels = 1; channels <= 5; channels++) {
            for (int sample = 0; sample < VT_SAMPLE_COUNT; sample++) {
                check_positions(k, n, channels, (vt_sample)sample);
            }
        }
    }
}

/* Numbers that each operation takes, or refuses; the rest of them is the fill. */
typedef struct tried {
    const char *name;
    int count;
    double number[12];
    bool fill;
} tried;

static const tried calls[] = {
    {"resize", 4, {9, 40, VT_FILTER_NEAREST, 0}, false},
    {"resize", 4, {3, 5, VT_FILTER_BILINEAR, 0}, false},
    {"resize", 4, {40, 3, VT_FILTER_BICUBIC, 1}, false},
    {"resize", 4, {1, 1, VT_FILTER_LANCZOS, 0}, false},
    {"flip", 2, {1, 0}, false},
    {"flip", 2, {0, 1}, false},
    {"rot90", 1, {0}, false},
    {"rot90", 1, {1}, false},
    {"pad", 5, {1, 2, 3, 0, 0}, true},
    {"pad", 5, {-20, 3, 40, 1, 0}, true},
    {"pad", 5, {3, 0, 70, 90, 1}, true},
    {"pad", 5, {3, 0, 70, 90, 2}, true},
    {"pad", 5, {-1, 3, 2, 90, 2}, true},
    {"pad", 5, {3, 70, 9, -1, 3}, true},
    {"affine", 9, {7, 9, VT_FILTER_NEAREST, 0.7, 0.2, -1, 0.3, 1.2, -2}, true},
    {"affine", 9, {7, 9, VT_FILTER_NEAREST, 2, 0, -1, 0, 0.5, 3}, true},
    {"affine", 9, {5, 5, VT_FILTER_NEAREST, 1e6, 1, 0, 1, 1e6, 0}, true},
    {"affine", 9, {40, 70, VT_FILTER_BILINEAR, 1, 0, 0, 0, 1, 0}, true},
    {"affine", 9, {40, 19, VT_FILTER_BILINEAR, 0.9, 0.2, -1, 0.1, 1.2, -2}, true},
    {"affine", 9, {7, 9, VT_FILTER_BICUBIC, 0.7, 0.2, -1, 0.3, 1.2, -2}, true},
    {"perspective", 11, {7, 9, VT_FILTER_BILINEAR, 1, 0.1, 0, 0, 1, 0, -0.2, 0.01}, true},
    {"brightness", 1, {1.5}, false},
    {"contrast", 1, {0.5}, false},
    {"saturation", 1, {1.5}, false},
    {"hue", 1, {0.3}, false},
    {"grayscale", 1, {3}, false},
    {"sharpness", 1, {2}, false},
    {"invert", 0, {0}, false},
    {"solarize", 1, {100}, false},
    {"solarize_add", 2, {100, 128}, false},
    {"posterize", 1, {3}, false},
    {"gamma", 2, {0.5, 1}, false},
    {"equalize", 0, {0}, false},
    {"gaussian_blur", 4, {3, 5, 0.7, 2}, false},
    {"gaussian_blur", 4, {41, 1, 9, 0.1}, false},
    {"gaussian_blur", 4, {7, 181, 0.2, 40}, false},
    {"box_blur", 1, {1.3}, false},
    {"box_blur", 1, {40}, false},
    {"autocontrast", 0, {0}, false},
    {"noise", 5, {0.1, 0.2, 1, 7, 4294967295}, false},
    {"noise", 5, {0, 1e6, 0, 7, 0.5}, false},
};

static void run_call(const tried *call, const vt_image *in) {
    double value[32] = {0};
    memcpy(value, call->number, sizeof call->number);
    const int count = call->count + (call->fill ? (int)in->channels : 0);
    const vt_numbers numbers = {value, count};
    const vt_image_op *op = vt_image_find(call->name);
    vt_error error = {VT_OK, ""};
    VT_CHECK(op != NULL);
    vt_check(vt_image_check_numbers(op, in, numbers, &error) == VT_OK, "%s", error.message);
    vt_image form = *in;
    if (op->form != NULL) VT_CHECK(op->form(&form, in, numbers, &error) == VT_OK);
    vt_image out = new_image(form.height, form.width, form.channels, form.sample, 0);
    const vt_status status = op->run(&out, in, numbers, &error);
    vt_check(status == VT_OK || status == VT_TYPE || status == VT_VALUE, "%s: %s", call->name,
             error.message);
    free(out.data);
}

static void run_write(const vt_image *in) {
    float mean[8] = {0}, std[8] = {1, 1, 1, 1, 1, 1, 1, 1};
    const size_t count = (size_t)(in->height * in->width * in->channels);
    float *out = take(count * sizeof *out);
    const vt_write_mix mix = {{in, true, false}, 0.3, {0, 0, in->height, in->width}};
    vt_error error;
    VT_CHECK(vt_image_write(out, false, (vt_write_source){in, true, false}, mean, std, &mix,
                            &error) == VT_OK);
    VT_CHECK(vt_image_write(out, true, (vt_write_source){in, false, false}, mean, std, &mix,
                            &error) == VT_OK);
    std[in->channels - 1] = 0;
    VT_CHECK(vt_image_write(out, true, (vt_write_source){in, false, false}, mean, std, &mix,
                            &error) == VT_VALUE);
    free(out);
}

/* The same samples as planes give what they give as pixels of one channel. */
static void run_write_planar(const vt_image *in) {
    const int64_t c = in->channels, area = in->height * in->width;
    const float mean[8] = {0.5f, 0.1f, 0.2f}, std[8] = {1, 2, 3, 4, 5, 6, 7, 8};
    vt_image rows = new_image(c * in->height, in->width, 1, in->sample, 0), planar = rows;
    planar.height = in->height;
    planar.channels = c;
    planar.stride = area * (int64_t)vt_sample_size(in->sample);
    float *out[2] = {take((size_t)(c * area) * sizeof **out), take((size_t)area * sizeof **out)};
    for (int flip = 0; flip < 2; flip++) {
        const vt_write_mix none = {.share = 1};
        const vt_write_source all = {&planar, flip, true};
        vt_error error;
        VT_CHECK(vt_image_write(out[0], false, all, mean, std, &none, &error) == VT_OK);
        for (int64_t k = 0; k < c; k++) {
            vt_image plane = {vt_image_row(&rows, k * in->height),
                              in->height,
                              in->width,
                              1,
                              rows.stride,
                              in->sample};
            const vt_write_source one = {&plane, flip, false};
            VT_CHECK(vt_image_write(out[1], false, one, mean + k, std + k, &none, &error) == VT_OK);
            check_same(out[0] + k * area, out[1], (size_t)area * sizeof **out, "planar", k);
        }
    }
    free(rows.data), free(out[0]), free(out[1]);
}

static void run_erase(const vt_image *in) {
    const float mean[8] = {0.5f, 300}, sigma[8] = {1, 1e5f, 0};
    const int64_t c = in->channels, row = in->stride / (int64_t)vt_sample_size(in->sample);
    const vt_planes planes = {in->data, c, in->height, in->width, 1, row, c, in->sample};
    const vt_rectangle boxes[] = {{0, 0, in->height, in->width},
                                  {in->height / 2, in->width / 2, 1, 1},
                                  {in->height, in->width, 0, 0}};
    const vt_rectangle outside = {0, 1, in->height, in->width};
    vt_error error;
    for (int by_value = 0; by_value < 2; by_value++) {
        const vt_filling filling = {mean, sigma, by_value, {1, 2}};
        VT_CHECK(vt_erase(&planes, boxes, 3, &filling, &error) == VT_OK);
        VT_CHECK(vt_erase(&planes, &outside, 1, &filling, &error) == VT_VALUE);
    }
}

static void run_look_up(const vt_image *in) {
    if (in->sample == VT_SAMPLE_F32) return;
    vt_image out = new_image(in->height, in->width, in->channels, in->sample, 0);
    const size_t levels = in->sample == VT_SAMPLE_U8 ? 256 : 65536;
    uint8_t *table = random_bytes(levels * vt_sample_size(in->sample));
    vt_image_look_up(&out, in, table);
    free(out.data), free(table);
}

static void run_mix(const vt_image *in) {
    const float weight[3] = {0.2f, 1.1f, -0.4f};
    const vt_image images[3] = {*in, *in, *in};
    vt_image out = new_image(in->height, in->width, in->channels, in->sample, 0), other = *in;
    vt_error error;
    VT_CHECK(vt_image_mix(&out, images, 3, weight, &error) == VT_OK);
    VT_CHECK(vt_image_blend(&out, in, in, 0.3f, &error) == VT_OK);
    float *field = take((size_t)(in->height * in->width) * sizeof *field);
    for (int64_t i = 0; i < in->height * in->width; i++) field[i] = (float)(3 * uniform() - 1);
    VT_CHECK(vt_image_shade(&out, in, field, &error) == VT_OK);
    free(field);
    other.width++;
    VT_CHECK(vt_image_blend(&out, in, &other, 0.3f, &error) == VT_VALUE);
    free(out.data);
}

/* The rows of an image as a batch of two. */
static void run_mix_batch(const vt_image *in) {
    const int64_t height = in->height, width = in->width;
    vt_image one = new_image(2 * in->channels * height, width, 1, in->sample, 0);
    vt_image two = new_image(2 * in->channels * height, width, 1, in->sample, 0);
    const vt_batch from = {one.data, 2, in->channels, height, width, in->sample};
    const vt_batch to = {two.data, 2, in->channels, height, width, in->sample};
    int64_t index[2] = {1, 0};
    const vt_rectangle box[2] = {{0, 0, height, width},
                                 {height / 2, width / 2, height - height / 2, width - width / 2}};
    const double lam[2] = {0.3, 0.7};
    vt_error error;
    VT_CHECK(vt_batch_mix(&to, &from, &(vt_partners){index, lam, box}, &error) == VT_OK);
    index[0] = 2;
    VT_CHECK(vt_batch_mix(&to, &from, &(vt_partners){index, lam, box}, &error) == VT_VALUE);
    free(one.data), free(two.data);
}

static void run_displace(const vt_image *in) {
    const double fill[8] = {0.2, 300, -1};
    vt_image out = new_image(in->height, in->width, in->channels, in->sample, 0);
    const size_t area = (size_t)(in->height * in->width);
    float *field = take(2 * area * sizeof *field);
    for (size_t i = 0; i < 2 * area; i++) {
        const float far = i % 9 == 0 ? 1e30f : i % 5 == 0 ? 0 : 5;
        field[i] = i % 23 == 0 ? NAN : far * (float)(uniform() - 0.5);
    }
    vt_error error;
    VT_CHECK(vt_image_displace(&out, in, field, true, fill, &error) == VT_OK);
    VT_CHECK(vt_image_displace(&out, in, field, false, fill, &error) == VT_OK);
    free(out.data), free(field);
}

static void check_operations(int64_t height, int64_t width) {
    for (int64_t channels = 1; channels <= 7; channels += 1) {
        for (int sample = 0; sample < VT_SAMPLE_COUNT; sample++) {
            const int64_t gap = 4 * (channels % 2);
            const vt_image in = new_image(height, width, channels, (vt_sample)sample, gap);
            for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) run_call(&calls[i], &in);
            run_write(&in);
            run_write_planar(&in);
            run_erase(&in);
            run_look_up(&in);
            run_mix(&in);
            run_mix_batch(&in);
            run_displace(&in);
            free(in.data);
        }
    }
}

/* ---------------------------------------------------------------- tables and levels */

static vt_isa level_of(const char *name) {
    int isa = 0;
    while (strcmp(vt_isa_name((vt_isa)isa), name) != 0) isa++;
    return (vt_isa)isa;
}

/* Of a table: every slot has a kernel, that of the level which is told, and not yet that of the
 * level below. */
static void check_table(vt_isa isa) {
    const vt_image_kernels *k = vt_image_kernels_level((int)isa);
    int slot = 0;
#define CHECK_SLOT(name, result, arguments) \
    vt_check(k->name != NULL, "%s of %s is empty", #name, vt_isa_name(isa)); \
    vt_check(strcmp(vt_image_slot_name(slot), #name) == 0, "order of the slots"); \
    for (int below = 0; below < (int)vt_table_level(isa); below++) { \
        const vt_isa told = level_of(vt_image_slot_level(slot)); \
        vt_check((vt_image_kernels_level(below)->name == k->name) == (below >= (int)told), \
                 "%s of %s is said to be of %s", #name, vt_isa_name(isa), vt_isa_name(told)); \
    } \
    slot++;
    VT_IMAGE_SLOTS(CHECK_SLOT)
#undef CHECK_SLOT
    vt_check(slot == VT_IMAGE_SLOT_COUNT, "%d slots", slot);
}

/* ---------------------------------------------------------------- memory */

static void check_scratch(void) {
    void *first, *second;
    VT_CHECK(vt_scratch(&first, 1000, NULL) == VT_OK && (uintptr_t)first % VT_ALIGN == 0);
    VT_CHECK(vt_scratch(&second, 500, NULL) == VT_OK && second == first);
    vt_memory_fail_at(1);
    VT_CHECK(vt_scratch(&second, 1 << 30, NULL) == VT_MEMORY);
    VT_CHECK(vt_scratch(&second, 1000, NULL) == VT_OK && second == first);
    const int64_t allocations = vt_memory_read().allocations;
    check_operations(9, 9);
    check_operations(9, 9);
    VT_CHECK(vt_memory_read().allocations - allocations <= 4); /* it grew, and was kept */
}

int main(void) {
    static const int64_t sizes[][2] = {{1, 1}, {1, 9}, {9, 1}, {2, 3}, {17, 31}, {64, 33}};
    vt_error error;
    if (vt_isa_select(getenv("VITC_ISA"), &error) != VT_OK) return 1;
    VT_CHECK(vt_image_kernels_now() == vt_image_kernels_level((int)vt_isa_selected()));
    VT_CHECK(vt_image_kernels_level(-1) == NULL && vt_image_kernels_level(VT_ISA_COUNT) == NULL);
    check_table(vt_isa_selected());
    check_kernels(vt_image_kernels_now());
    check_all_positions(vt_image_kernels_now());
    check_scratch();
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        check_operations(sizes[i][0], sizes[i][1]);
    }
    return vt_check_summary();
}
