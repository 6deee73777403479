/* What the steps and phases of a run take, counted while it runs.
 *
 * A run without a profile has none of this but a branch per step. With one, each thread adds to its
 * own counters, so that nobody waits for anybody. Nothing else changes, and no bit of a result. */
#ifndef VT_RUN_PROFILE_H
#define VT_RUN_PROFILE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct vt_count {
    int64_t times, nanoseconds;
} vt_count;

typedef struct vt_profile {
    int step_count, phase_count, threads;
    int stride;       /* counters from thread to thread: no two of them share a cache line */
    vt_count *steps;  /* threads x stride: of the tasks of each step */
    vt_count *phases; /* from the start of a phase to the barrier behind it */
} vt_profile;

/* A clock that only goes forward, in nanoseconds. */
int64_t vt_clock(void);

static inline int64_t vt_profile_start(const vt_profile *profile) {
    return profile == NULL ? 0 : vt_clock();
}

static inline int64_t vt_count_add(vt_count *count, int64_t start) {
    const int64_t now = vt_clock();
    count->times++;
    count->nanoseconds += now - start;
    return now;
}

/* A task of a step that began at `start` is done; returns when, which may be the start of the next.
 */
static inline int64_t vt_profile_step(vt_profile *profile, int thread, int step, int64_t start) {
    if (profile == NULL) return 0;
    return vt_count_add(&profile->steps[thread * profile->stride + step], start);
}

static inline void vt_profile_phase(vt_profile *profile, int phase, int64_t start) {
    if (profile != NULL) (void)vt_count_add(&profile->phases[phase], start);
}

#endif
