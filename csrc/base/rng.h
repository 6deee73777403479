/* Counter-based random numbers: every draw is a pure function of a key and a counter, so there is
 * no state to save and nothing depends on the order of evaluation.
 * Philox4x32-10: Salmon et al., "Parallel random numbers: as easy as 1, 2, 3" (SC 2011). */
#ifndef VT_BASE_RNG_H
#define VT_BASE_RNG_H

#include <stdint.h>

/* The position of a draw in a training run. */
typedef struct vt_rng_key {
    uint64_t seed;
    uint64_t step;    /* optimizer step */
    uint32_t forward; /* ordinal of this forward pass within the step */
} vt_rng_key;

/* Ten rounds over the four words of a counter, which become four independent uniform ones. */
static inline void vt_philox(uint32_t word[4], uint32_t k0, uint32_t k1) {
    uint32_t c0 = word[0], c1 = word[1], c2 = word[2], c3 = word[3];
#pragma GCC unroll 10 /* so that a loop around this one can be made vectors */
    for (int round = 0; round < 10; round++) {
        const uint64_t p0 = 0xD2511F53u * (uint64_t)c0;
        const uint64_t p1 = 0xCD9E8D57u * (uint64_t)c2;
        const uint32_t n0 = (uint32_t)(p1 >> 32) ^ c1 ^ k0;
        const uint32_t n2 = (uint32_t)(p0 >> 32) ^ c3 ^ k1;
        c1 = (uint32_t)p1;
        c3 = (uint32_t)p0;
        c0 = n0;
        c2 = n2;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    word[0] = c0;
    word[1] = c1;
    word[2] = c2;
    word[3] = c3;
}

/* Four independent uniform 32-bit words for (key, image of the global batch, site, block). */
static inline void vt_rng_draw(uint32_t out[4], vt_rng_key key, uint64_t image, uint32_t site,
                               uint32_t block) {
    /* The seed, step and ordinal make the Philox key (mixed by splitmix64); image, site and block
     * are the counter. */
    uint64_t mixed = key.seed * 0x9E3779B97F4A7C15u + key.step;
    mixed = (mixed ^ (mixed >> 30)) * 0xBF58476D1CE4E5B9u + key.forward;
    mixed = (mixed ^ (mixed >> 27)) * 0x94D049BB133111EBu;
    mixed ^= mixed >> 31;
    out[0] = block;
    out[1] = site;
    out[2] = (uint32_t)image;
    out[3] = (uint32_t)(image >> 32);
    vt_philox(out, (uint32_t)mixed, (uint32_t)(mixed >> 32));
}

/* The name of a drawing site ("blocks.3.drop_path1") as a number: FNV-1a, 32 bits. */
static inline uint32_t vt_rng_site(const char *name) {
    uint32_t hash = 2166136261u;
    for (; *name != '\0'; name++) hash = (hash ^ (uint8_t)*name) * 16777619u;
    return hash;
}

/* True with probability `keep`; word is one of a draw. The comparison is exact for keep = 0, 1. */
static inline int vt_rng_keep(uint32_t word, double keep) {
    return (double)word < keep * 4294967296.0;
}

#endif
