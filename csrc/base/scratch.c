#include "base/scratch.h"

#include <pthread.h>

#include "base/memory.h"

static _Thread_local void *kept;
static _Thread_local size_t room;
static pthread_key_t key; /* only so that the block is given back when its thread ends */
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void make_key(void) { pthread_key_create(&key, vt_free); }

vt_status vt_scratch(void **block, size_t bytes, vt_error *error) {
    if (bytes > room) {
        void *larger;
        VT_TRY(vt_alloc(&larger, bytes + bytes / 2, error));
        vt_free(kept);
        kept = larger;
        room = bytes + bytes / 2;
        pthread_once(&once, make_key);
        pthread_setspecific(key, kept);
    }
    *block = kept;
    return VT_OK;
}
