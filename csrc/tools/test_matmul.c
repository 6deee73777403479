/* Tests of linalg/matmul.h against sums in double, with guards around everything it writes.
 * VITC_ISA chooses the implementation, as in the extension. */
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "linalg/matmul.h"
#include "tools/check.h"
#include "tools/numbers.h"
#include "tools/take.h"
#include "vitc.h"

/* ---------------------------------------------------------------- small tools */

/* In [-1, 1), a multiple of 2^-23: exact in float. */
static double draw_from(uint64_t *state) {
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (double)(*state >> 40) / 8388608.0 - 1.0;
}

/* A (rows, columns) matrix stored with a leading dimension, perhaps by columns. What lies between
 * the rows and behind the last one is NaN: read, it would show in the result. */
typedef struct matrix {
    int64_t rows, columns, leading;
    bool transposed;
    vt_dtype dtype;
    int64_t elements; /* with the gaps and the guard behind */
    void *data;
} matrix;

enum { GUARD = 16 };

static int64_t index_of(const matrix *x, int64_t row, int64_t column) {
    return x->transposed ? column * x->leading + row : row * x->leading + column;
}

static matrix matrix_make(vt_dtype dtype, int64_t rows, int64_t columns, int64_t gap,
                          bool transposed) {
    matrix x = {rows, columns, (transposed ? rows : columns) + gap, transposed, dtype, 0, NULL};
    x.elements = (transposed ? columns : rows) * x.leading + GUARD;
    x.data = take((size_t)x.elements * vt_dtype_size(dtype));
    for (int64_t i = 0; i < x.elements; i++) set(x.data, dtype, i, NAN);
    return x;
}

static void matrix_fill(matrix *x, const double *values) {
    for (int64_t i = 0; i < x->rows; i++) {
        for (int64_t j = 0; j < x->columns; j++) {
            set(x->data, x->dtype, index_of(x, i, j), values[i * x->columns + j]);
        }
    }
}

static int64_t numbers_outside(const matrix *x) { /* gap or guard elements that were written */
    int64_t numbers = 0;
    for (int64_t i = 0; i < x->elements; i++) numbers += !isnan(get(x->data, x->dtype, i));
    return numbers - x->rows * x->columns;
}

/* A block of exactly `bytes`, followed by a guard. */
static unsigned char *guarded_take(size_t bytes) {
    unsigned char *block = take(bytes + VT_ALIGN);
    memset(block, 0xA5, bytes + VT_ALIGN);
    return block;
}

static bool guard_whole(const unsigned char *block, size_t bytes) {
    for (int i = 0; i < VT_ALIGN; i++) {
        if (block[bytes + (size_t)i] != 0xA5) return false;
    }
    return true;
}

/* ---------------------------------------------------------------- one product */

/* Logical operands and their product without bias, all dense and in double. */
typedef struct problem {
    int64_t m, n, k;
    double *a, *b, *bias, *old, *product;
} problem;

static double *random_numbers(int64_t count, uint64_t *state) {
    double *x = take((size_t)count * sizeof *x);
    for (int64_t i = 0; i < count; i++) x[i] = draw_from(state);
    return x;
}

static problem problem_make(int64_t m, int64_t n, int64_t k, uint64_t seed) {
    uint64_t state = seed;
    problem p = {m,
                 n,
                 k,
                 random_numbers(m * k, &state),
                 random_numbers(k * n, &state),
                 random_numbers(n, &state),
                 random_numbers(m * n, &state),
                 take((size_t)(m * n) * sizeof(double))};
    for (int64_t i = 0; i < m; i++) {
        for (int64_t t = 0; t < k; t++) {
            for (int64_t j = 0; j < n; j++) p.product[i * n + j] += p.a[i * k + t] * p.b[t * n + j];
        }
    }
    return p;
}

static void problem_free(problem *p) {
    double *const all[] = {p->a, p->b, p->bias, p->old, p->product};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) vt_free(all[i]);
}

enum {
    A_TRANSPOSED = 1,
    B_TRANSPOSED = 2,
    BIAS = 4,
    ACCUMULATE = 8,
    PACK = 16,
    GAPS = 32,
    VARIANTS = 64
};

