/* Functions of whole matrices, outside of programs: one kernel each, on the calling thread. */
#include "ops/op.h"

void vt_softmax(vt_dtype dtype, void *y, const void *x, int64_t rows, int64_t cols) {
    const vt_kernels *kernels = vt_kernels_get(dtype);
    kernels->scale_add(y, NULL, x, 1.0, rows * cols);
    kernels->softmax_forward(y, 1.0, rows, cols, cols);
}

void vt_log_softmax(vt_dtype dtype, void *y, const void *x, int64_t rows, int64_t cols) {
    vt_kernels_get(dtype)->log_softmax_forward(y, x, rows, cols);
}

void vt_log_softmax_backward(vt_dtype dtype, void *dx, const void *dy, const void *y, int64_t rows,
                             int64_t cols) {
    vt_kernels_get(dtype)->log_softmax_backward(dx, NULL, dy, y, rows, cols);
}

int64_t vt_count_nonfinite(vt_dtype dtype, const void *x, int64_t n) {
    return vt_kernels_get(dtype)->count_nonfinite(x, n);
}

void vt_random_words(uint32_t *words, int64_t n, vt_rng_key key, uint64_t image, const char *site) {
    uint32_t block[4];
    for (int64_t i = 0; i < n; i++) {
        if (i % 4 == 0) vt_rng_draw(block, key, image, vt_rng_site(site), (uint32_t)(i / 4));
        words[i] = block[i % 4];
    }
}
