/* Operations that first look at the levels of an image and then map each level to another: equalize
 * and autocontrast. Every channel is treated on its own. For 8 bits the map is a table of 256
 * levels; 16-bit and floating point samples have more levels and are done further below. */
#include <math.h>

#include "base/scratch.h"
#include "image/colour.h"
#include "image/operations.h"

enum { LEVELS = 256 };

/* Several histograms that are summed at the end: with one, equal neighbours increment the same
 * counter, and each increment waits for the one before it. */
enum { PARTS = 4 };

/* What is known about one channel. */
typedef struct levels {
    uint32_t part[PARTS][LEVELS];
    int64_t count[LEVELS]; /* the sum of the parts */
    uint8_t least, most;   /* the levels that occur are within these */
    uint8_t table[LEVELS]; /* the new level of each level */
} levels;

/* An operation on 8 bits: `look` takes note of n more samples of a channel, and after the last of
 * them `make_table` fills its table. */
typedef struct survey {
    void (*look)(levels *channel, const uint8_t *plane, int64_t n);
    void (*make_table)(levels *channel);
} survey;

/* n pixels to one plane per channel, and back. There are kernels for three channels. */
static void split_pixels(uint8_t *const *planes, const uint8_t *row, int64_t channels, int64_t n,
                         const vt_image_kernels *kernels) {
    if (channels == 3) {
        kernels->split(planes, row, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < channels; c++) planes[c][i] = row[i * channels + c];
    }
}

static void merge_pixels(uint8_t *row, const uint8_t *const *planes, int64_t channels, int64_t n,
                         const vt_image_kernels *kernels) {
    if (channels == 3) {
        kernels->merge(row, planes, n);
        return;
    }
    for (int64_t i = 0; i < n; i++) {
        for (int64_t c = 0; c < channels; c++) row[i * channels + c] = planes[c][i];
    }
}

/* First pass: every row is split into planes, which the operation looks at. */
static void look_at(levels *channels, const vt_image *in, survey how, uint8_t *const *planes) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    for (int64_t c = 0; c < in->channels; c++) {
        memset(channels[c].part, 0, sizeof channels[c].part);
        channels[c].least = LEVELS - 1;
        channels[c].most = 0;
    }
    for (int64_t y = 0; y < in->height; y++) {
        split_pixels(planes, vt_image_row(in, y), in->channels, in->width, kernels);
        for (int64_t c = 0; c < in->channels; c++) how.look(&channels[c], planes[c], in->width);
    }
}

/* Second pass: every row is split, mapped plane by plane, and put together again. */
static void look_up(const vt_image *out, const vt_image *in, const levels *channels,
                    uint8_t *const *planes) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    for (int64_t y = 0; y < in->height; y++) {
        split_pixels(planes, vt_image_row(in, y), in->channels, in->width, kernels);
        for (int64_t c = 0; c < in->channels; c++) {
            kernels->look_up(planes[c], planes[c], in->width, channels[c].table);
        }
        merge_pixels(vt_image_row(out, y), (const uint8_t *const *)planes, in->channels, in->width,
                     kernels);
    }
}

static vt_status by_tables(const vt_image *out, const vt_image *in, survey how, vt_error *error) {
    /* One block of scratch: what is known about the channels, then the planes of one row. */
    const size_t tables = (size_t)in->channels * sizeof(levels);
    levels *channels;
    VT_TRY(vt_scratch((void **)&channels, tables + (size_t)vt_image_row_bytes(in), error));
    uint8_t *planes[VT_IMAGE_CHANNELS];
    for (int64_t c = 0; c < in->channels; c++) {
        planes[c] = (uint8_t *)channels + tables + c * in->width;
    }
    look_at(channels, in, how, planes);
    for (int64_t c = 0; c < in->channels; c++) how.make_table(&channels[c]);
    look_up(out, in, channels, planes);
    return VT_OK;
}

