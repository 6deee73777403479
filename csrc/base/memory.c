#define _GNU_SOURCE
#include "base/memory.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

/* Stands before each block. As long as the alignment, so that the block behind it is aligned. */
typedef struct header {
    _Alignas(VT_ALIGN) size_t bytes;
    void *raw; /* what calloc returned */
} header;

static _Atomic int64_t live_bytes, peak_bytes, live_blocks, total_allocations, fail_countdown;

static int should_fail(void) {
    if (atomic_load(&fail_countdown) == 0) return 0;
    return atomic_fetch_sub(&fail_countdown, 1) == 1;
}

static void count_block(int64_t bytes) {
    atomic_fetch_add(&live_blocks, 1);
    atomic_fetch_add(&total_allocations, 1);
    const int64_t now = atomic_fetch_add(&live_bytes, bytes) + bytes;
    int64_t peak = atomic_load(&peak_bytes);
    while (peak < now && !atomic_compare_exchange_weak(&peak_bytes, &peak, now)) {}
}

/* Advice on the whole pages of a range. */
#ifdef __linux__
static bool advise(void *start, size_t bytes, int advice) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t first = ((uintptr_t)start + page - 1) / page * page;
    const uintptr_t last = ((uintptr_t)start + bytes) / page * page;
    return last > first && madvise((void *)first, last - first, advice) == 0;
}
#endif

/* Fewer page faults and TLB misses on arenas; a kernel that does not know the advice ignores it. */
static void advise_huge_pages(void *block, size_t bytes) {
#ifdef __linux__
    enum { WORTH_IT = 8 << 20 };
    if (bytes >= WORTH_IT) (void)advise(block, bytes, MADV_HUGEPAGE);
#else
    (void)block;
    (void)bytes;
#endif
}

bool vt_memory_drop(void *start, size_t bytes) {
#ifdef __linux__
    return advise(start, bytes, MADV_DONTNEED);
#else
    (void)start;
    (void)bytes;
    return false;
#endif
}

vt_status vt_alloc(void **block, size_t bytes, vt_error *error) {
    *block = NULL;
    enum { OVERHEAD = sizeof(header) + VT_ALIGN };
    const int fits = bytes < SIZE_MAX / 2;
    char *raw = !fits || should_fail() ? NULL : calloc(1, bytes + OVERHEAD);
    if (raw == NULL) {
        return vt_fail(error, VT_MEMORY, "could not allocate %zu bytes", bytes);
    }
    header *head = (header *)(void *)(raw + VT_ALIGN - ((uintptr_t)raw & (VT_ALIGN - 1)));
    advise_huge_pages(head, bytes);
    head->bytes = bytes;
    head->raw = raw;
    count_block((int64_t)bytes);
    *block = head + 1;
    return VT_OK;
}

vt_status vt_alloc_array(void **block, size_t count, size_t size, vt_error *error) {
    *block = NULL;
    if (size != 0 && count > SIZE_MAX / size) {
        return vt_fail(error, VT_MEMORY, "could not allocate %zu x %zu bytes", count, size);
    }
    return vt_alloc(block, count * size, error);
}

/* Mapped, not allocated: a freed block of this size would change what malloc keeps. */
vt_status vt_memory_room(size_t bytes, vt_error *error) {
    void *room = should_fail() ? MAP_FAILED
                               : mmap(NULL, bytes, PROT_READ | PROT_WRITE,
                                      MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (room == MAP_FAILED) {
        return vt_fail(error, VT_MEMORY, "no room for %zu bytes of work space", bytes);
    }
    (void)munmap(room, bytes);
    return VT_OK;
}

void vt_free(void *block) {
    if (block == NULL) return;
    header *head = (header *)block - 1;
    atomic_fetch_sub(&live_bytes, (int64_t)head->bytes);
    atomic_fetch_sub(&live_blocks, 1);
    free(head->raw);
}

vt_memory_stats vt_memory_read(void) {
    return (vt_memory_stats){
        .bytes = atomic_load(&live_bytes),
        .peak = atomic_load(&peak_bytes),
        .blocks = atomic_load(&live_blocks),
        .allocations = atomic_load(&total_allocations),
    };
}

void vt_memory_fail_at(int64_t n) { atomic_store(&fail_countdown, n); }
