/* Random numbers of the operations on images. */
#ifndef VT_IMAGE_RANDOM_H
#define VT_IMAGE_RANDOM_H

#include "image/image.h"
#include "image/kernels.h"

/* The key among the arguments of an operation: two whole numbers of 32 bits. VT_VALUE for others.
 */
vt_status vt_image_key(uint32_t key[2], const double *value, vt_error *error);

/* Standard normal numbers `first` to first + n - 1 of a stream. */
void vt_normals(float *out, const vt_stream *stream, uint64_t first, int64_t n);

#endif