/* The table that changes nothing. */
static void keep_levels(levels *channel) {
    for (int i = 0; i < LEVELS; i++) channel->table[i] = (uint8_t)i;
}

/* ---------------------------------------------------------------- equalize */

static void count_plane(levels *channel, const uint8_t *plane, int64_t n) {
    int64_t i = 0;
    /* Neighbours go to different parts; the samples left over go to the first. */
    for (; i + PARTS <= n; i += PARTS) {
        for (int p = 0; p < PARTS; p++) channel->part[p][plane[i + p]]++;
    }
    for (; i < n; i++) channel->part[0][plane[i]]++;
}

static void add_parts(levels *channel) {
    for (int v = 0; v < LEVELS; v++) {
        channel->count[v] = 0;
        for (int p = 0; p < PARTS; p++) channel->count[v] += channel->part[p][v];
    }
}

/* Pillow's ImageOps.equalize: the new level of a pixel is the number of darker pixels, divided by a
 * step that is a 255th of the pixels which do not have the lightest level. */
static void equalized(levels *channel) {
    int64_t sum = 0, last = 0, used = 0; /* last: the count of the lightest level that occurs */
    add_parts(channel);
    for (int i = 0; i < LEVELS; i++) {
        const int64_t count = channel->count[i];
        sum += count;
        used += count != 0;
        last = count != 0 ? count : last;
    }
    /* Nothing to spread: only one level occurs, or there are fewer pixels than steps. */
    const int64_t step = (sum - last) / 255;
    if (used <= 1 || step == 0) {
        keep_levels(channel);
        return;
    }
    int64_t n = step / 2; /* pixels darker than level i, plus half a step, which rounds */
    for (int i = 0; i < LEVELS; i++) {
        const int64_t level = n / step;
        channel->table[i] = (uint8_t)(level > 255 ? 255 : level);
        n += channel->count[i];
    }
}

/* The same for 16 bits, and for floating point, whose levels are rounded to 16 bits. Here a step
 * may be a fraction of a pixel: Pillow's integer step would be 0 in every image of fewer than 65535
 * pixels, and would leave it as it is. */
enum { FINE_LEVELS = 65536 };

/* The level of a sample as an index; floating point is clamped to 0 and 1 first. */

static inline int fine_level(const void *row, int64_t i, vt_sample sample) {
    const float level = vt_read(row, i, sample), white = (float)vt_sample_white(sample);
    if (sample == VT_SAMPLE_U16) return (int)level;
    return (int)((level > 0 ? level < white ? level : white : 0) * (FINE_LEVELS - 1) + 0.5f);
}

/* The histogram of channel c. */
static void count_fine_levels(int64_t *count, const vt_image *in, int64_t c) {
    memset(count, 0, FINE_LEVELS * sizeof *count);
    for (int64_t y = 0; y < in->height; y++) {
        const void *row = vt_image_row(in, y);
        for (int64_t x = 0; x < in->width; x++) {
            count[fine_level(row, x * in->channels + c, in->sample)]++;
        }
    }
}

/* Replaces each count by the new level: 0 for the darkest level that occurs and FINE_LEVELS - 1 for
 * the lightest. Returns false if only one level occurs; the counts are then left as they are. */
static bool equalize_fine_levels(int64_t *count, int64_t pixels) {
    int last = FINE_LEVELS - 1; /* the lightest level that occurs */
    while (count[last] == 0) last--;
    const int64_t steps = pixels - count[last], most = FINE_LEVELS - 1;
    int64_t darker = 0; /* pixels below level i */
    for (int i = 0; steps > 0 && i <= last; i++) {
        const int64_t here = count[i];
        if (here == 0) continue; /* most levels: spares the division */
        /* most * darker / steps, rounded to the nearest integer */
        count[i] = (2 * most * darker + steps) / (2 * steps);
        darker += here;
    }
    return steps > 0;
}

