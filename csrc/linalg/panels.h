/* Products with a weight that is packed in panels, by kernels of our own. Internal to linalg/.
 *
 * A *panel* is VT_PANEL_COLUMNS columns of b. It is stored by steps along k; a step is what 64
 * bytes of a row of a hold: 16 floats, 32 bfloat16 or 64 bytes. A step of a panel is two squares,
 * each of 16 columns: 16 rows of 64 bytes, and a row has, for each column, the elements of b that
 * meet 4 bytes of a: one float, two bfloat16, four bytes. So one layout serves vectors and the tile
 * registers of AMX. Behind the end of k and of n there are zeros.
 *
 * A kernel computes all rows of c for one panel. So a weight is read once for all rows of a tile,
 * and a range of panels may be left to another thread (vt_matmul_run_columns). Each element is one
 * sum over k in rising order, whatever is computed beside it. */
#ifndef VT_LINALG_PANELS_H
#define VT_LINALG_PANELS_H

#include <stdbool.h>
#include <stdint.h>

#include "linalg/matmul.h"

enum {
    VT_STEP_BYTES = 64,                       /* of a row of a */
    VT_SQUARE_BYTES = 16 * VT_STEP_BYTES,     /* 16 columns of b in one step */
    VT_PANEL_STEP_BYTES = 2 * VT_SQUARE_BYTES /* VT_PANEL_COLUMNS of them */
};

/* What a kernel works on. All pointers but `a` are multiples of 64 bytes. */
typedef struct vt_panel_work {
    const char *a;     /* rows of `steps` steps */
    int64_t stride;    /* bytes from one row of a to the next */
    const char *tail;  /* of each row the last step, filled up with zeros; NULL: there is none */
    int64_t rows;      /* at least 1 */
    int64_t steps;     /* without the tail */
    const char *panel; /* packed */
    const char *next;  /* as large as the panel, to be brought into the cache meanwhile, or NULL */
    void *sums;        /* (rows, VT_PANEL_COLUMNS) of float or int32, dense: the result */
} vt_panel_work;

/* What comes into the second-level cache meanwhile: `each` lines with every step of every block of
 * rows. */
typedef struct vt_panel_ahead {
    const char *line, *end;
    int64_t each;
} vt_panel_ahead;

static inline int64_t vt_panel_steps(const vt_panel_work *w) {
    return w->steps + (w->tail != NULL);
}

static inline vt_panel_ahead vt_panel_look_ahead(const vt_panel_work *w, int64_t blocks) {
    enum { LINES = VT_PANEL_STEP_BYTES / VT_STEP_BYTES };
    if (w->next == NULL) return (vt_panel_ahead){NULL, NULL, 0};
    return (vt_panel_ahead){w->next, w->next + vt_panel_steps(w) * VT_PANEL_STEP_BYTES,
                            (LINES + blocks - 1) / blocks};
}

static inline void vt_panel_bring(vt_panel_ahead *ahead) {
    for (int64_t i = 0; i < ahead->each && ahead->line < ahead->end; i++) {
        __builtin_prefetch(ahead->line, 0, 2);
        ahead->line += VT_STEP_BYTES;
    }
}

/* What becomes of the sums of a panel. */
typedef struct vt_panel_result {
    const void *sums;
    int64_t rows, count; /* `count` of the columns are there */
    void *c;             /* at the first of them */
    int64_t ldc;
    const float *scale, *bias; /* at the first of them, or NULL */
} vt_panel_result;

typedef struct vt_panel_kernels {
    const char *name; /* as vt_matmul_implementation tells it */
    void (*multiply)(const vt_panel_work *work);
    /* c = sums + bias of float; c = scale * sums + bias of int32 where there is a scale, else the
     * integers. */
    void (*write)(const vt_panel_result *result);
} vt_panel_kernels;

/* What a packed b is made from. */
typedef enum vt_panel_kind {
    VT_PANEL_F32,
    VT_PANEL_F32_TO_BF16, /* rounds */
    VT_PANEL_BF16,
    VT_PANEL_INT8
} vt_panel_kind;

typedef struct vt_panel_source {
    vt_panel_kind kind;
    int group; /* elements of b that meet 4 bytes of a */
    const void *b;
    int64_t k, n;
    int64_t down, right; /* bytes to the next row, and to the next column */
    bool transposed;     /* a column is dense; else a row is */
} vt_panel_source;

/* The layout above, all of it. Only where there are kernels. */
void vt_panels_pack(void *packed, const vt_panel_source *source);

/* One each; `multiply` is NULL where the compiler does not know the instructions. */
extern const vt_panel_kernels vt_panels_f32_avx512, vt_panels_bf16_amx, vt_panels_int8_amx;

#endif
