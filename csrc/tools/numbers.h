/* Numbers for test runners: drawn from a seed, and elements of arrays whose type is a value. */
#ifndef VT_TOOLS_NUMBERS_H
#define VT_TOOLS_NUMBERS_H

#include <stdint.h>

#include "base/dtype.h"

static uint64_t random_state = 1;

/* Uniform in [0, 1): splitmix64. */
static inline double uniform(void) {
    uint64_t z = random_state += 0x9E3779B97F4A7C15u;
    z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9u;
    z = (z ^ (z >> 27)) * 0x94D049BB133111EBu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* 'n': about normal; 'p': in (0, 1); 'l': a logarithm of a probability. Exact in float. */
static inline double draw(char kind) {
    double sum = -2;
    if (kind == 'p') return (double)(float)(uniform() + 1e-3);
    if (kind == 'l') return (double)(float)(-8 * uniform());
    for (int i = 0; i < 4; i++) sum += uniform();
    return (double)(float)(2 * sum);
}

static inline double get(const void *array, vt_dtype dtype, int64_t i) {
    return dtype == VT_F64 ? ((const double *)array)[i] : (double)((const float *)array)[i];
}

static inline void set(void *array, vt_dtype dtype, int64_t i, double value) {
    if (dtype == VT_F64) {
        ((double *)array)[i] = value;
    } else {
        ((float *)array)[i] = (float)value;
    }
}

#endif
