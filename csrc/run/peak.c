/* What the processor at hand can do, measured: products in the caches, and reading of memory. */
#include <stdatomic.h>
#include <string.h>

#include "base/memory.h"
#include "base/parallel.h"
#include "kernels/kernels.h"
#include "linalg/matmul.h"
#include "run/phases.h"
#include "run/profile.h"
#include "run/run.h"

/* What all threads do at once, over and over until the deadline; each has a task number. */
typedef struct race {
    vt_status (*once)(void *context, int64_t task, vt_error *error);
    void *context;
    int64_t deadline;
    atomic_int_fast64_t times;
    vt_failure failure;
} race;

static void repeat(void *context, vt_worker worker) {
    race *r = context;
    int64_t times = 0;
    vt_error error;
    vt_status status;
    do {
        status = r->once(r->context, worker.task, &error);
        times++;
    } while (status == VT_OK && vt_clock() < r->deadline);
    atomic_fetch_add(&r->times, times);
    vt_note_failure(&r->failure, status, &error);
}

/* How often per second all threads together do it: the best of several short times, so that
 * starting threads, rising clocks and other processes do not count. */
static vt_status measure(race *r, int threads, double seconds, double *rate, vt_error *error) {
    enum { TIMES = 8 };
    const int64_t whole = (int64_t)(1e9 * seconds), end = vt_clock() + whole;
    r->failure = (vt_failure){ATOMIC_FLAG_INIT, VT_OK, error};
    *rate = 0;
    do {
        const int64_t start = vt_clock();
        r->deadline = start + whole / TIMES;
        atomic_store(&r->times, 0);
        vt_parallel_for(threads, threads, repeat, r);
        const double found = (double)atomic_load(&r->times) / (1e-9 * (double)(vt_clock() - start));
        if (found > *rate) *rate = found;
    } while (r->failure.status == VT_OK && vt_clock() < end);
    return r->failure.status;
}

static vt_status check(int threads, double seconds, vt_error *error) {
    if (threads >= 1 && threads <= VT_MAX_THREADS && seconds > 0 && seconds <= 60) return VT_OK;
    return vt_fail(error, VT_VALUE,
                   "a peak is measured with 1 to %d threads for up to 60 seconds, got %d and %g",
                   VT_MAX_THREADS, threads, seconds);
}

/* ---------------------------------------------------------------- products */

/* m, n, k. What a thread touches fits into a second-level cache of 1 or 2 MB. */
static const int64_t sizes[][3] = {
    {256, 256, 256}, {128, 512, 256}, {192, 256, 768}, {256, 512, 512}};

enum {
    SIZES = sizeof sizes / sizeof *sizes,
    MOST = 512 * 512,   /* elements of an operand, */
    OPERAND = MOST * 8, /* and its bytes */
};

typedef struct product {
    vt_matmul *matmul;
    const void *b;
    char *own; /* a, c and scratch of each thread */
    size_t own_bytes;
} product;

static vt_matmul_shape shape_of(vt_precision precision, const int64_t size[3]) {
    static const vt_operands operands[VT_PRECISION_COUNT] = {
        [VT_PRECISION_BF16] = VT_OPERANDS_BF16, [VT_PRECISION_INT8] = VT_OPERANDS_INT8};
    return (vt_matmul_shape){.dtype = precision == VT_PRECISION_F64 ? VT_F64 : VT_F32,
                             .operands = operands[precision],
                             .m = size[0],
                             .n = size[1],
                             .k = size[2],
                             .lda = size[2],
                             .ldb = size[2],
                             .ldc = size[1],
                             .b_transposed = true, /* as the weight of a linear layer is */
                             .pack_b = true};
}

/* Numbers in the type of a table: from -1/2 to 1/2, or any byte. */
static void fill_numbers(vt_precision precision, void *to) {
    for (uint32_t i = 0; i < MOST; i++) {
        const uint32_t bits = i * 2654435761u;
        const double number = (double)bits / 4294967296.0 - 0.5;
        if (precision == VT_PRECISION_F64) {
            ((double *)to)[i] = number;
        } else if (precision == VT_PRECISION_INT8) {
            ((uint8_t *)to)[i] = (uint8_t)(bits >> 24);
        } else {
            ((float *)to)[i] = (float)number;
        }
    }
}

/* The numbers as the product takes what is not packed. */
static void make_operand(vt_precision precision, void *to, const void *numbers) {
    if (precision == VT_PRECISION_BF16) {
        vt_kernels_get(VT_F32)->to_bf16(to, numbers, 1, MOST, MOST);
    } else {
        memcpy(to, numbers, OPERAND);
    }
}

static vt_status multiply(void *context, int64_t task, vt_error *error) {
    const product *p = context;
    char *a = p->own + (size_t)task * p->own_bytes, *c = a + OPERAND;
    return vt_matmul_run(p->matmul, c, a, p->b, NULL, c + OPERAND, error);
}

