/* Tests of the cost model (plan/cost.h) on machines that are not here: 1 to 64 threads,
 * second-level caches of 256 KB to 4 MB, slow and fast memory. */
#include <stdio.h>

#include "plan/cost.h"
#include "tools/check.h"

static const int64_t speeds[] = {50000, 200000, 1000000}, memories[] = {3000, 10000, 40000};
static const int64_t caches[] = {256 << 10, 1 << 20, 2 << 20, 4 << 20};

/* A block of a model of this width: 12 width^2 weights of two bytes, 197 rows. */
static vt_lane_work block(int64_t width, int64_t images, int threads) {
    const double weights = 12.0 * (double)(width * width);
    return (vt_lane_work){.operations = 2 * 197 * weights,
                          .weights = 2 * weights,
                          .images = images,
                          .tiles = 1,
                          .units = 4,
                          .stretches = 7,
                          .threads = threads,
                          .precision = VT_PRECISION_BF16};
}

static bool columns_pay(const int64_t *pace, vt_lane_work work) {
    return vt_cost_columns(pace, &work) < vt_cost_strips(pace, &work);
}

static void check_machine(const int64_t pace[VT_PACE_COUNT]) {
    for (int64_t width = 192; width <= 1024; width *= 2) {
        double before = 0;
        for (int threads = 2; threads <= 64; threads *= 2) {
            vt_lane_work one = block(width, 1, threads), many = block(width, 4096, threads);
            const double strips = vt_cost_strips(pace, &one), columns = vt_cost_columns(pace, &one);
            vt_check(strips > 0 && columns > 0, "costs are positive");
            /* Four units are all that strips can share; columns go on, but for the barriers. */
            if (threads > 4) vt_check(strips == before, "strips are no faster on %d", threads);
            before = strips;
            const double alone = one.operations / (double)pace[VT_PACE_BF16];
            vt_check(columns * threads >= alone, "no faster than all threads are");
            /* With strips enough for all, barriers and idle threads are for nothing if weights stay
             * in the cache. */
            if (one.weights <= (double)pace[VT_PACE_CACHE] / 2) {
                vt_check(!columns_pay(pace, many), "width %d on %d threads", (int)width, threads);
            }
            vt_lane_work far = one;
            far.weights *= 2;
            vt_check(vt_cost_strips(pace, &far) >= strips, "more weights are not faster");
            vt_check(vt_cost_columns(pace, &far) >= columns, "more weights are not faster");
        }
    }
}

static void test_machines(void) {
    for (int s = 0; s < 3; s++) {
        for (int m = 0; m < 3; m++) {
            for (int c = 0; c < 4; c++) {
                const int64_t pace[VT_PACE_COUNT] = {[VT_PACE_BF16] = speeds[s],
                                                     [VT_PACE_MEMORY] = memories[m],
                                                     [VT_PACE_BARRIER] = 4000,
                                                     [VT_PACE_CACHE] = caches[c]};
                check_machine(pace);
            }
        }
    }
}

/* One image of a wide model goes by columns as soon as its weights do not fit; a tiny one on two
 * threads, whose weights do, does not where a barrier is slow. */
static void test_known(void) {
    int64_t pace[VT_PACE_COUNT] = {[VT_PACE_BF16] = 800000,
                                   [VT_PACE_MEMORY] = 8000,
                                   [VT_PACE_BARRIER] = 4000,
                                   [VT_PACE_CACHE] = 2 << 20};
    for (int threads = 2; threads <= 64; threads *= 2) {
        VT_CHECK(columns_pay(pace, block(768, 1, threads)));
        VT_CHECK(columns_pay(pace, block(1024, 1, threads)));
    }
    VT_CHECK(!columns_pay(pace, block(192, 1, 16)));
    pace[VT_PACE_BARRIER] = 100000;
    VT_CHECK(!columns_pay(pace, block(192, 1, 2)));
}

int main(void) {
    test_machines();
    test_known();
    return vt_check_summary();
}
