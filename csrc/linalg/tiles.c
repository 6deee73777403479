#include "linalg/tiles.h"

/* The product for `rows` rows of a tile that has `tile` of them. */
static vt_status open_one(vt_matmul **matmul, vt_matmul_shape shape, vt_cut cut, int64_t tile,
                          int64_t rows, vt_error *error) {
    if (cut.along == VT_CUT_K) {
        shape.k = rows;
    } else {
        const bool dense = shape.a_transposed && shape.lda == cut.tile;
        if (dense) shape.lda = tile;
        shape.m = rows;
    }
    return vt_matmul_open(matmul, &shape, error);
}

/* For pieces of tiles->piece rows. */
static vt_status open_pieces(vt_tiles *tiles, vt_matmul_shape shape, vt_cut cut, vt_error *error) {
    const int64_t last = cut.rows - cut.tile * (vt_cut_count(cut) - 1);
    const int64_t piece = tiles->piece, rest = last % piece;
    VT_TRY(open_one(&tiles->usual, shape, cut, cut.tile, piece, error));
    if (last >= piece) VT_TRY(open_one(&tiles->whole, shape, cut, last, piece, error));
    return rest == 0 ? VT_OK : open_one(&tiles->rest, shape, cut, last, rest, error);
}

/* For single units, beside the tiles. */
static vt_status open_units(vt_tiles *tiles, vt_matmul_shape shape, vt_cut cut, vt_error *error) {
    const int64_t lowest = cut.rows % cut.unit;
    if (!cut.by_unit || cut.tile == cut.unit) return VT_OK;
    tiles->unit = cut.unit;
    VT_TRY(open_one(&tiles->low, shape, cut, cut.unit, cut.unit, error));
    return lowest == 0 ? VT_OK : open_one(&tiles->lowest, shape, cut, lowest, lowest, error);
}

static bool alike(const vt_matmul *matmul) {
    return matmul == NULL || vt_matmul_rows_alike(matmul);
}

static bool rows_alike(const vt_tiles *tiles) {
    return alike(tiles->usual) && alike(tiles->rest) && alike(tiles->low) && alike(tiles->lowest);
}

static size_t larger(size_t x, size_t y) { return x > y ? x : y; }

static vt_status check_packed(const vt_tiles *tiles, vt_error *error) {
    const vt_matmul *const others[] = {tiles->whole, tiles->rest, tiles->low, tiles->lowest};
    const size_t bytes = vt_matmul_packed_bytes(tiles->usual);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (others[i] == NULL || vt_matmul_packed_bytes(others[i]) == bytes) continue;
        return vt_fail(error, VT_INTERNAL,
                       "packed layouts of one matrix differ with the tile height");
    }
    return VT_OK;
}

vt_status vt_tiles_open(vt_tiles *tiles, vt_matmul_shape shape, vt_cut cut, vt_error *error) {
    tiles->tile = tiles->piece = cut.tile;
    VT_TRY(open_pieces(tiles, shape, cut, error));
    VT_TRY(open_units(tiles, shape, cut, error));
    if (cut.tile > cut.unit && !rows_alike(tiles)) {
        vt_tiles_close(tiles);
        tiles->tile = cut.tile;
        tiles->piece = cut.unit;
        VT_TRY(open_pieces(tiles, shape, cut, error));
        VT_TRY(open_units(tiles, shape, cut, error));
    }
    return check_packed(tiles, error);
}

void vt_tiles_close(vt_tiles *tiles) {
    vt_matmul_close(tiles->usual);
    vt_matmul_close(tiles->whole);
    vt_matmul_close(tiles->rest);
    vt_matmul_close(tiles->low);
    vt_matmul_close(tiles->lowest);
    *tiles = (vt_tiles){0};
}

size_t vt_tiles_scratch_bytes(const vt_tiles *tiles) {
    const vt_matmul *const others[] = {tiles->whole, tiles->rest, tiles->low, tiles->lowest};
    size_t bytes = vt_matmul_scratch_bytes(tiles->usual);
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        if (others[i] != NULL) bytes = larger(bytes, vt_matmul_scratch_bytes(others[i]));
    }
    return bytes;
}

size_t vt_tiles_packed_bytes(const vt_tiles *tiles) { return vt_matmul_packed_bytes(tiles->usual); }

vt_matmul *vt_tiles_share(const vt_tiles *tiles) { return vt_matmul_share(tiles->usual); }

const void *vt_tiles_packer(const vt_tiles *tiles) { return vt_matmul_packer(tiles->usual); }

const char *vt_tiles_implementation(const vt_tiles *tiles) {
    return vt_matmul_implementation(tiles->usual);
}

vt_status vt_tiles_pack(const vt_tiles *tiles, void *packed, const void *b, vt_error *error) {
    return vt_matmul_pack(tiles->usual, packed, b, error);
}

/* The product for a whole tile or unit of `rows` rows, if there is one. */
static const vt_matmul *product_of(const vt_tiles *tiles, int64_t rows) {
    if (rows <= tiles->unit) return rows == tiles->unit ? tiles->low : tiles->lowest;
    if (rows == tiles->tile) return tiles->piece == rows ? tiles->usual : NULL;
    return rows < tiles->piece ? tiles->rest : rows == tiles->piece ? tiles->whole : NULL;
}

/* A product by columns has rows that are alike, so a tile is one piece. */
int64_t vt_tiles_columns(const vt_tiles *tiles) {
    return tiles->piece == tiles->tile ? vt_matmul_columns(tiles->usual) : 0;
}

vt_status vt_tiles_run_columns(const vt_tiles *tiles, int64_t rows, int64_t first, int64_t count,
                               int64_t then, void *c, const void *a, const void *b,
                               const void *bias, void *scratch, vt_error *error) {
    return vt_matmul_run_columns(product_of(tiles, rows), first, count, then, c, a, b, bias,
                                 scratch, error);
}

vt_status vt_tiles_run(const vt_tiles *tiles, int64_t rows, void *c, const void *a, const void *b,
                       const void *bias, void *scratch, vt_error *error) {
    const vt_matmul *one = product_of(tiles, rows);
    if (one != NULL) return vt_matmul_run(one, c, a, b, bias, scratch, error);
    const int64_t piece = tiles->piece;
    const vt_matmul *full = rows == tiles->tile ? tiles->usual : tiles->whole;
    for (int64_t first = 0; first < rows; first += piece) {
        const vt_matmul *matmul = rows - first >= piece ? full : tiles->rest;
        VT_TRY(vt_matmul_run(matmul, vt_matmul_c_row(matmul, c, first),
                             vt_matmul_a_row(matmul, a, first), b, bias, scratch, error));
    }
    return VT_OK;
}
