#include "run/profile.h"

#include <string.h>
#include <time.h>

#include "base/memory.h"
#include "run/run.h"

int64_t vt_clock(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

/* One block: the profile, the counters of the phases, those of the threads. */
static vt_status open_profile(vt_run *run, vt_error *error) {
    const vt_plan *plan = run->plan;
    const int line = VT_ALIGN / (int)sizeof(vt_count);
    const int stride = (plan->step_count + line - 1) / line * line;
    const size_t head = vt_align(sizeof(vt_profile));
    const size_t phases = vt_align((size_t)plan->phase_count * sizeof(vt_count));
    const size_t steps = (size_t)stride * (size_t)run->threads * sizeof(vt_count);
    void *block;
    VT_TRY(vt_alloc(&block, head + phases + steps, error));
    char *start = block;
    run->profile = block;
    *run->profile = (vt_profile){.step_count = plan->step_count,
                                 .phase_count = plan->phase_count,
                                 .threads = run->threads,
                                 .stride = stride,
                                 .phases = (vt_count *)(void *)(start + head),
                                 .steps = (vt_count *)(void *)(start + head + phases)};
    return VT_OK;
}

vt_status vt_run_profile(vt_run *run, vt_error *error) {
    if (run->profile == NULL) return open_profile(run, error);
    vt_profile *p = run->profile;
    memset(p->phases, 0, (size_t)p->phase_count * sizeof *p->phases);
    memset(p->steps, 0, (size_t)p->stride * (size_t)p->threads * sizeof *p->steps);
    return VT_OK;
}

static vt_time time_of(vt_count count) {
    return (vt_time){count.times, 1e-9 * (double)count.nanoseconds};
}

vt_time vt_run_step_time(const vt_run *run, int step) {
    const vt_profile *p = run->profile;
    vt_count sum = {0, 0};
    for (int thread = 0; p != NULL && thread < p->threads; thread++) {
        sum.times += p->steps[thread * p->stride + step].times;
        sum.nanoseconds += p->steps[thread * p->stride + step].nanoseconds;
    }
    return time_of(sum);
}

vt_time vt_run_phase_time(const vt_run *run, int phase) {
    return run->profile == NULL ? (vt_time){0, 0} : time_of(run->profile->phases[phase]);
}