/* The block holds the numbers, b, and what is each thread's own. */
static vt_status fill_block(product *p, char *block, vt_precision precision, size_t packed,
                            int threads, vt_error *error) {
    char *b = block + OPERAND;
    p->b = b;
    p->own = b + OPERAND + packed;
    fill_numbers(precision, block);
    for (int t = 0; t < threads; t++) {
        make_operand(precision, p->own + (size_t)t * p->own_bytes, block);
    }
    if (packed > 0) return vt_matmul_pack(p->matmul, b, block, error);
    make_operand(precision, b, block);
    return VT_OK;
}

static vt_status measure_product(product *p, vt_precision precision, int threads, double seconds,
                                 double *rate, vt_error *error) {
    const size_t packed = vt_matmul_packed_bytes(p->matmul);
    p->own_bytes = 2 * OPERAND + vt_matmul_scratch_bytes(p->matmul);
    void *block;
    VT_TRY(vt_alloc(&block, 2 * OPERAND + packed + (size_t)threads * p->own_bytes, error));
    vt_status status = fill_block(p, block, precision, packed, threads, error);
    race r = {.once = multiply, .context = p};
    if (status == VT_OK) status = measure(&r, threads, seconds, rate, error);
    vt_free(block);
    return status;
}

vt_status vt_peak_products(vt_precision precision, int threads, double seconds, double *rate,
                           vt_error *error) {
    VT_TRY(check(threads, seconds, error));
    VT_TRY(vt_memory_room((size_t)threads * VT_WORK_SPACE, error)); /* as before any product */
    const int64_t end = vt_clock() + (int64_t)(1e9 * seconds);
    *rate = 0;
    for (int i = 0; i < SIZES && (i == 0 || vt_clock() < end); i++) { /* slow ones are alike */
        const vt_matmul_shape shape = shape_of(precision, sizes[i]);
        product p = {NULL};
        double times = 0;
        VT_TRY(vt_matmul_open(&p.matmul, &shape, error));
        const vt_status status =
            measure_product(&p, precision, threads, seconds / SIZES, &times, error);
        vt_matmul_close(p.matmul);
        if (status != VT_OK) return status;
        const double found = 2.0 * times * (double)(shape.m * shape.n * shape.k);
        if (found > *rate) *rate = found;
    }
    return VT_OK;
}

/* ---------------------------------------------------------------- memory */

/* A chunk is read in several streams side by side: one alone does not keep the memory busy. */
enum { STREAMS = 8, CHUNK = 1 << 20, WORDS = CHUNK / 8, STREAM = WORDS / STREAMS };

/* Each thread goes round in its own part of the buffer, chunk by chunk. */
typedef struct reader {
    uint64_t *buffer;
    int64_t chunks;           /* of a thread */
    int64_t *next;            /* of each thread, STREAMS apart: in a cache line of its own */
    atomic_uint_fast64_t sum; /* so that no compiler leaves the reading out */
} reader;

static uint64_t *chunk_of(const reader *r, int64_t task, int64_t chunk) {
    return r->buffer + (task * r->chunks + chunk) * WORDS;
}

static vt_status add_up(void *context, int64_t task, vt_error *error) {
    (void)error;
    reader *r = context;
    int64_t *next = &r->next[task * STREAMS];
    const uint64_t *words = chunk_of(r, task, *next);
    uint64_t sums[STREAMS] = {0};
    for (int64_t i = 0; i < STREAM; i++) {
        for (int s = 0; s < STREAMS; s++) sums[s] += words[s * STREAM + i];
    }
    for (int s = 0; s < STREAMS; s++) atomic_fetch_add(&r->sum, sums[s]);
    *next = (*next + 1) % r->chunks;
    return VT_OK;
}

/* Pages that nobody has written are all the same one, which stays in the caches. */
static void write_part(void *context, vt_worker worker) {
    const reader *r = context;
    memset(chunk_of(r, worker.task, 0), 1, (size_t)r->chunks * CHUNK);
}

vt_status vt_peak_memory(int threads, double seconds, double *rate, vt_error *error) {
    enum { UNKNOWN = 64 << 20 };
    VT_TRY(check(threads, seconds, error));
    const int64_t last = vt_machine_selected()->cache[VT_CACHE_COUNT - 1];
    const int64_t bytes = 2 * (last > 0 ? last : UNKNOWN);
    reader r = {.chunks = vt_ceil_div(bytes, (int64_t)threads * CHUNK)};
    const size_t parts = (size_t)threads * (size_t)r.chunks * CHUNK;
    void *block;
    VT_TRY(vt_alloc(&block, parts + (size_t)threads * STREAMS * sizeof *r.next, error));
    r.buffer = block;
    r.next = (int64_t *)(r.buffer + parts / sizeof *r.buffer);
    vt_parallel_for(threads, threads, write_part, &r);
    race reading = {.once = add_up, .context = &r};
    const vt_status status = measure(&reading, threads, seconds, rate, error);
    *rate *= CHUNK;
    vt_free(block);
    return status;
}
