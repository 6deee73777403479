/* What the plain C kernels (the .inc files without simd_ in their name) have in common. The
 * including source defines `real`, the element type, first. Functions of <tgmath.h> take the type
 * of their argument; sums over a row are kept in double for both types. */
#ifndef VT_KERNELS_REAL_H
#define VT_KERNELS_REAL_H

#include <string.h>
#include <tgmath.h>

#include "kernels/kernels.h"

/* Elements of a loop do not touch each other, though an output may be the same array as an input.
 */
#define VT_INDEPENDENT _Pragma("GCC ivdep")

/* swish takes x^2 for no more than this, where the sigmoid has long been 0 or 1: farther out it
 * overflows, and 0 times infinity is NaN. */
#define SWISH_SQUARE 1e24f

/* x, but at least -limit and at most limit; NaN stays. */
static inline real within(real x, real limit) {
    return x > limit ? limit : x < -limit ? -limit : x;
}

/* g + decay * p, without p if there is no decay: 0 times an infinite weight is NaN. */
static inline real decayed(real g, real decay, real p) { return decay == 0 ? g : g + decay * p; }

/* coefficient * term; 0 if the coefficient is 0, even if the term is infinite or NaN. */
static inline double share_of(double coefficient, double term) {
    return coefficient == 0 ? 0 : coefficient * term;
}

/* What a gradient is added to: base[i], or nothing. */
static inline real base_at(const real *base, int64_t i) { return base == NULL ? 0 : base[i]; }

#endif
