/* What a matmul handle is made of. Internal to linalg/. */
#ifndef VT_LINALG_PRODUCT_H
#define VT_LINALG_PRODUCT_H

#include "linalg/matmul.h"

/* The arguments of vt_matmul_run. */
typedef vt_status (*vt_product_run)(const vt_matmul *matmul, void *c, const void *a, const void *b,
                                    const void *bias, void *scratch, vt_error *error);

struct vt_matmul {
    vt_matmul_shape shape;
    vt_matmul *next; /* in the cache, last opened first */
    int64_t users;   /* 0: closed, kept for the next one who asks */
    /* A product starts as plain C; then oneDNN takes it over if it can. */
    const char *implementation;
    bool rows_unlike; /* a row's bits depend on m */
    size_t scratch_bytes;
    size_t packed_bytes;
    vt_product_run run;
    vt_status (*pack)(const vt_matmul *matmul, void *packed, const void *b, vt_error *error);
    void (*close)(vt_matmul *matmul); /* NULL if there is nothing to give back */
    struct vt_onednn *onednn;
};

/* The shape in words: "float32 a (50, 768) times b (768, 64), b stored transposed". */
enum { VT_SHAPE_TEXT = 256 };
const char *vt_matmul_text(char text[VT_SHAPE_TEXT], const vt_matmul_shape *shape);

/* oneDNN, onednn.c. Changes nothing where oneDNN has no kernel, or only its reference one, and in
 * a build without oneDNN. Calls never overlap (the cache's lock). */
vt_status vt_onednn_open(vt_matmul *matmul, vt_error *error);
const char *vt_onednn_version(void);

/* Whether oneDNN multiplies these operands exactly and fast under the selected instruction set. */
bool vt_onednn_multiplies(vt_operands operands);

/* Plain C for uint8 times int8 and for bfloat16, small.c: packed_bytes and pack as they need them.
 */
void vt_small_open(vt_matmul *matmul);

/* uint8 times int8 on 16-bit products, int8_avx2.c, for processors without VNNI: their 8-bit
 * instruction saturates. Changes nothing in a build for other processors. */
void vt_int8_avx2_open(vt_matmul *matmul);

/* Plain C, plain.inc. Scratch: a panel of k rows of 64 bytes. Each element of c is one sum over k
 * in rising order, whatever m is. */
enum { VT_PLAIN_PANEL = 64 };
vt_status vt_plain_run_f32(const vt_matmul *matmul, void *c, const void *a, const void *b,
                           const void *bias, void *scratch, vt_error *error);
vt_status vt_plain_run_f64(const vt_matmul *matmul, void *c, const void *a, const void *b,
                           const void *bias, void *scratch, vt_error *error);

#endif