/* Maps channel c; levels of floating point samples are divided back to 0 to 1. */
static void write_fine_levels(const vt_image *out, const vt_image *in, int64_t c,
                              const int64_t *level) {
    const float unit = in->sample == VT_SAMPLE_F32 ? FINE_LEVELS - 1 : 1;
    for (int64_t y = 0; y < in->height; y++) {
        const void *row = vt_image_row(in, y);
        void *to = vt_image_row(out, y);
        for (int64_t x = 0; x < in->width; x++) {
            const int64_t i = x * in->channels + c;
            vt_write(to, i, in->sample, (float)level[fine_level(row, i, in->sample)] / unit);
        }
    }
}

static vt_status equalize_fine(const vt_image *out, const vt_image *in, vt_error *error) {
    int64_t *level; /* the counts first, then the new levels */
    VT_TRY(vt_scratch((void **)&level, FINE_LEVELS * sizeof *level, error));
    vt_image_copy(out, in); /* channels with one level stay */
    for (int64_t c = 0; c < in->channels; c++) {
        count_fine_levels(level, in, c);
        if (equalize_fine_levels(level, in->height * in->width)) {
            write_fine_levels(out, in, c, level);
        }
    }
    return VT_OK;
}

static vt_status equalize(const vt_image *out, const vt_image *in, vt_numbers numbers,
                          vt_error *error) {
    (void)numbers;
    if (in->sample == VT_SAMPLE_U8)
        return by_tables(out, in, (survey){count_plane, equalized}, error);
    return equalize_fine(out, in, error);
}

const vt_image_op vt_image_op_equalize = {"equalize", "", NULL, equalize};

/* ---------------------------------------------------------------- autocontrast */

/* The darkest and the lightest level so far. */
static void find_ends(levels *channel, const uint8_t *plane, int64_t n) {
    uint8_t least = channel->least, most = channel->most;
    for (int64_t i = 0; i < n; i++) {
        least = plane[i] < least ? plane[i] : least;
        most = plane[i] > most ? plane[i] : most;
    }
    channel->least = least;
    channel->most = most;
}

/* Pillow's ImageOps.autocontrast: a linear map from low and high to 0 and 255, without fraction. */
static void stretched(levels *channel) {
    const int low = channel->least, high = channel->most;
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

/* The same for 16 bits and floating point, without a table: one pass finds the ends, the next one
 * maps each sample. */
static void stretch_channel(const vt_image *out, const vt_image *in, int64_t c) {
    float low = INFINITY, high = -INFINITY;
    const int64_t n = in->channels, samples = in->width * n;
    for (int64_t y = 0; y < in->height; y++) {
        const void *row = vt_image_row(in, y);
        for (int64_t i = c; i < samples; i += n) {
            const float value = vt_read(row, i, in->sample);
            low = value < low ? value : low;
            high = value > high ? value : high;
        }
    }
    /* A channel with one level keeps it. */
    const double white = vt_sample_white(in->sample);
    const double scale = high > low ? white / ((double)high - (double)low) : 1;
    const double offset = high > low ? -(double)low * scale : 0;
    for (int64_t y = 0; y < in->height; y++) {
        const void *row = vt_image_row(in, y);
        void *to = vt_image_row(out, y);
        for (int64_t i = c; i < samples; i += n) {
            const double value = (double)vt_read(row, i, in->sample);
            vt_write(to, i, in->sample, (float)(value * scale + offset));
        }
    }
}

static vt_status autocontrast(const vt_image *out, const vt_image *in, vt_numbers numbers,
                              vt_error *error) {
    (void)numbers;
    if (in->sample == VT_SAMPLE_U8)
        return by_tables(out, in, (survey){find_ends, stretched}, error);
    for (int64_t c = 0; c < in->channels; c++) stretch_channel(out, in, c);
    return VT_OK;
}

const vt_image_op vt_image_op_autocontrast = {"autocontrast", "", NULL, autocontrast};
