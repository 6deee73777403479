/* What the plain C kernels (the .inc files without simd_ in their name) stand on. The including
 * source defines `real`, the element type, first. Functions of <tgmath.h> take the type of their
 * argument; sums over a row are kept in double for both types. */
#ifndef VT_KERNELS_REAL_H
#define VT_KERNELS_REAL_H

#include <string.h>
#include <tgmath.h>

#include "kernels/kernels.h"

/* Elements of a loop do not touch each other, though an output may be the same array as an input.
 */
#define VT_INDEPENDENT _Pragma("GCC ivdep")

/* What a gradient is added to: base[i], or nothing. */
static inline real base_at(const real *base, int64_t i) { return base == NULL ? 0 : base[i]; }

#endif
