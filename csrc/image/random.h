/* Random numbers of the operations on images. */
#ifndef VT_IMAGE_RANDOM_H
#define VT_IMAGE_RANDOM_H

#include "image/kernels.h"

/* Standard normal numbers `first` to first + n - 1 of a stream. */
void vt_normals(float *out, const vt_stream *stream, uint64_t first, int64_t n);

#endif