/* Everything one call needs, laid out for one variant of a problem. */
typedef struct call {
    vt_matmul_shape shape;
    vt_matmul *matmul;
    matrix a, b, c, bias;
    unsigned char *scratch, *packed;
    size_t scratch_bytes, packed_bytes;
} call;

static void call_pack(call *x) {
    x->packed_bytes = vt_matmul_packed_bytes(x->matmul);
    x->packed = guarded_take(x->packed_bytes);
    if (x->packed_bytes == 0) return;
    vt_error error;
    const vt_status status = vt_matmul_pack(x->matmul, x->packed, x->b.data, &error);
    vt_check(status == VT_OK, "pack: %s", error.message);
    vt_check(guard_whole(x->packed, x->packed_bytes), "pack wrote behind its %zu bytes",
             x->packed_bytes);
}

static call call_make(const problem *p, vt_dtype dtype, int variant) {
    call x;
    const int64_t gap = (variant & GAPS) != 0;
    x.a = matrix_make(dtype, p->m, p->k, 5 * gap, (variant & A_TRANSPOSED) != 0);
    x.b = matrix_make(dtype, p->k, p->n, 2 * gap, (variant & B_TRANSPOSED) != 0);
    x.c = matrix_make(dtype, p->m, p->n, 3 * gap, false);
    x.bias = matrix_make(dtype, 1, p->n, 0, false);
    matrix_fill(&x.a, p->a);
    matrix_fill(&x.b, p->b);
    matrix_fill(&x.c, p->old);
    matrix_fill(&x.bias, p->bias);
    x.shape = (vt_matmul_shape){.dtype = dtype,
                                .m = p->m,
                                .n = p->n,
                                .k = p->k,
                                .lda = x.a.leading,
                                .ldb = x.b.leading,
                                .ldc = x.c.leading,
                                .a_transposed = x.a.transposed,
                                .b_transposed = x.b.transposed,
                                .bias = (variant & BIAS) != 0,
                                .accumulate = (variant & ACCUMULATE) != 0,
                                .pack_b = (variant & PACK) != 0};
    vt_error error;
    const vt_status status = vt_matmul_open(&x.matmul, &x.shape, &error);
    if (status != VT_OK) {
        printf("open: %s\n", error.message);
        abort();
    }
    x.scratch_bytes = vt_matmul_scratch_bytes(x.matmul);
    x.scratch = guarded_take(x.scratch_bytes);
    call_pack(&x);
    return x;
}

static void call_free(call *x) {
    void *const all[] = {x->a.data, x->b.data, x->c.data, x->bias.data, x->scratch, x->packed};
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) vt_free(all[i]);
    vt_matmul_close(x->matmul);
}

static vt_status call_run(const call *x, void *c, void *scratch, vt_error *error) {
    return vt_matmul_run(x->matmul, c, x->a.data, x->packed_bytes != 0 ? x->packed : x->b.data,
                         x->shape.bias ? x->bias.data : NULL, scratch, error);
}

/* Largest error against the sums in double; NaN counts as infinite. */
static double worst_error(const call *x, const problem *p) {
    double worst = 0;
    for (int64_t i = 0; i < p->m * p->n; i++) {
        double expected = p->product[i];
        if (x->shape.bias) expected += p->bias[i % p->n];
        if (x->shape.accumulate) expected += p->old[i];
        const double error =
            fabs(get(x->c.data, x->c.dtype, index_of(&x->c, i / p->n, i % p->n)) - expected);
        worst = !(error <= worst) ? (isnan(error) ? INFINITY : error) : worst;
    }
    return worst;
}

/* Elements lie in [-1, 1), so that a sum of k products is about sqrt(k) in size. */
static double tolerance(const vt_matmul_shape *s) {
    return (s->dtype == VT_F32 ? 2e-6 : 4e-15) * sqrt((double)s->k);
}

static void check_variant(const problem *p, vt_dtype dtype, int variant) {
    call x = call_make(p, dtype, variant);
    vt_error error;
    const vt_status status = call_run(&x, x.c.data, x.scratch, &error);
    vt_check(status == VT_OK, "run: %s", error.message);
    const double worst = worst_error(&x, p);
    vt_check(worst <= tolerance(&x.shape), "%s m=%lld n=%lld k=%lld variant %d (%s): error %.3g",
             vt_dtype_name(dtype), (long long)p->m, (long long)p->n, (long long)p->k, variant,
             vt_matmul_implementation(x.matmul), worst);
    vt_check(numbers_outside(&x.c) == 0, "variant %d wrote outside c", variant);
    vt_check(guard_whole(x.scratch, x.scratch_bytes), "variant %d wrote behind its scratch",
             variant);
    call_free(&x);
}

