/* The machine as data: its caches, sizes of tiles, and how fast it is about. None of it changes a
 * bit of a result.
 *
 * The numbers are built in, or come from a file of lines `key = value`:
 *
 *     # Comments and empty lines are free.
 *     float32.rows = 64
 *     bfloat16.panel = 1
 *     memory = 10000
 *
 * A key is a precision and a size, or a pace, as in the tables below; what is left out stays as
 * built in. */
#ifndef VT_BASE_MACHINE_H
#define VT_BASE_MACHINE_H

#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

/* What most of a plan's products compute with. */
typedef enum vt_precision {
    VT_PRECISION_F32,
    VT_PRECISION_BF16,
    VT_PRECISION_INT8,
    VT_PRECISION_F64,
    VT_PRECISION_COUNT
} vt_precision;

/* Tiles are whole units (plan/tiling.h), so that no size changes a bit of a result. */
typedef enum vt_tile_size {
    VT_TILE_ROWS,  /* rows of a strip, at most; but a unit, which has up to 64, is the least */
    VT_TILE_PANEL, /* units of a panel of a weight's gradient, at most */
    VT_TILE_BLOCK, /* units of a block of attention's queries in inference, at most */
    VT_TILE_SIZE_COUNT
} vt_tile_size;

/* How fast a thread is, about: who decides between two ways with the same result asks
 * (plan/cost.h). */
typedef enum vt_pace {
    VT_PACE_F32,  /* operations of a product, a microsecond: */
    VT_PACE_BF16, /* float32.speed and so on, */
    VT_PACE_INT8, /* in the order of vt_precision */
    VT_PACE_F64,
    VT_PACE_MEMORY,  /* bytes a microsecond, of what is in no cache of its own */
    VT_PACE_BARRIER, /* nanoseconds until two threads have waited for one another */
    VT_PACE_CACHE,   /* bytes of its second-level cache */
    VT_PACE_COUNT
} vt_pace;

enum { VT_CACHE_COUNT = 3, VT_MOST_TILE_SIZE = 4096, VT_MOST_PACE = 1000000000 };

typedef struct vt_machine {
    int64_t cache[VT_CACHE_COUNT]; /* bytes of a core's L1 (data), L2, L3; 0 = unknown */
    int64_t tile[VT_PRECISION_COUNT][VT_TILE_SIZE_COUNT];
    int64_t pace[VT_PACE_COUNT];
    char source[256]; /* the file, or "built in" */
} vt_machine;

/* "float32", "bfloat16", "int8", "float64"; "rows", "panel", "block"; "float32.speed", "memory",
 * "barrier", "cache": the words of a file. */
const char *vt_precision_name(vt_precision precision);
const char *vt_tile_size_name(vt_tile_size size);
const char *vt_pace_name(vt_pace pace);

/* Ask the system, and read the file if there is one; NULL or "" means none. VT_OS if it cannot be
 * read; VT_VALUE names the line that is wrong. To be called once, before any plan is made. */
vt_status vt_machine_select(const char *file, vt_error *error);

/* Before the call above: unknown caches, and the sizes that are built in for these. */
const vt_machine *vt_machine_selected(void);

#endif
