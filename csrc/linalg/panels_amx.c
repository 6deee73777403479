/* The kernels of panels_amx.inc on the processor. A compiler that does not know the instructions
 * leaves them out. */
#include "linalg/panels.h"

#include "linalg/panels_write.inc"

#if defined(__x86_64__) && (defined(__clang__) ? __clang_major__ >= 12 : __GNUC__ >= 12)

#include <immintrin.h>
#include <stdbool.h>
#include <stddef.h>

#if defined(__clang__)
#pragma clang attribute push(__attribute__((target("amx-tile,amx-bf16,amx-int8"))), \
                             apply_to = function)
#else
#pragma GCC push_options
#pragma GCC target("amx-tile,amx-bf16,amx-int8")
#endif

/* What the instruction reads: palette 1, then bytes of a row and rows of each register. */
typedef struct tiles {
    uint8_t palette, start_row, reserved[14];
    uint16_t bytes[16];
    uint8_t rows[16];
} tiles;

/* Through assembly, because an intrinsic tells the compiler that eight of the 64 bytes are read. */
static inline void tile_configure(int upper, int lower) {
    enum { WHOLE = 16 };
    const uint8_t high = (uint8_t)upper, low = (uint8_t)lower;
    const tiles config = {.palette = 1,
                          .bytes = {64, 64, 64, 64, 64, 64, 64, 64},
                          .rows = {high, high, low, low, high, low, WHOLE, WHOLE}};
    __asm__ volatile("ldtilecfg %0" : : "m"(config));
}

#define tile_release() _tile_release()
#define tile_zero(t) _tile_zero(t)
#define tile_load(t, address, stride) _tile_loadd(t, address, stride)
#define tile_store(t, address, stride) _tile_stored(t, address, stride)
#define tile_bf16(c, a, b) _tile_dpbf16ps(c, a, b)
#define tile_int8(c, a, b) _tile_dpbusd(c, a, b)

#include "linalg/panels_amx.inc"

#if defined(__clang__)
#pragma clang attribute pop
#else
#pragma GCC pop_options
#endif

const vt_panel_kernels vt_panels_bf16_amx = {"panels:amx_bf16", multiply_bf16, write_float};
const vt_panel_kernels vt_panels_int8_amx = {"panels:amx_int8", multiply_int8, write_int};

#else

const vt_panel_kernels vt_panels_bf16_amx = {0};
const vt_panel_kernels vt_panels_int8_amx = {0};

#endif
