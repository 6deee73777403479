/* Which pixels of one axis an output is made from, and with which weights. */
#ifndef VT_IMAGE_TAPS_H
#define VT_IMAGE_TAPS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* In the order of vitc.data.functional.InterpolationMode. */
typedef enum vt_filter {
    VT_FILTER_NEAREST,
    VT_FILTER_BILINEAR,
    VT_FILTER_BICUBIC,
    VT_FILTER_BOX,
    VT_FILTER_HAMMING,
    VT_FILTER_LANCZOS,
    VT_FILTER_COUNT
} vt_filter;

typedef struct vt_taps {
    int64_t size;   /* outputs */
    int64_t step;   /* room for the weights of one output; a multiple of 4 */
    int bits;       /* of the fraction of a fixed weight: 22 at most */
    int32_t *start; /* (size): the first input of an output */
    int32_t *count; /* (size): how many inputs it has */
    double *weight; /* (size, step): `count` of them sum to 1 */
    int32_t *fixed; /* (size, step): weight * 2^bits, rounded; 0 behind count */
} vt_taps;

/* The step that taps will have, and the memory that vt_taps_fill needs. */
int64_t vt_taps_step(int64_t in_size, int64_t out_size, vt_filter filter);
size_t vt_taps_bytes(int64_t in_size, int64_t out_size, vt_filter filter);

/* Pillow's weights for resizing in_size pixels to out_size. small: weights of 16 bits, as in torch,
 * instead of 22 fractional bits. The arrays are put into `memory`. */
void vt_taps_fill(vt_taps *taps, void *memory, int64_t in_size, int64_t out_size, vt_filter filter,
                  bool small);

#endif
