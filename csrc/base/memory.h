/* The only allocator of the core. Blocks are 64-byte aligned and counted, so that a test can
 * compare the bytes alive with a plan, see that the counter stands still during training, and
 * let the n-th allocation fail. */
#ifndef VT_BASE_MEMORY_H
#define VT_BASE_MEMORY_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/status.h"

enum { VT_ALIGN = 64 };

/* Round `bytes` up to a multiple of the alignment unit. */
static inline size_t vt_align(size_t bytes) {
    return (bytes + (VT_ALIGN - 1)) & ~(size_t)(VT_ALIGN - 1);
}

/* A zeroed, 64-byte aligned block; *block is NULL on failure. bytes == 0 gives a valid block.
 * The pages of a large block are committed when they are first touched. */
vt_status vt_alloc(void **block, size_t bytes, vt_error *error);

/* Like vt_alloc for `count` elements of `size` bytes; an overflowing product is VT_MEMORY. */
vt_status vt_alloc_array(void **block, size_t count, size_t size, vt_error *error);

/* The same for a typed pointer: VT_NEW(&p->steps, count, error) makes it point to `count` elements.
 */
#define VT_NEW(pointer, count, error) \
    vt_alloc_array((void **)(pointer), (size_t)(count), sizeof **(pointer), error)

/* Give back a block. NULL is allowed. */
void vt_free(void *block);

/* Give the whole pages of a range back to the system: their bytes become 0, and cost nothing until
 * they are written. False where that cannot be done: then nothing has changed. */
bool vt_memory_drop(void *start, size_t bytes);

/* VT_MEMORY unless `bytes` more could be had just now; nothing is kept. For what is about to call
 * library code on a thread: oneDNN dereferences NULL where a small block fails. */
enum { VT_WORK_SPACE = 32 << 20 };
vt_status vt_memory_room(size_t bytes, vt_error *error);

typedef struct vt_memory_stats {
    int64_t bytes;       /* alive now, without headers */
    int64_t peak;        /* the most that was alive at once */
    int64_t blocks;      /* alive now */
    int64_t allocations; /* since the process started */
} vt_memory_stats;

vt_memory_stats vt_memory_read(void);

/* Tests only: the n-th allocation from now fails (n >= 1), once; 0 switches this off. */
void vt_memory_fail_at(int64_t n);

#endif
