/* The one parallel loop of the core, and the only place with OpenMP in it.
 *
 * The body is called once for each task in [0, tasks), in any order, by `threads` workers; so a
 * result may not depend on which worker ran a task, nor on how many there really are: OpenMP takes
 * `threads` as a wish. A body runs calm, as below.
 *
 * libgomp cannot be used in a child forked after a parallel region: there the loop runs on one
 * thread. */
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

/* From begin to end this thread is calm; the two may be nested. Then
 *
 * - signals from outside wait. Matrix products of oneDNN 3.2 ("gemm:jit", fixed in 3.11.2) let the
 *   stack pointer point into the heap, and the frame of a handler would overwrite what is there;
 * - arithmetic is the standard's: what another library has set in this thread, such as flushing
 *   denormal numbers to zero, would make bits depend on which thread ran a task;
 * - library code (oneDNN) sees a thread limit of one.
 *
 * vt_parallel_for does this for its workers. Who opens many loops in a row does it around them:
 * asking the system for it takes as long as opening a loop. */
void vt_calm_begin(void);
void vt_calm_end(void);

/* Threads used when nobody says otherwise: the processors that this process may run on, cut by a
 * cgroup quota and by OMP_NUM_THREADS. At least 1. */
int vt_default_threads(void);

/* How many forks are between the process that loaded the core and this one: a claim of a thread is
 * void in a child, where that thread is not. */
int vt_forks(void);

#endif
