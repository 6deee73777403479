/* Tests of linalg/tiles.h: a product over tiles has the same bits, whatever the height of the
 * tiles. VITC_ISA chooses the engine, as in the extension. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "linalg/tiles.h"
#include "tools/check.h"
#include "tools/take.h"

/* A product, and what it reads and writes; elements of all kinds fit into 8 bytes. */
typedef struct problem {
    vt_matmul_shape shape;
    int64_t rows, unit;
    char *a, *b, *bias;
} problem;

static char *array(int64_t elements) { return take((size_t)elements * sizeof(double)); }

static uint32_t draw(uint32_t *state) {
    *state = *state * 1664525u + 1013904223u;
    return *state >> 8;
}

/* Numbers of about 1, or any bytes. */
static void fill(char *to, int64_t elements, vt_dtype dtype, vt_operands operands, uint32_t seed) {
    for (int64_t i = 0; i < elements; i++) {
        const uint32_t word = draw(&seed);
        const double value = (double)word / 8388608.0 - 1.0;
        if (operands == VT_OPERANDS_INT8 || operands == VT_OPERANDS_SCALED) {
            ((uint8_t *)to)[i] = (uint8_t)word;
        } else if (operands == VT_OPERANDS_BF16) {
            ((uint16_t *)(void *)to)[i] = (uint16_t)(0x3F00 | (word & 0x80FF));
        } else if (dtype == VT_F32) {
            ((float *)(void *)to)[i] = (float)value;
        } else {
            ((double *)(void *)to)[i] = value;
        }
    }
}

static problem make(vt_matmul_shape shape, int64_t rows, int64_t unit) {
    problem p = {
        shape, rows, unit, array(rows * shape.k), array(shape.k * shape.n), array(2 * shape.n)};
    const bool packs_floats = shape.pack_b && shape.operands == VT_OPERANDS_BF16;
    fill(p.a, rows * shape.k, shape.dtype, shape.operands, 1);
    fill(p.b, shape.k * shape.n, shape.dtype, packs_floats ? VT_OPERANDS_REAL : shape.operands, 2);
    fill(p.bias, 2 * shape.n, shape.dtype, VT_OPERANDS_REAL, 3);
    return p;
}

static void drop(problem *p) {
    vt_free(p->a);
    vt_free(p->b);
    vt_free(p->bias);
}

/* The columns [first, first + count) of a (k, rows), dense: what a panel hands to its product. */
static void copy_columns(char *to, const problem *p, int64_t first, int64_t count, size_t element) {
    for (int64_t i = 0; i < p->shape.k; i++) {
        memcpy(to + (size_t)(i * count) * element, p->a + (size_t)(i * p->rows + first) * element,
               (size_t)count * element);
    }
}

/* c (rows, n), tile by tile, or with tiles made for `tile` rows and unit by unit. */
static void multiply(const problem *p, int64_t tile, bool by_unit, char *c) {
    static const size_t elements[VT_OPERANDS_COUNT] = {0, 2, 1, 1};
    const vt_dtype dtype = p->shape.dtype;
    const bool real = p->shape.operands == VT_OPERANDS_REAL;
    const size_t element = real ? vt_dtype_size(dtype) : elements[p->shape.operands];
    const bool dense = p->shape.a_transposed;
    vt_matmul_shape shape = p->shape;
    if (dense) shape.lda = tile;
    vt_tiles tiles = {0};
    vt_error error = {VT_OK, ""};
    vt_status status =
        vt_tiles_open(&tiles, shape, (vt_cut){VT_CUT_M, p->rows, p->unit, tile, by_unit}, &error);
    char *scratch = take(vt_tiles_scratch_bytes(&tiles));
    char *packed = take(vt_tiles_packed_bytes(&tiles));
    char *columns = array(p->rows * p->shape.k);
    const bool packs = status == VT_OK && vt_tiles_packed_bytes(&tiles) > 0;
    if (packs) status = vt_tiles_pack(&tiles, packed, p->b, &error);
    const int64_t step = by_unit ? p->unit : tile;
    for (int64_t first = 0; status == VT_OK && first < p->rows; first += step) {
        const int64_t left = p->rows - first, rows = left < step ? left : step;
        const char *a = p->a + (size_t)(first * p->shape.k) * element;
        if (dense) copy_columns(columns, p, first, rows, element);
        status = vt_tiles_run(&tiles, rows, c + (size_t)(first * p->shape.n) * vt_dtype_size(dtype),
                              dense ? columns : a, packs ? packed : p->b, p->bias, scratch, &error);
    }
    vt_check(status == VT_OK, "%s", error.message);
    vt_tiles_close(&tiles);
    vt_free(scratch);
    vt_free(packed);
    vt_free(columns);
}

