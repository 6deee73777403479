#include "plan/tiling.h"

/* The units: these numbers decide bits. 64 rows of 3072 floats, a panel of 64 K elements and a
 * block of 80 K stay in a second-level cache of 1 MB. */
enum {
    VT_SUM_ROWS = 64,             /* of a strip, at most */
    VT_PANEL_ELEMENTS = 1 << 16,  /* of a panel of a weight's gradient, about */
    VT_PANEL_STEP = 16,           /* its rows are a multiple of this, */
    VT_PANEL_LEAST = 48,          /* at least this, */
    VT_PANEL_MOST = 192,          /* and at most this */
    VT_BLOCK_ELEMENTS = 80 << 10, /* of a block of probabilities, at most, */
    VT_BLOCK_LEAST = 16           /* unless its rows are fewer than this */
};

static int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }
static int64_t larger(int64_t x, int64_t y) { return x > y ? x : y; }

/* Equal pieces of at most `limit` rows; the last one may be lower. */
static int64_t equal_rows(int64_t rows, int64_t limit) {
    return vt_ceil_div(rows, vt_ceil_div(rows, limit));
}

/* Tiles of equally many units, at most `units` of them. */
static vt_cut cut_into(int64_t rows, int64_t unit, int64_t units) {
    const int64_t tile = unit * equal_rows(vt_ceil_div(rows, unit), larger(1, units));
    return (vt_cut){.rows = rows, .unit = unit, .tile = smaller(rows, tile)};
}

/* ---------------------------------------------------------------- what the machine wants */

static bool has_int8(const vt_program *program) {
    for (int n = 0; n < program->node_count; n++) {
        const vt_param_spec *params = program->nodes[n].op->params;
        for (int i = 0; params[i].name != NULL; i++) {
            if (params[i].int8) return true;
        }
    }
    return false;
}

static vt_precision precision_of(const vt_program *lowered, vt_arithmetic arithmetic) {
    if (arithmetic.dtype == VT_F64) return VT_PRECISION_F64;
    if (has_int8(lowered)) return VT_PRECISION_INT8;
    return arithmetic.bf16 ? VT_PRECISION_BF16 : VT_PRECISION_F32;
}

vt_tiling vt_tiling_make(const vt_program *lowered, vt_arithmetic arithmetic, int64_t tile_rows) {
    vt_tiling tiling = {.precision = precision_of(lowered, arithmetic)};
    for (int i = 0; i < VT_TILE_SIZE_COUNT; i++) {
        tiling.size[i] = vt_machine_selected()->tile[tiling.precision][i];
    }
    if (tile_rows > 0) tiling.size[VT_TILE_ROWS] = tile_rows;
    /* Backward sums up the gradients of keys and values over blocks, so these are units. */
    if (arithmetic.backward) tiling.size[VT_TILE_BLOCK] = 1;
    return tiling;
}

/* ---------------------------------------------------------------- cuts */

vt_cut vt_tiling_strips(const vt_tiling *tiling, int64_t rows) {
    const int64_t unit = equal_rows(rows, VT_SUM_ROWS);
    vt_cut cut = cut_into(rows, unit, tiling->size[VT_TILE_ROWS] / unit);
    cut.by_unit = true;
    return cut;
}

static vt_cut cut_panels(const vt_tiling *tiling, int64_t rows, int64_t cols) {
    const int64_t fitting = VT_PANEL_ELEMENTS / cols / VT_PANEL_STEP * VT_PANEL_STEP;
    const int64_t unit = smaller(VT_PANEL_MOST, larger(VT_PANEL_LEAST, fitting));
    return cut_into(rows, smaller(rows, unit), tiling->size[VT_TILE_PANEL]);
}

static vt_cut cut_blocks(const vt_tiling *tiling, int64_t rows, int64_t cols) {
    const int64_t unit = equal_rows(rows, larger(VT_BLOCK_LEAST, VT_BLOCK_ELEMENTS / cols));
    return cut_into(rows, unit, tiling->size[VT_TILE_BLOCK]);
}

void vt_tiling_fill(const vt_tiling *tiling, vt_products *products, const vt_signature *signature) {
    const vt_op *op = signature->node->op;
    products->strips = vt_tiling_strips(tiling, vt_shape_rows(&signature->node->shape));
    if (op->blocks == NULL) return;
    const vt_shape matrix = op->blocks(signature);
    products->blocks =
        (op->space == VT_PARTS ? cut_blocks : cut_panels)(tiling, matrix.dim[0], matrix.dim[1]);
}
