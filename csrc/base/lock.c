#include "base/lock.h"

#include <stddef.h>

/* ---------------------------------------------------------------- fork */

static pthread_mutex_t listing = PTHREAD_MUTEX_INITIALIZER; /* guards the list */
static vt_lock *first;

static void hold_list(void) { pthread_mutex_lock(&listing); }

static void leave_list(void) { pthread_mutex_unlock(&listing); }

/* Made new, not unlocked: the condition still counts threads that wait in the parent. */
static void open_all(void) {
    for (vt_lock *lock = first; lock != NULL; lock = lock->next) {
        vt_lock *next = lock->next, *previous = lock->previous;
        *lock = (vt_lock)VT_LOCK_OPEN;
        lock->next = next;
        lock->previous = previous;
    }
    leave_list();
}

__attribute__((constructor)) static void watch_for_forks(void) {
    pthread_atfork(hold_list, leave_list, open_all);
}

/* ---------------------------------------------------------------- the lock */

void vt_lock_open(vt_lock *lock) {
    *lock = (vt_lock)VT_LOCK_OPEN;
    hold_list();
    lock->next = first;
    if (first != NULL) first->previous = lock;
    first = lock;
    leave_list();
}

void vt_lock_close(vt_lock *lock) {
    hold_list();
    if (lock->next != NULL) lock->next->previous = lock->previous;
    *(lock->previous != NULL ? &lock->previous->next : &first) = lock->next;
    leave_list();
    pthread_cond_destroy(&lock->moved);
    pthread_mutex_destroy(&lock->mutex);
}

static void enter(vt_lock *lock, bool alone) {
    pthread_mutex_lock(&lock->mutex);
    const uint64_t ticket = lock->tickets++;
    while (lock->served != ticket || lock->alone || (alone && lock->sharing > 0)) {
        pthread_cond_wait(&lock->moved, &lock->mutex);
    }
    lock->served++;
    lock->alone = alone;
    lock->sharing += !alone;
    pthread_cond_broadcast(&lock->moved); /* the next one may share it, too */
    pthread_mutex_unlock(&lock->mutex);
}

void vt_lock_shared(vt_lock *lock) { enter(lock, false); }

void vt_lock_alone(vt_lock *lock) { enter(lock, true); }

void vt_unlock(vt_lock *lock) {
    pthread_mutex_lock(&lock->mutex);
    lock->sharing -= !lock->alone;
    lock->alone = false;
    pthread_cond_broadcast(&lock->moved);
    pthread_mutex_unlock(&lock->mutex);
}
