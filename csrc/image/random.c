#include "image/random.h"

#include <math.h>
#include <string.h>

vt_status vt_image_key(uint32_t key[2], const double *value, vt_error *error) {
    for (int i = 0; i < 2; i++) {
        if (!(value[i] >= 0 && value[i] <= UINT32_MAX && value[i] == floor(value[i]))) {
            return vt_fail(error, VT_VALUE, "key is %.17g, expected a whole number of 32 bits",
                           value[i]);
        }
        key[i] = (uint32_t)value[i];
    }
    return VT_OK;
}

void vt_normals(float *out, const vt_stream *stream, uint64_t first, int64_t n) {
    const vt_image_kernels *kernels = vt_image_kernels_now();
    while (n > 0) {
        const int64_t skip = (int64_t)(first % VT_NORMALS);
        const int64_t some = n < VT_NORMALS - skip ? n : VT_NORMALS - skip;
        if (some == VT_NORMALS) {
            kernels->normals(out, stream, first / VT_NORMALS);
        } else {
            float group[VT_NORMALS];
            kernels->normals(group, stream, first / VT_NORMALS);
            memcpy(out, group + skip, (size_t)some * sizeof *out);
        }
        out += some;
        first += (uint64_t)some;
        n -= some;
    }
}