/* Every m with every n, and a k that goes round. Products in double are plain C at every level. */
static void test_variants_and_sizes(void) {
    enum { MS = 4, NS = 5, KS = 4 };
    static const int64_t ms[MS] = {1, 2, 50, 197}, ns[NS] = {1, 10, 64, 197, 768},
                         ks[KS] = {1, 7, 64, 768};
    for (int i = 0; i < MS * NS; i++) {
        problem p =
            problem_make(ms[i % MS], ns[i / MS], ks[(i + i / MS + 1) % KS], (uint64_t)i + 1);
        for (int variant = 0; variant < VARIANTS; variant++) {
            check_variant(&p, VT_F32, variant);
            if (vt_isa_selected() == VT_ISA_REF) check_variant(&p, VT_F64, variant);
        }
        problem_free(&p);
    }
}

/* ---------------------------------------------------------------- rows do not depend on m */

static bool rows_equal(const call *all, const call *one, int64_t n) {
    const size_t bytes = (size_t)n * vt_dtype_size(all->c.dtype);
    return memcmp(all->c.data, one->c.data, bytes) == 0;
}

/* Row 0 of 50 rows and of one row alone, in bits. Promised by plain C, reported of oneDNN. */
static void test_rows_independent(vt_dtype dtype, int64_t n, int64_t k, int variant) {
    problem p = problem_make(50, n, k, 7);
    call all = call_make(&p, dtype, variant);
    p.m = 1;
    call one = call_make(&p, dtype, variant);
    const bool ran = call_run(&all, all.c.data, all.scratch, NULL) == VT_OK &&
                     call_run(&one, one.c.data, one.scratch, NULL) == VT_OK;
    vt_check(ran, "could not run");
    const bool equal = rows_equal(&all, &one, n);
    printf("rows of m=50 (%s) and m=1 (%s), n=%lld k=%lld, %s: bits %s\n",
           vt_matmul_implementation(all.matmul), vt_matmul_implementation(one.matmul), (long long)n,
           (long long)k, all.packed_bytes != 0 ? "packed" : "plain b", equal ? "equal" : "differ");
    const bool plain = strcmp(vt_matmul_implementation(all.matmul), "plain") == 0;
    vt_check(equal || !plain, "plain C must not depend on the number of rows");
    call_free(&one);
    call_free(&all);
    problem_free(&p);
}

/* Products that differ in m use one packed b. */
static void test_packed_shared(void) {
    problem p = problem_make(197, 768, 768, 8);
    call tall = call_make(&p, VT_F32, B_TRANSPOSED | BIAS | PACK);
    p.m = 1;
    call flat = call_make(&p, VT_F32, B_TRANSPOSED | BIAS | PACK);
    vt_check(tall.packed_bytes == flat.packed_bytes, "%zu and %zu bytes", tall.packed_bytes,
             flat.packed_bytes);
    vt_check(memcmp(tall.packed, flat.packed, tall.packed_bytes) == 0, "packed layouts differ");
    call_free(&flat);
    call_free(&tall);
    problem_free(&p);
}

/* ---------------------------------------------------------------- threads */

enum { ROUNDS = 200 };

typedef struct crowd {
    const call *call;
    int64_t threads;
    pthread_barrier_t start;
    int64_t wrong;
    pthread_mutex_t lock;
} crowd;

static void run_rounds(void *context, vt_worker worker) {
    crowd *all = context;
    (void)worker;
    const call *x = all->call;
    const size_t bytes = (size_t)x->c.elements * vt_dtype_size(x->c.dtype);
    unsigned char *c = take(bytes), *scratch = take(x->scratch_bytes);
    int64_t wrong = 0;
    for (int round = 0; round < ROUNDS; round++) {
        memset(c, 0, bytes);
        wrong += call_run(x, c, scratch, NULL) != VT_OK;
        for (int64_t i = 0; i < x->shape.m; i++) { /* the gaps hold other things */
            const size_t row = (size_t)(i * x->c.leading) * vt_dtype_size(x->c.dtype);
            const size_t length = (size_t)x->shape.n * vt_dtype_size(x->c.dtype);
            wrong += memcmp(c + row, (unsigned char *)x->c.data + row, length) != 0;
        }
    }
    pthread_mutex_lock(&all->lock);
    all->wrong += wrong;
    pthread_mutex_unlock(&all->lock);
    vt_free(c);
    vt_free(scratch);
}

