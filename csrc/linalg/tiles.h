/* One matrix product, computed tile by tile.
 *
 * The rows of a matrix are cut into units, which the format of vitc fixes, and a tile is some
 * units: as many as suit the machine. Bits must not follow the machine. A product whose rows have
 * the same bits whatever its height is runs on whole tiles; any other one runs unit by unit. As
 * code is generated for one size, there are several products: for usual tiles and for the last,
 * lower one; and for units, where a caller may cut a tile into these. */
#ifndef VT_LINALG_TILES_H
#define VT_LINALG_TILES_H

#include "linalg/matmul.h"

/* Which dimension of the product runs along the rows that are cut. */
typedef enum vt_cut_along {
    VT_CUT_M, /* a tile gives rows of c */
    VT_CUT_K  /* a tile is one term of c, which sums up all tiles; it is one unit */
} vt_cut_along;

typedef struct vt_cut {
    vt_cut_along along;
    int64_t rows; /* in all */
    int64_t unit; /* rows of a unit, at most `rows` */
    int64_t tile; /* of a usual tile: some units, at most `rows` */
    bool by_unit; /* a tile may also be one unit, where there are too few tiles for all threads */
} vt_cut;

/* All zero: not open. */
typedef struct vt_tiles {
    int64_t tile;            /* rows of a usual tile */
    int64_t piece;           /* rows that one product takes: a tile or a unit */
    vt_matmul *usual;        /* of a piece in a usual tile */
    vt_matmul *whole, *rest; /* of a piece in the last tile, and of what is left there */
    int64_t unit;            /* 0 unless `by_unit`, and a tile is more than one */
    vt_matmul *low, *lowest; /* of a unit, and of the last one if it is lower */
} vt_tiles;

static inline int64_t vt_cut_count(vt_cut cut) { return (cut.rows + cut.tile - 1) / cut.tile; }

/* `shape` without the size that is cut. If its lda is cut.tile and a is stored transposed, then the
 * columns of a tile are dense, in the last tile too. After an error, close what was opened. */
vt_status vt_tiles_open(vt_tiles *tiles, vt_matmul_shape shape, vt_cut cut, vt_error *error);
void vt_tiles_close(vt_tiles *tiles);

/* As for a vt_matmul; all tiles share a packed b. */
size_t vt_tiles_scratch_bytes(const vt_tiles *tiles);
size_t vt_tiles_packed_bytes(const vt_tiles *tiles);
const void *vt_tiles_packer(const vt_tiles *tiles);
vt_matmul *vt_tiles_share(const vt_tiles *tiles); /* one that packs as all do */
vt_status vt_tiles_pack(const vt_tiles *tiles, void *packed, const void *b, vt_error *error);

/* The engine of usual tiles, as vt_matmul_implementation tells it. */
const char *vt_tiles_implementation(const vt_tiles *tiles);

/* The product for a tile of `rows` rows, the height of a usual or of the last one; or of a unit, if
 * the cut is `by_unit`. */
vt_status vt_tiles_run(const vt_tiles *tiles, int64_t rows, void *c, const void *a, const void *b,
                       const void *bias, void *scratch, vt_error *error);

/* As for a vt_matmul: 0, or the columns that may be computed for themselves. */
int64_t vt_tiles_columns(const vt_tiles *tiles);
vt_status vt_tiles_run_columns(const vt_tiles *tiles, int64_t rows, int64_t first, int64_t count,
                               int64_t then, void *c, const void *a, const void *b,
                               const void *bias, void *scratch, vt_error *error);

#endif