static void test_heights(vt_matmul_shape shape, int64_t rows, int64_t unit) {
    problem p = make(shape, rows, unit);
    const size_t bytes = (size_t)(rows * shape.n) * vt_dtype_size(shape.dtype);
    char *usual = array(rows * shape.n), *other = array(rows * shape.n);
    multiply(&p, unit < rows ? unit : rows, false, usual);
    for (int64_t tile = 2 * unit; tile < rows + unit; tile += unit) {
        for (int by_unit = 0; by_unit < 2 && !(by_unit && shape.a_transposed); by_unit++) {
            memset(other, 0, bytes);
            multiply(&p, tile < rows ? tile : rows, by_unit, other);
            vt_check(memcmp(usual, other, bytes) == 0,
                     "%lld rows, n=%lld, k=%lld, operands %d: tiles of %lld rows%s differ from "
                     "units",
                     (long long)rows, (long long)shape.n, (long long)shape.k, (int)shape.operands,
                     (long long)tile, by_unit ? ", by unit," : "");
        }
    }
    vt_free(usual);
    vt_free(other);
    drop(&p);
}

/* Layers of odd and of common sizes; a transposed is a panel of the gradient of a weight. */
static void test_layers(vt_dtype dtype, vt_operands operands) {
    static const int64_t sizes[][2] = {{1, 1}, {7, 27}, {60, 160}, {192, 192}, {64, 768}};
    const bool small = operands == VT_OPERANDS_INT8 || operands == VT_OPERANDS_SCALED;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        const int64_t n = sizes[i][0], k = sizes[i][1];
        vt_matmul_shape shape = {.dtype = dtype,
                                 .operands = operands,
                                 .n = n,
                                 .k = k,
                                 .lda = k,
                                 .ldb = k,
                                 .ldc = n,
                                 .b_transposed = true,
                                 .bias = operands != VT_OPERANDS_INT8,
                                 .pack_b = true};
        test_heights(shape, 197, 50);
        test_heights(shape, 65, 33);
        test_heights(shape, 5, 1);
        if (small) continue;
        shape.a_transposed = true;
        shape.b_transposed = shape.bias = shape.pack_b = false;
        shape.ldb = n;
        test_heights(shape, 197, 48);
        test_heights(shape, 96, 48);
    }
}

static void run_all(void *context, vt_worker worker) {
    (void)context, (void)worker;
    test_layers(VT_F32, VT_OPERANDS_REAL);
    test_layers(VT_F64, VT_OPERANDS_REAL);
    test_layers(VT_F32, VT_OPERANDS_BF16);
    test_layers(VT_F32, VT_OPERANDS_INT8);
    test_layers(VT_F32, VT_OPERANDS_SCALED);
}

int main(void) {
    vt_error error;
    if (vt_isa_select(getenv("VITC_ISA"), &error) != VT_OK) {
        printf("%s\n", error.message);
        return 1;
    }
    vt_parallel_for(1, 1, run_all, NULL); /* products are run inside this loop */
    return vt_check_summary();
}
