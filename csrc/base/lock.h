/* The one lock of the core: many may share it, or one has it alone. Whoever comes first is let in
 * first, so neither those that share it nor those that want it alone can keep the others out.
 *
 * Nobody takes a lock that he holds, nor one while he holds Python's: a thread that waits here
 * would keep the one it waits for from ever coming back to Python.
 *
 * A forked child finds every lock open: the threads that had them are not there. What they guarded
 * may be half done, as everything that another thread was at. */
#ifndef VT_BASE_LOCK_H
#define VT_BASE_LOCK_H

#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

typedef struct vt_lock {
    pthread_mutex_t mutex; /* guards the rest */
    pthread_cond_t moved;
    uint64_t tickets, served; /* given out; let in */
    int sharing;
    bool alone;
    struct vt_lock *next, *previous; /* of those that a child opens */
} vt_lock;

/* For a lock that is never closed; who makes one opens it in a child. */
#define VT_LOCK_OPEN {.mutex = PTHREAD_MUTEX_INITIALIZER, .moved = PTHREAD_COND_INITIALIZER}

void vt_lock_open(vt_lock *lock);
void vt_lock_close(vt_lock *lock);

void vt_lock_shared(vt_lock *lock);
void vt_lock_alone(vt_lock *lock);
void vt_unlock(vt_lock *lock);

#endif
