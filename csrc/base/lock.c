#include "base/lock.h"

void vt_lock_open(vt_lock *lock) { *lock = (vt_lock)VT_LOCK_OPEN; }

void vt_lock_close(vt_lock *lock) {
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
