#define _GNU_SOURCE
#include "base/parallel.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

static atomic_int forked;

static void note_fork(void) { atomic_store(&forked, 1); }

__attribute__((constructor)) static void watch_for_forks(void) {
    pthread_atfork(NULL, NULL, note_fork);
}

int vt_forked(void) { return atomic_load(&forked); }

/* Processors that `cpu.max` of cgroup 2 grants, or `limit` if it does not say. */
static int cgroup_limit(int limit) {
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (file == NULL) return limit;
    double quota = 0, period = 0;
    const int found = fscanf(file, "%lf %lf", &quota, &period); /* "max 100000" matches nothing */
    fclose(file);
    if (found != 2 || period <= 0) return limit;
    const int granted = (int)(quota / period + 0.5);
    return granted < 1 ? 1 : granted < limit ? granted : limit;
}

static int allowed_processors(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : (int)online;
}

int vt_default_threads(void) {
    const int limit = cgroup_limit(allowed_processors());
    const char *wish = getenv("OMP_NUM_THREADS");
    const int wished = wish == NULL ? 0 : atoi(wish);
    return wished >= 1 && wished < limit ? wished : limit;
}

static void run_serially(int64_t tasks, vt_body body, void *context) {
#ifdef _OPENMP
    const int saved = omp_get_max_threads();
    omp_set_num_threads(1);
#endif
    for (int64_t task = 0; task < tasks; task++) body(context, (vt_worker){task, 0});
#ifdef _OPENMP
    omp_set_num_threads(saved);
#endif
}

void vt_parallel_for(int64_t tasks, int threads, vt_body body, void *context) {
    if (threads > VT_MAX_THREADS) threads = VT_MAX_THREADS;
    if (threads > tasks) threads = (int)tasks;
    if (threads <= 1 || vt_forked()) {
        run_serially(tasks, body, context);
        return;
    }
#ifdef _OPENMP
    /* Tasks are handed out one by one: they differ in length, and so do the processors of a
     * shared machine. Inside an active region a library's own parallel loop is serial. */
    atomic_int_fast64_t next = 0;
#pragma omp parallel num_threads(threads)
    {
        const int thread = omp_get_thread_num();
        for (;;) {
            const int64_t task = atomic_fetch_add(&next, 1);
            if (task >= tasks) break;
            body(context, (vt_worker){task, thread});
        }
    }
#else
    run_serially(tasks, body, context);
#endif
}
