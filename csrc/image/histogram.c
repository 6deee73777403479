/* Operations whose table of levels comes from the image, one per channel. */
#include <math.h>

#include "base/scratch.h"
#include "image/colour.h"
#include "image/operations.h"

enum { LEVELS = 256 };

typedef struct levels {
    int64_t count[LEVELS];
    uint8_t table[LEVELS];
} levels;

/* Four counts of each level, so that equal neighbours do not wait for each other. */
static void count_plane(int64_t count[LEVELS], const uint8_t *plane, int64_t n) {
    uint32_t part[4][LEVELS] = {{0}};
    int64_t i = 0;
    for (; i + 4 <= n; i += 4) {
        for (int p = 0; p < 4; p++) part[p][plane[i + p]]++;
    }
    for (; i < n; i++) part[0][plane[i]]++;
    for (int v = 0; v < LEVELS; v++) {
        count[v] += (int64_t)part[0][v] + part[1][v] + part[2][v] + part[3][v];
    }
}

static void count_levels(levels *channels, const vt_image *in) {
    const int64_t n = in->channels;
    for (int64_t c = 0; c < n; c++) memset(channels[c].count, 0, sizeof channels[c].count);
    for (int64_t y = 0; y < in->height; y++) {
        const uint8_t *row = vt_image_row(in, y);
        if (n == 1) {
            count_plane(channels[0].count, row, in->width);
            continue;
        }
        for (int64_t i = 0; i < in->width; i++) {
            for (int64_t c = 0; c < n; c++) channels[c].count[row[i * n + c]]++;
        }
    }
}

static void look_up(const vt_image *out, const vt_image *in, const levels *channels) {
    const int64_t n = in->channels;
    for (int64_t y = 0; y < in->height; y++) {
        const uint8_t *from = vt_image_row(in, y);
        uint8_t *to = vt_image_row(out, y);
        if (n == 1) {
            vt_image_kernels_now()->look_up(to, from, in->width, channels[0].table);
            continue;
        }
        for (int64_t i = 0; i < in->width; i++) {
            for (int64_t c = 0; c < n; c++) to[i * n + c] = channels[c].table[from[i * n + c]];
        }
    }
}

typedef void (*table_rule)(levels *channel);

static vt_status by_tables(const vt_image *out, const vt_image *in, table_rule rule,
                           vt_error *error) {
    levels *channels;
    VT_TRY(vt_scratch((void **)&channels, (size_t)in->channels * sizeof *channels, error));
    count_levels(channels, in);
    for (int64_t c = 0; c < in->channels; c++) rule(&channels[c]);
    look_up(out, in, channels);
    return VT_OK;
}

static void keep_levels(levels *channel) {
    for (int i = 0; i < LEVELS; i++) channel->table[i] = (uint8_t)i;
}

/* ---------------------------------------------------------------- equalize */

/* Pillow's: the cumulative histogram in steps of a 255th of all but the lightest pixels. */
static void equalized(levels *channel) {
    int64_t sum = 0, last = 0, used = 0;
    for (int i = 0; i < LEVELS; i++) {
        const int64_t count = channel->count[i];
        sum += count;
        used += count != 0;
        last = count != 0 ? count : last;
    }
    const int64_t step = (sum - last) / 255;
    if (used <= 1 || step == 0) {
        keep_levels(channel);
        return;
    }
    int64_t n = step / 2;
    for (int i = 0; i < LEVELS; i++) {
        const int64_t level = n / step;
        channel->table[i] = (uint8_t)(level > 255 ? 255 : level);
        n += channel->count[i];
    }
}

static vt_status equalize(const vt_image *out, const vt_image *in, vt_numbers numbers,
                          vt_error *error) {
    (void)numbers;
    if (in->sample != VT_SAMPLE_U8) {
        return vt_fail(error, VT_TYPE, "equalize takes uint8, got %s", vt_sample_name(in->sample));
    }
    return by_tables(out, in, equalized, error);
}

const vt_image_op vt_image_op_equalize = {"equalize", "", NULL, equalize};

/* ---------------------------------------------------------------- autocontrast */

static void stretched(levels *channel) {
    int low = 0, high = LEVELS - 1;
    while (low < LEVELS - 1 && channel->count[low] == 0) low++;
    while (high > 0 && channel->count[high] == 0) high--;
    if (high <= low) {
        keep_levels(channel);
        return;
    }
    const double scale = 255.0 / (high - low), offset = -low * scale;
    for (int i = 0; i < LEVELS; i++) {
        const double level = i * scale + offset;
        channel->table[i] = (uint8_t)(level < 0 ? 0 : level > 255 ? 255 : level);
    }
}

/* The same for more levels than a table has. */
static void stretch_channel(const vt_image *out, const vt_image *in, int64_t c) {
    float low = INFINITY, high = -INFINITY;
    const int64_t n = in->channels;
    for (int64_t i = 0; i < in->height * in->width; i++) {
        const void *row = vt_image_row(in, i / in->width);
        const float value = vt_read(row, i % in->width * n + c, in->sample);
        low = value < low ? value : low;
        high = value > high ? value : high;
    }
    const double white = vt_sample_white(in->sample);
    const double scale = high > low ? white / ((double)high - (double)low) : 1;
    const double offset = high > low ? -(double)low * scale : 0;
    for (int64_t i = 0; i < in->height * in->width; i++) {
        const int64_t y = i / in->width, at = i % in->width * n + c;
        const double value = (double)vt_read(vt_image_row(in, y), at, in->sample);
        vt_write(vt_image_row(out, y), at, in->sample, (float)(value * scale + offset));
    }
}

static vt_status autocontrast(const vt_image *out, const vt_image *in, vt_numbers numbers,
                              vt_error *error) {
    (void)numbers;
    if (in->sample == VT_SAMPLE_U8) return by_tables(out, in, stretched, error);
    for (int64_t c = 0; c < in->channels; c++) stretch_channel(out, in, c);
    return VT_OK;
}

const vt_image_op vt_image_op_autocontrast = {"autocontrast", "", NULL, autocontrast};