static void *start_together(void *context) {
    crowd *all = context;
    pthread_barrier_wait(&all->start);
    vt_parallel_for(1, 1, run_rounds, all);
    return NULL;
}

/* Many threads, more than the handle keeps calls for, run one product and get one result. */
static void test_threads_on_one_handle(int threads, int variant) {
    problem p = problem_make(50, 197, 64, 9);
    call x = call_make(&p, VT_F32, variant);
    vt_check(call_run(&x, x.c.data, x.scratch, NULL) == VT_OK, "could not run");
    crowd all = {.call = &x, .lock = PTHREAD_MUTEX_INITIALIZER};
    pthread_barrier_init(&all.start, NULL, (unsigned)threads);
    pthread_t *thread = take((size_t)threads * sizeof *thread);
    for (int i = 0; i < threads; i++) pthread_create(&thread[i], NULL, start_together, &all);
    for (int i = 0; i < threads; i++) pthread_join(thread[i], NULL);
    vt_check(all.wrong == 0, "%d threads, variant %d: %lld wrong rows", threads, variant,
             (long long)all.wrong);
    vt_free(thread);
    pthread_barrier_destroy(&all.start);
    call_free(&x);
    problem_free(&p);
}

/* ---------------------------------------------------------------- cache, memory, errors */

