/* What multiplies: a table of engines, and what a matmul handle is made of. Internal to linalg/. */
#ifndef VT_LINALG_ENGINE_H
#define VT_LINALG_ENGINE_H

#include <string.h>

#include "linalg/matmul.h"

typedef struct vt_engine {
    bool plain; /* C for any processor, the oracle of the others */
    /* Whether it is made for the shape, under the selected instruction set. */
    bool (*takes)(const vt_matmul_shape *shape);
    /* Fill the fields below `engine`; *opened = false leaves the product to the next engine. Calls
     * never overlap (the cache's lock). */
    vt_status (*open)(vt_matmul *matmul, bool *opened, vt_error *error);
    /* As vt_matmul_run and vt_matmul_pack. `pack` may be NULL if packed_bytes stays 0. */
    vt_status (*run)(const vt_matmul *matmul, void *c, const void *a, const void *b,
                     const void *bias, void *scratch, vt_error *error);
    /* As vt_matmul_run_columns; NULL if all columns come at once. */
    vt_status (*run_columns)(const vt_matmul *matmul, int64_t first, int64_t count, int64_t then,
                             void *c, const void *a, const void *b, const void *bias, void *scratch,
                             vt_error *error);
    vt_status (*pack)(const vt_matmul *matmul, void *packed, const void *b, vt_error *error);
    /* As vt_matmul_unpack; NULL if nothing does. Calls never overlap. */
    vt_status (*unpack)(const vt_matmul *matmul, void *b, const void *packed, vt_error *error);
    void (*close)(vt_matmul *matmul); /* NULL if there is nothing to give back */
} vt_engine;

struct vt_matmul {
    vt_matmul_shape shape;
    vt_matmul *next; /* in the cache, last opened first */
    int64_t users;   /* 0: closed, kept for the next one who asks */
    const vt_engine *engine;
    const char *implementation; /* "plain" until the engine says more */
    bool rows_unlike;           /* a row's bits depend on m */
    size_t scratch_bytes;
    size_t packed_bytes;
    struct vt_onednn *onednn;
};

/* oneDNN, onednn.c. Takes nothing in a build without oneDNN. Declines what it has no kernel for, or
 * only its reference one. */
extern const vt_engine vt_engine_onednn;
const char *vt_onednn_version(void);

/* Kernels of our own over packed weights, panels.c. Takes what the selected instruction set has a
 * kernel for. */
extern const vt_engine vt_engine_panels;

/* uint8 times int8 on 16-bit products, int8_avx2.c, for processors without VNNI: their 8-bit
 * instruction saturates. Takes nothing in a build for other processors. */
extern const vt_engine vt_engine_int8_avx2;

/* Plain C for uint8 times int8 and for bfloat16, small.c. */
extern const vt_engine vt_engine_int8, vt_engine_bf16;

/* Plain C, plain.inc. Scratch: a slice of k rows of 64 bytes. Each element of c is one sum over k
 * in rising order, whatever m is. */
extern const vt_engine vt_engine_f32, vt_engine_f64;

/* The number that bfloat16 bits stand for. */
static inline float vt_widen(uint16_t x) {
    const uint32_t bits = (uint32_t)x << 16;
    float wide;
    memcpy(&wide, &bits, sizeof wide);
    return wide;
}

/* VT_VALUE for sizes < 1 and what else a shape may not have; shape.c. */
vt_status vt_matmul_check(const vt_matmul_shape *shape, vt_error *error);
bool vt_matmul_same(const vt_matmul_shape *x, const vt_matmul_shape *y);

/* The shape in words: "float32 a (50, 768) times b (768, 64), b stored transposed". */
enum { VT_SHAPE_TEXT = 256 };
const char *vt_matmul_text(char text[VT_SHAPE_TEXT], const vt_matmul_shape *shape);

#endif
