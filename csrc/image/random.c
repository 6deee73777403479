#include "image/random.h"

#include <string.h>

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
