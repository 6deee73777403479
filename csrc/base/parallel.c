#define _GNU_SOURCE
#include "base/parallel.h"

#include <fenv.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>
#ifdef _OPENMP
#include <omp.h>
#endif

static atomic_int forks;

static void note_fork(void) { atomic_fetch_add(&forks, 1); }

__attribute__((constructor)) static void watch_for_forks(void) {
    pthread_atfork(NULL, NULL, note_fork);
}

int vt_forks(void) { return atomic_load(&forks); }

static int least(int a, int b) { return a < b ? a : b; }

/* Processors that cpu.max of cgroup 2 grants, or `limit` if it does not say. */
static int cgroup_limit(int limit) {
    FILE *file = fopen("/sys/fs/cgroup/cpu.max", "r");
    if (file == NULL) return limit;
    double quota = 0, period = 0;
    const int found = fscanf(file, "%lf %lf", &quota, &period); /* "max 100000" matches nothing */
    fclose(file);
    if (found != 2 || period <= 0) return limit;
    const int granted = (int)(quota / period + 0.5);
    return granted < 1 ? 1 : least(granted, limit);
}

static int allowed_processors(void) {
#ifdef __linux__
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) == 0) return CPU_COUNT(&set);
#endif
    const long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online < 1 ? 1 : (int)online;
}

/* OMP_THREAD_LIMIT */
static int team_limit(void) {
#ifdef _OPENMP
    return omp_get_thread_limit();
#else
    return VT_MAX_THREADS;
#endif
}

int vt_default_threads(void) {
    const int limit = least(cgroup_limit(allowed_processors()), team_limit());
    const char *wish = getenv("OMP_NUM_THREADS");
    const int wished = wish == NULL ? 0 : atoi(wish);
    return wished >= 1 ? least(wished, limit) : limit;
}

/* ---------------------------------------------------------------- calm */

/* What a thread gives back when it stops being calm. */
typedef struct manners {
    sigset_t signals;
    fenv_t arithmetic;
    int threads; /* of OpenMP loops that it opens */
} manners;

static _Thread_local int depth;
static _Thread_local manners before;

/* All that come from outside. A fault of the thread itself cannot wait: held back, it ends the
 * process before a handler can tell where. */
static sigset_t held_signals(void) {
    static const int own[] = {SIGABRT, SIGBUS, SIGFPE, SIGILL, SIGSEGV, SIGSYS, SIGTRAP};
    sigset_t set;
    sigfillset(&set);
    for (size_t i = 0; i < sizeof own / sizeof *own; i++) sigdelset(&set, own[i]);
    return set;
}

void vt_calm_begin(void) {
    if (depth++ > 0) return;
    const sigset_t held = held_signals();
    pthread_sigmask(SIG_BLOCK, &held, &before.signals);
    fegetenv(&before.arithmetic);
    fesetenv(FE_DFL_ENV);
#ifdef _OPENMP
    before.threads = omp_get_max_threads();
    omp_set_num_threads(1);
#endif
}

void vt_calm_end(void) {
    if (--depth > 0) return;
#ifdef _OPENMP
    omp_set_num_threads(before.threads);
#endif
    fesetenv(&before.arithmetic);
    pthread_sigmask(SIG_SETMASK, &before.signals, NULL);
}

/* ---------------------------------------------------------------- the loop */

typedef struct loop {
    int64_t tasks;
    vt_body body;
    void *context;
    atomic_int_fast64_t next;
} loop;

/* Tasks are handed out one by one: they differ in length, and so do the processors of a shared
 * machine. */
static void work(loop *l, int thread) {
    vt_calm_begin();
    for (;;) {
        const int64_t task = atomic_fetch_add(&l->next, 1);
        if (task >= l->tasks) break;
        l->body(l->context, (vt_worker){task, thread});
    }
    vt_calm_end();
}

#ifdef _OPENMP
static void *wait_at(void *gate) {
    pthread_mutex_lock(gate);
    pthread_mutex_unlock(gate);
    return NULL;
}

/* How many threads this one can have beside itself and with itself, up to `threads`: the run-time
 * library ends the process when it cannot start one, so they are tried before. */
static int startable(int threads) {
    static _Thread_local int known = 1;
    if (threads <= known) return threads;
    pthread_t tried[VT_MAX_THREADS];
    pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
    int count = 0;
    pthread_mutex_lock(&gate);
    while (count < threads - 1 && pthread_create(&tried[count], NULL, wait_at, &gate) == 0) count++;
    pthread_mutex_unlock(&gate);
    for (int i = 0; i < count; i++) pthread_join(tried[i], NULL);
    if (count + 1 > known) known = count + 1;
    return count + 1;
}

/* The team may be smaller than asked for, and a team of one is not an active region: so nothing
 * here depends on its size. */
static void run_team(loop *l, int threads) {
#pragma omp parallel num_threads(threads)
    work(l, omp_get_thread_num());
}
#else
static int startable(int threads) {
    (void)threads;
    return 1;
}

static void run_team(loop *l, int threads) {
    (void)threads;
    work(l, 0);
}
#endif

void vt_parallel_for(int64_t tasks, int threads, vt_body body, void *context) {
    loop l = {tasks, body, context, 0};
    if (threads > VT_MAX_THREADS) threads = VT_MAX_THREADS;
    if (threads > tasks) threads = (int)tasks;
    vt_calm_begin(); /* threads that start now inherit the mask of signals */
    if (threads > 1) threads = vt_forks() > 0 ? 1 : startable(threads);
    if (threads > 1) {
        run_team(&l, threads);
    } else {
        work(&l, 0);
    }
    vt_calm_end();
}
