/* Element types of values, parameters and kernels. */
#ifndef VT_BASE_DTYPE_H
#define VT_BASE_DTYPE_H

#include <stddef.h>

/* Values and arithmetic are of the first two (the real ones); VT_S8 is for quantised parameters. */
typedef enum vt_dtype { VT_F32, VT_F64, VT_S8, VT_DTYPE_COUNT, VT_REAL_COUNT = VT_S8 } vt_dtype;

static inline size_t vt_dtype_size(vt_dtype dtype) {
    static const size_t size[VT_DTYPE_COUNT] = {4, 8, 1};
    return size[dtype];
}

static inline const char *vt_dtype_name(vt_dtype dtype) {
    static const char *const name[VT_DTYPE_COUNT] = {"float32", "float64", "int8"};
    return name[dtype];
}

#endif
