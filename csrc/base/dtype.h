/* Element types of values, parameters and kernels. */
#ifndef VT_BASE_DTYPE_H
#define VT_BASE_DTYPE_H

#include <stddef.h>

typedef enum vt_dtype { VT_F32, VT_F64, VT_DTYPE_COUNT } vt_dtype;

static inline size_t vt_dtype_size(vt_dtype dtype) {
    static const size_t size[VT_DTYPE_COUNT] = {4, 8};
    return size[dtype];
}

static inline const char *vt_dtype_name(vt_dtype dtype) {
    static const char *const name[VT_DTYPE_COUNT] = {"float32", "float64"};
    return name[dtype];
}

#endif
