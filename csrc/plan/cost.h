/* Which way through a lane of strips is sooner done: each thread takes whole strips, and reads all
 * weights for each; or all threads share the strips by columns, with a barrier behind each stretch,
 * and read each weight once. A model of few numbers, without any plan, so that it can be asked
 * about machines that are not here. Its answer changes no bit. */
#ifndef VT_PLAN_COST_H
#define VT_PLAN_COST_H

#include <stdbool.h>
#include <stdint.h>

#include "base/machine.h"

typedef struct vt_lane_work {
    double operations; /* of the products, for all rows of an image */
    double weights;    /* bytes of the packed weights that it reads */
    int64_t images;
    int64_t tiles, units; /* strips of an image as tiles, or as units */
    int stretches;
    int threads;
    vt_precision precision;
} vt_lane_work;

/* Microseconds. */
double vt_cost_strips(const int64_t pace[VT_PACE_COUNT], const vt_lane_work *work);
double vt_cost_columns(const int64_t pace[VT_PACE_COUNT], const vt_lane_work *work);

#endif
