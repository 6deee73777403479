#include "plan/cost.h"

#include <math.h>

static double ceil_div(int64_t x, int64_t y) { return (double)((x + y - 1) / y); }

/* What a strip takes whose product needs `operations`: its weights arrive while it computes, unless
 * they are in the cache from the strip before. */
static double strip(const int64_t *pace, const vt_lane_work *work, double operations) {
    const double computing = operations / (double)pace[work->precision];
    const bool kept = work->weights <= (double)pace[VT_PACE_CACHE] / 2;
    const double reading = kept ? 0 : work->weights / (double)pace[VT_PACE_MEMORY];
    return computing > reading ? computing : reading;
}

/* In rounds, of tiles or of units, as run/run.c chooses. */
double vt_cost_strips(const int64_t pace[VT_PACE_COUNT], const vt_lane_work *work) {
    const double tiles = ceil_div(work->images * work->tiles, work->threads) *
                         strip(pace, work, work->operations / (double)work->tiles);
    const double units = ceil_div(work->images * work->units, work->threads) *
                         strip(pace, work, work->operations / (double)work->units);
    return tiles < units ? tiles : units;
}

/* In waves of as many strips as there are threads. */
double vt_cost_columns(const int64_t pace[VT_PACE_COUNT], const vt_lane_work *work) {
    const double waves = ceil_div(work->images * work->tiles, work->threads);
    const double operations = work->operations * (double)work->images;
    const double computing = operations / (double)pace[work->precision] / work->threads;
    const double reading = waves * work->weights / (double)pace[VT_PACE_MEMORY] / work->threads;
    const double barrier = (double)pace[VT_PACE_BARRIER] / 1000 * log2((double)work->threads);
    const double barriers = waves * work->stretches * barrier;
    return (computing > reading ? computing : reading) + barriers;
}
