/* Resizing as Pillow does it: one pass along the rows (across) and one along the columns (down),
 * each rounded to samples. Taps (taps.h) say which pixels an output is made from: when an image
 * shrinks, the filter is stretched over all pixels that the output covers. */
#include <math.h>
#include <string.h>

#include "base/memory.h"
#include "base/scratch.h"
#include "image/geometry.h"
#include "image/kernels.h"
#include "image/operations.h"

enum { HEIGHT, WIDTH, FILTER, SMALL };

static vt_status form(vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    (void)in;
    const double filter = numbers.value[FILTER];
    if (!(filter >= 0 && filter < VT_FILTER_COUNT)) {
        return vt_fail(error, VT_VALUE, "filter is %g, expected 0 to %d", filter,
                       VT_FILTER_COUNT - 1);
    }
    VT_TRY(vt_side(&out->height, numbers.value[HEIGHT], "height", error));
    return vt_side(&out->width, numbers.value[WIDTH], "width", error);
}

/* ---------------------------------------------------------------- 8 bits */

/* What a pass needs besides the taps. */
typedef struct pass_work {
    void *plan;           /* the weights in the order in which the kernel loads them */
    const uint8_t **rows; /* (height): where `across` reads each row */
    uint8_t *copies;      /* of the last rows, each with VT_OVERRUN bytes behind it */
} pass_work;

/* How many rows at the end have at most VT_OVERRUN bytes of the image behind them: `across` may
 * read that far beyond a row, and must not read beyond the image. */
static int64_t near_end(const vt_image *in) {
    const int64_t rows = 1 + VT_OVERRUN / vt_image_row_bytes(in);
    return rows < in->height ? rows : in->height;
}

/* Room for the plan of either pass; they do not exist at the same time. */
static size_t plan_bytes(const vt_image *out, const vt_image *in, vt_filter filter) {
    const size_t across = vt_plan_bytes(out->width, vt_taps_step(in->width, out->width, filter));
    const size_t down = vt_plan_bytes(out->height, vt_taps_step(in->height, out->height, filter));
    return vt_align(across > down ? across : down);
}

static void across_8(const vt_image *out, const vt_image *in, const vt_taps *taps, pass_work w) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    const int64_t bytes = vt_image_row_bytes(in);
    for (int64_t y = 0; y < in->height; y++) w.rows[y] = vt_image_row(in, y);
    /* The last rows are read from copies that have bytes behind them. */
    for (int64_t y = in->height - near_end(in); y < in->height; y++) {
        w.rows[y] = memcpy(w.copies, w.rows[y], (size_t)bytes);
        w.copies += bytes + VT_OVERRUN;
    }
    kernels->plan_across(w.plan, in->channels, taps);
    kernels->across(out->data, out->stride, w.rows, in->height, in->channels, taps, w.plan);
}

static void down_8(const vt_image *out, const vt_image *in, const vt_taps *taps, pass_work w) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    kernels->plan_down(w.plan, taps);
    /* The taps of output y are samples of the same column in consecutive rows. */
    for (int64_t y = 0; y < out->height; y++) {
        kernels->down(vt_image_row(out, y), vt_image_row(in, taps->start[y]), in->stride,
                      vt_image_row_bytes(in), taps, y, w.plan);
    }
}

/* ---------------------------------------------------------------- 16 bits and floating point */

static inline double read_sample(const void *row, int64_t i, vt_sample sample) {
    return sample == VT_SAMPLE_U16 ? ((const uint16_t *)row)[i] : (double)((const float *)row)[i];
}

/* Integers are clamped and rounded, ties away from zero. */
static inline void write_sample(void *row, int64_t i, vt_sample sample, double value) {
    if (sample == VT_SAMPLE_F32) {
        ((float *)row)[i] = (float)value;
    } else {
        const double cut = value < 0 ? 0 : value > 65535 ? 65535 : value;
        ((uint16_t *)row)[i] = (uint16_t)(cut + 0.5);
    }
}

/* Sample i of a row belongs to pixel x and channel i % channels; its taps are `channels` samples
 * apart. Sums are in double, from the first tap to the last. */
static void across_wide(const vt_image *out, const vt_image *in, const vt_taps *taps) {
    const int64_t channels = in->channels;
    for (int64_t y = 0; y < in->height; y++) {
        const void *from = vt_image_row(in, y);
        void *to = vt_image_row(out, y);
        for (int64_t i = 0; i < taps->size * channels; i++) {
            const int64_t x = i / channels, first = taps->start[x] * channels + i % channels;
            const double *weight = taps->weight + x * taps->step;
            double sum = 0;
            for (int32_t k = 0; k < taps->count[x]; k++) {
                sum += read_sample(from, first + k * channels, in->sample) * weight[k];
            }
            write_sample(to, i, in->sample, sum);
        }
    }
}

/* The same along a column: the taps are in consecutive rows. */
static void down_wide(const vt_image *out, const vt_image *in, const vt_taps *taps) {
    for (int64_t y = 0; y < out->height; y++) {
        const double *weight = taps->weight + y * taps->step;
        for (int64_t i = 0; i < in->width * in->channels; i++) {
            double sum = 0;
            for (int32_t k = 0; k < taps->count[y]; k++) {
                sum += read_sample(vt_image_row(in, taps->start[y] + k), i, in->sample) * weight[k];
            }
            write_sample(vt_image_row(out, y), i, in->sample, sum);
        }
    }
}

