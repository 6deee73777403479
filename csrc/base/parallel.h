/* The one parallel loop of the core, and the only place with OpenMP in it.
 *
 * The body is called once for each task in [0, tasks), in any order, by `threads` workers; so a
 * result may not depend on which worker ran a task. Library code called by a body (oneDNN) sees a
 * thread limit of one.
 *
 * libgomp cannot be used in a child forked after a parallel region: there the loop runs on one
 * thread (vt_forked tells). */
#ifndef VT_BASE_PARALLEL_H
#define VT_BASE_PARALLEL_H

#include <stdint.h>

typedef struct vt_worker {
    int64_t task;
    int thread; /* in [0, threads): index of this worker's scratch */
} vt_worker;

typedef void (*vt_body)(void *context, vt_worker worker);

/* A wish for more is cut: the run-time library ends the process when it cannot start a thread. */
enum { VT_MAX_THREADS = 1024 };

void vt_parallel_for(int64_t tasks, int threads, vt_body body, void *context);

/* Threads used when nobody says otherwise: the processors that this process may run on, cut by a
 * cgroup quota and by OMP_NUM_THREADS. At least 1. */
int vt_default_threads(void);

/* True in a child forked from a process that had loaded the core. */
int vt_forked(void);

#endif
