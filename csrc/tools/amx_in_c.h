/* The tile instructions of AMX in plain C, as linalg/panels_amx.inc uses them. Sums of bfloat16 go
 * as in Intel's Software Developer's Manual, TDPBF16PS: within an instruction the even products of
 * a row are summed up for themselves, and the odd ones, each step rounded once; then both, and the
 * register. Numbers below the least normal one count as zero. */
#ifndef VT_TOOLS_AMX_IN_C_H
#define VT_TOOLS_AMX_IN_C_H

#include <math.h>
#include <stdint.h>
#include <string.h>

enum { TILES = 8, TILE_ROWS = 16, TILE_BYTES = 64 };

static struct {
    int rows[TILES];
    char data[TILES][TILE_ROWS][TILE_BYTES];
} amx;

static void tile_configure(int upper, int lower) {
    const int rows[TILES] = {upper, upper, lower, lower, upper, lower, TILE_ROWS, TILE_ROWS};
    memset(&amx, 0, sizeof amx);
    memcpy(amx.rows, rows, sizeof rows);
}

static void tile_release(void) { memset(&amx, 0, sizeof amx); }

static void tile_zero(int t) { memset(amx.data[t], 0, sizeof amx.data[t]); }

/* Rows behind those of the register become zero. */
static void tile_load(int t, const void *address, int64_t stride) {
    tile_zero(t);
    for (int i = 0; i < amx.rows[t]; i++) {
        memcpy(amx.data[t][i], (const char *)address + i * stride, TILE_BYTES);
    }
}

static void tile_store(int t, void *address, int64_t stride) {
    for (int i = 0; i < amx.rows[t]; i++) {
        memcpy((char *)address + i * stride, amx.data[t][i], TILE_BYTES);
    }
}

static float flushed(float x) { return fabsf(x) < 0x1p-126f ? copysignf(0, x) : x; }

static float bf16_at(const char *row, int index) {
    uint16_t half;
    memcpy(&half, row + 2 * index, sizeof half);
    const uint32_t bits = (uint32_t)half << 16;
    float x;
    memcpy(&x, &bits, sizeof x);
    return flushed(x);
}

static void tile_bf16(int c, int a, int b) {
    for (int i = 0; i < amx.rows[c]; i++) {
        for (int j = 0; j < TILE_ROWS; j++) {
            float even = 0, odd = 0, sum;
            for (int k = 0; k < TILE_ROWS; k++) {
                const char *row = amx.data[b][k];
                even = flushed(fmaf(bf16_at(amx.data[a][i], 2 * k), bf16_at(row, 2 * j), even));
                odd =
                    flushed(fmaf(bf16_at(amx.data[a][i], 2 * k + 1), bf16_at(row, 2 * j + 1), odd));
            }
            memcpy(&sum, amx.data[c][i] + 4 * j, sizeof sum);
            sum = flushed(flushed(sum) + flushed(even + odd));
            memcpy(amx.data[c][i] + 4 * j, &sum, sizeof sum);
        }
    }
}

static void tile_int8(int c, int a, int b) {
    for (int i = 0; i < amx.rows[c]; i++) {
        for (int j = 0; j < TILE_ROWS; j++) {
            int32_t sum;
            memcpy(&sum, amx.data[c][i] + 4 * j, sizeof sum);
            for (int k = 0; k < TILE_BYTES; k++) {
                const int product =
                    (uint8_t)amx.data[a][i][k] * (int8_t)amx.data[b][k / 4][4 * j + k % 4];
                sum += product;
            }
            memcpy(amx.data[c][i] + 4 * j, &sum, sizeof sum);
        }
    }
}

#endif
