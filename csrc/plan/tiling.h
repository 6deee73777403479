/* How large the tiles of a plan are: decided here, from the machine, the plan's precision and the
 * widths of its matrices, and handed to all others.
 *
 * Tiles follow the machine; bits must not. So all rows are cut into *units*, which depend on
 * nothing but the size of a matrix and are part of the format: what is summed up over rows (the
 * gradients of a norm, say) is summed within a unit, then unit after unit. A tile is a whole number
 * of units, and the machine says how many. */
#ifndef VT_PLAN_TILING_H
#define VT_PLAN_TILING_H

#include "base/machine.h"
#include "ops/op.h"
#include "program/program.h"

typedef struct vt_tiling {
    vt_precision precision;
    int64_t size[VT_TILE_SIZE_COUNT]; /* of the machine, or as a test wants them */
} vt_tiling;

/* tile_rows: instead of those of the machine; 0 = as the machine has them. */
vt_tiling vt_tiling_make(const vt_program *lowered, vt_arithmetic arithmetic, int64_t tile_rows);

/* How a value of n rows is cut into strips. */
vt_cut vt_tiling_strips(const vt_tiling *tiling, int64_t rows);

/* What an operation gets to know before it opens its products. */
void vt_tiling_fill(const vt_tiling *tiling, vt_products *products, const vt_signature *signature);

#endif