/* ---------------------------------------------------------------- both passes */

/* What a call needs. */
typedef struct work {
    vt_taps *across, *down; /* NULL where the axis keeps its size and needs no pass */
    vt_image middle;        /* the result of the first of two passes */
    pass_work pass;
} work;

static void pass_across(const vt_image *out, const vt_image *in, const work *w) {
    if (in->sample == VT_SAMPLE_U8) {
        across_8(out, in, w->across, w->pass);
    } else {
        across_wide(out, in, w->across);
    }
}

static void pass_down(const vt_image *out, const vt_image *in, const work *w) {
    if (in->sample == VT_SAMPLE_U8) {
        down_8(out, in, w->down, w->pass);
    } else {
        down_wide(out, in, w->down);
    }
}

/* The first pass is limited to the rows that the second one reads, `first` to `last` - 1. They keep
 * their index in the image between the passes, so the taps need no change. */
static void across_then_down(const vt_image *out, const vt_image *in, work *w) {
    const vt_taps *down = w->down;
    const int64_t first = down->start[0];
    const int64_t last = down->start[down->size - 1] + down->count[down->size - 1];
    vt_image from = *in, to = w->middle;
    from.data = vt_image_row(in, first);
    to.data = vt_image_row(&w->middle, first);
    from.height = to.height = last - first;
    pass_across(&to, &from, w);
    pass_down(out, &w->middle, w);
}

/* The order of the passes changes the rounding. This is Pillow's choice from version 13 on: down
 * first if it removes more than twice as many rows as across removes columns. */
static bool is_down_first(const vt_image *out, const vt_image *in) {
    const int64_t rows = in->height - out->height, columns = in->width - out->width;
    return rows > 0 && rows > 2 * columns;
}

static void run_passes(const vt_image *out, const vt_image *in, work *w) {
    if (w->down == NULL) {
        pass_across(out, in, w);
    } else if (w->across == NULL) {
        pass_down(out, in, w);
    } else if (is_down_first(out, in)) {
        pass_down(&w->middle, in, w);
        pass_across(out, &w->middle, w);
    } else {
        across_then_down(out, in, w);
    }
}

static vt_status resample(const vt_image *out, const vt_image *in, vt_filter filter, bool small,
                          vt_error *error) {
    vt_taps across, down;
    work w = {.middle = *in};
    /* One block of scratch holds, in this order: the taps of both axes, the plan of a pass, the
     * pointers to rows, the copies of the last rows, the image between the passes. */
    const size_t taps_across = vt_taps_bytes(in->width, out->width, filter);
    const size_t taps_down = vt_taps_bytes(in->height, out->height, filter);
    const size_t plan = plan_bytes(out, in, filter);
    const size_t rows = vt_align((size_t)in->height * sizeof(void *));
    const size_t copies = (size_t)(near_end(in) * (vt_image_row_bytes(in) + VT_OVERRUN));
    /* Between the passes, one side has its new size already. */
    const bool down_first = is_down_first(out, in);
    w.middle.width = down_first ? in->width : out->width;
    w.middle.height = down_first ? out->height : in->height;
    w.middle.stride = (int64_t)vt_align((size_t)vt_image_row_bytes(&w.middle));
    const size_t middle_bytes = (size_t)(w.middle.height * w.middle.stride);
    char *memory;
    VT_TRY(vt_scratch((void **)&memory,
                      taps_across + taps_down + plan + rows + vt_align(copies) + middle_bytes,
                      error));
    w.pass.plan = memory + taps_across + taps_down;
    w.pass.rows = (const uint8_t **)(void *)((char *)w.pass.plan + plan);
    w.pass.copies = (uint8_t *)w.pass.rows + rows;
    w.middle.data = w.pass.copies + vt_align(copies);
    /* An axis that keeps its size has no taps, and so no pass. */
    if (out->width != in->width) {
        vt_taps_fill(&across, memory, in->width, out->width, filter, small);
        w.across = &across;
    }
    if (out->height != in->height) {
        vt_taps_fill(&down, memory + taps_across, in->height, out->height, filter, small);
        w.down = &down;
    }
    run_passes(out, in, &w);
    return VT_OK;
}

static vt_status run(const vt_image *out, const vt_image *in, vt_numbers numbers, vt_error *error) {
    const vt_filter filter = (vt_filter)(int)numbers.value[FILTER];
    if (out->width == in->width && out->height == in->height) {
        vt_image_copy(out, in);
        return VT_OK;
    }
    if (filter == VT_FILTER_NEAREST) { /* without weights and passes */
        const double scale[6] = {(double)in->width / (double)out->width,   0, 0, 0,
                                 (double)in->height / (double)out->height, 0};
        return vt_scale_nearest(out, in, scale, error);
    }
    return resample(out, in, filter, numbers.value[SMALL] != 0, error);
}

const vt_image_op vt_image_op_resize = {"resize", "height width filter small", form, run};