static double resident_megabytes(void) {
    FILE *file = fopen("/proc/self/statm", "r");
    long pages = 0;
    if (file == NULL || fscanf(file, "%*d %ld", &pages) != 1) pages = 0;
    if (file != NULL) fclose(file);
    return (double)pages * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

static void run_random_shape(uint64_t *state) {
    const int64_t m = 1 + (int64_t)(fabs(draw_from(state)) * 60);
    const int64_t n = 1 + (int64_t)(fabs(draw_from(state)) * 60);
    const int64_t k = 1 + (int64_t)(fabs(draw_from(state)) * 60);
    problem p = problem_make(m, n, k, *state);
    check_variant(&p, VT_F32, (int)(*state >> 33) % VARIANTS);
    problem_free(&p);
}

static void test_cache_bounded(void) {
    enum { SHAPES = 1000, KEPT = 256 };
    uint64_t state = 11;
    for (int i = 0; i < SHAPES / 2; i++) run_random_shape(&state);
    const double before = resident_megabytes();
    for (int i = 0; i < SHAPES / 2; i++) run_random_shape(&state);
    const double growth = resident_megabytes() - before;
    vt_check(vt_matmul_cache_size() == KEPT, "%lld handles kept",
             (long long)vt_matmul_cache_size());
    printf("resident memory grew by %.1f MB over the last %d shapes\n", growth, SHAPES / 2);
#ifndef __SANITIZE_ADDRESS__ /* its quarantine keeps what was freed */
    vt_check(growth < 8, "resident memory grew by %.1f MB", growth);
#endif
}

static void test_handles_shared(void) {
    problem p = problem_make(3, 4, 5, 12);
    call x = call_make(&p, VT_F32, BIAS), y = call_make(&p, VT_F32, BIAS);
    call other = call_make(&p, VT_F32, 0);
    vt_check(x.matmul == y.matmul, "equal shapes must share a handle");
    vt_check(x.matmul != other.matmul, "a product without bias is another one");
    call_free(&other);
    call_free(&x);
    vt_check(call_run(&y, y.c.data, y.scratch, NULL) == VT_OK, "closed under its second user");
    call_free(&y);
    problem_free(&p);
}

static void test_run_does_not_allocate(void) {
    problem p = problem_make(50, 64, 64, 13);
    call x = call_make(&p, VT_F32, B_TRANSPOSED | PACK);
    const int64_t before = vt_memory_read().allocations;
    for (int i = 0; i < 10; i++) (void)call_run(&x, x.c.data, x.scratch, NULL);
    vt_check(vt_memory_read().allocations == before, "a run allocated");
    call_free(&x);
    problem_free(&p);
}

/* Each allocation of opening fails once: an error, no leak, and it works afterwards. */
static void test_allocation_failures(void) {
    const vt_matmul_shape shape = {.m = 41, .n = 43, .k = 47, .lda = 47, .ldb = 43, .ldc = 43};
    const int64_t blocks = vt_memory_read().blocks;
    vt_status status = VT_MEMORY;
    vt_matmul *matmul = NULL;
    int64_t failures = 0;
    for (; failures < 10 && status != VT_OK; failures++) {
        vt_memory_fail_at(failures + 1);
        vt_error error = {VT_OK, ""};
        status = vt_matmul_open(&matmul, &shape, &error);
        vt_memory_fail_at(0);
        if (status == VT_OK) break;
        vt_check(status == VT_MEMORY && matmul == NULL, "%s", error.message);
        vt_check(vt_memory_read().blocks == blocks, "a failed open leaked");
    }
    vt_check(status == VT_OK && failures >= 1, "%lld failures", (long long)failures);
    vt_matmul_close(matmul);
    vt_matmul_close(NULL);
}

static void expect_refused(vt_matmul_shape shape, const char *words) {
    vt_error error = {VT_OK, ""};
    vt_matmul *matmul = NULL;
    const vt_status status = vt_matmul_open(&matmul, &shape, &error);
    vt_check(status == VT_VALUE && matmul == NULL, "status %d", (int)status);
    vt_check(strstr(error.message, words) != NULL, "\"%s\" lacks \"%s\"", error.message, words);
}

static void test_bad_shapes(void) {
    const vt_matmul_shape good = {.m = 2, .n = 3, .k = 4, .lda = 4, .ldb = 3, .ldc = 3};
    vt_matmul_shape s;
    s = good, s.m = 0, expect_refused(s, "m=0");
    s = good, s.n = -1, expect_refused(s, "n=-1");
    s = good, s.k = 0, expect_refused(s, "k=0");
    s = good, s.lda = 3, expect_refused(s, "of a is 3, expected at least its row length 4");
    s = good, s.ldb = 2, expect_refused(s, "of b is 2");
    s = good, s.ldc = 2, expect_refused(s, "of c is 2");
    s = good, s.lda = 1, s.a_transposed = true, expect_refused(s, "of a is 1");
    s = good, s.b_transposed = true, expect_refused(s, "of b is 3");
    s = good, s.dtype = VT_DTYPE_COUNT, expect_refused(s, "dtype");
}

static void test_pack_refused(void) {
    problem p = problem_make(2, 3, 4, 14);
    call x = call_make(&p, VT_F64, PACK);
    vt_error error;
    vt_check(x.packed_bytes == 0, "double is never packed");
    vt_check(vt_matmul_pack(x.matmul, x.packed, x.b.data, &error) == VT_INTERNAL,
             "pack must refuse");
    call_free(&x);
    problem_free(&p);
}

/* ---------------------------------------------------------------- all of them */

static void run_all(void *context, vt_worker worker) {
    (void)context;
    (void)worker;
    test_bad_shapes();
    test_allocation_failures();
    test_handles_shared();
    test_run_does_not_allocate();
    test_pack_refused();
    test_packed_shared();
    for (int variant = 0; variant <= PACK; variant += PACK) {
        test_rows_independent(VT_F32, 768, 768, variant | B_TRANSPOSED | BIAS);
        test_rows_independent(VT_F32, 197, 64, variant | B_TRANSPOSED);
    }
    test_rows_independent(VT_F64, 197, 64, B_TRANSPOSED);
    test_threads_on_one_handle(2, B_TRANSPOSED | BIAS | PACK);
    test_threads_on_one_handle(2, A_TRANSPOSED);
    test_threads_on_one_handle(2 * vt_default_threads() + 2, B_TRANSPOSED | BIAS);
    test_variants_and_sizes();
    test_cache_bounded();
}

int main(void) {
    vt_error error;
    if (vt_isa_select(getenv("VITC_ISA"), &error) != VT_OK) {
        printf("%s\n", error.message);
        return 1;
    }
    printf("%s, oneDNN %s\n", vt_isa_name(vt_isa_selected()), vt_linalg_version());
    vt_parallel_for(1, 1, run_all, NULL); /* products are run inside this loop */
    return vt_check_summary();
}
