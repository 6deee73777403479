/* The biases of biased_attention for one head of one image: see attention.c. */
#ifndef VT_OPS_DISTANCES_H
#define VT_OPS_DISTANCES_H

#include "ops/op.h"

typedef struct vt_distances {
    const vt_kernels *kernels;
    size_t element;
    int64_t tokens, rows, heads; /* rows of the table, and its columns */
    int64_t height, width;       /* of the grid, which is behind all other tokens */
    double scale;                /* of the scores */
    void *bias, *dbias;          /* (rows): of this head, the rows of the grid in reverse */
} vt_distances;

/* bias = the column `head` of the table (rows, heads) */
void vt_distances_gather(const vt_distances *d, const void *table, int64_t head);

/* p (tokens) = scale p + the biases of this query */
void vt_distances_add(const vt_distances *d, int64_t query, void *p);

/* dbias += the gradients of the biases of this query; ds (tokens) is scale times these. */
void vt_distances_backward(const vt_distances *d, int64_t query, const void *ds);

/* The column `head` of dtable = base + dbias; base: NULL, or a table. */
void vt_distances_scatter(const vt_distances *d, void *dtable, const void *base, int64_t head);

#endif
