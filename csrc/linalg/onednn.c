/* Single-threaded products by oneDNN; the only file that knows its API (3.2 and later).
 *
 * Rules that came from trouble: the scratchpad is always the caller's (the library's own is wrong
 * as soon as two threads share a primitive) and is always passed, even if it is empty; an
 * implementation called "ref..." is slower than plain C and counts as missing; everything is
 * created under a thread limit of one, so that blocking and scratch fit the way it is run; products
 * run calm (base/parallel.h), because "gemm:jit..." points the stack pointer into the heap. oneDNN
 * lists it behind every "brg:..." that fits, but for AVX2 from 3.5 on; there 3.6.2 writes outside
 * of c where a is transposed, so its order is kept. */
#include "linalg/engine.h"

#if VT_ONEDNN

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "oneapi/dnnl/dnnl.h"
#include "oneapi/dnnl/dnnl_debug.h"

/* Leave the function with the status of `expression` unless it is dnnl_success. */
#define DNNL_TRY(expression) \
    do { \
        const dnnl_status_t dnnl_try_status_ = (expression); \
        if (dnnl_try_status_ != dnnl_success) return dnnl_try_status_; \
    } while (0)

enum { SRC, WEIGHTS, BIAS, DST, SCRATCH, SCALES, OPERANDS };
static const int argument[OPERANDS] = {[SRC] = DNNL_ARG_SRC,
                                       [WEIGHTS] = DNNL_ARG_WEIGHTS,
                                       [BIAS] = DNNL_ARG_BIAS,
                                       [DST] = DNNL_ARG_DST,
                                       [SCRATCH] = DNNL_ARG_SCRATCHPAD,
                                       [SCALES] = DNNL_ARG_ATTR_SCALES | DNNL_ARG_WEIGHTS};

enum {
    /* Rows of the product that is asked which layout of b it likes. Part of the format, as the unit
     * of a strip is, and so not of the machine: tiles of all heights share the layout. */
    PROBE_ROWS = 64,
    LIBRARY_CACHE = 256 /* primitives that oneDNN itself keeps: those of equal reorders */
};

/* oneDNN's objects for one call at a time; filled when first used, kept for the next call. Alone
 * in its cache line. */
typedef struct call {
    _Alignas(VT_ALIGN) atomic_int busy; /* 0, or 1 + vt_forks() of who claims it */
    dnnl_stream_t stream;
    dnnl_memory_t memory[OPERANDS];
} call;

typedef struct vt_onednn {
    vt_matmul_shape shape;
    dnnl_primitive_t product;
    dnnl_primitive_t reorder; /* plain b -> packed b; NULL if b is not packed */
    dnnl_memory_desc_t plain_b, packed_b;
    dnnl_memory_desc_t
        operand[OPERANDS]; /* [WEIGHTS] is one of the two above; [BIAS], [SCALES] may be NULL */
    unsigned calls;
    call *call; /* (calls) */
} vt_onednn;

static dnnl_engine_t engine; /* NULL until the first product is opened */

/* ---------------------------------------------------------------- start */

static char version_text[64];

static void write_version(void) {
    const dnnl_version_t *v = dnnl_version();
    snprintf(version_text, sizeof version_text, "%d.%d.%d (%s)", v->major, v->minor, v->patch,
             v->cpu_runtime == DNNL_RUNTIME_OMP ? "OpenMP" : "no OpenMP");
}

const char *vt_onednn_version(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, write_version);
    return version_text;
}

static vt_status check_version(vt_error *error) {
    const dnnl_version_t *v = dnnl_version();
    if ((v->major == 3 && v->minor >= 2) && v->cpu_runtime == DNNL_RUNTIME_OMP) return VT_OK;
    return vt_fail(error, VT_INTERNAL, "oneDNN is %s, expected 3.2 or a later 3.x with OpenMP",
                   vt_onednn_version());
}

/* oneDNN must not use more of the processor than the kernels: VITC_ISA compares like with like. Nor
 * less: what its environment variables ask for would change bits unseen. */
static vt_status cap_instructions(vt_error *error) {
    static const dnnl_cpu_isa_t caps[] = {[VT_ISA_AVX2] = dnnl_cpu_isa_avx2,
                                          [VT_ISA_AVX512] = dnnl_cpu_isa_avx512_core,
                                          [VT_ISA_NATIVE] = dnnl_cpu_isa_default};
    const vt_isa isa = vt_isa_selected();
    (void)dnnl_set_max_cpu_isa(
        caps[isa]); /* refuses if the question was settled before: see below */
    if (isa == VT_ISA_NATIVE || (dnnl_get_effective_cpu_isa() & ~caps[isa]) == 0) return VT_OK;
    return vt_fail(error, VT_INTERNAL, "oneDNN could not be limited to the instruction set %s",
                   vt_isa_name(isa));
}

static vt_status start(vt_error *error) {
    if (engine != NULL) return VT_OK;
    VT_TRY(check_version(error));
    VT_TRY(cap_instructions(error));
    (void)dnnl_set_primitive_cache_capacity(LIBRARY_CACHE);
    const dnnl_status_t status = dnnl_engine_create(&engine, dnnl_cpu, 0);
    if (status == dnnl_success) return VT_OK;
    engine = NULL;
    return vt_fail(error, status == dnnl_out_of_memory ? VT_MEMORY : VT_INTERNAL,
                   "oneDNN could not start: %s", dnnl_status2str(status));
}

/* A product whose own buffers cannot be had ends with dnnl_runtime_error. */
static vt_status fail(const vt_matmul_shape *shape, const char *deed, dnnl_status_t status,
                      vt_error *error) {
    const bool memory = status == dnnl_out_of_memory || status == dnnl_runtime_error;
    char text[VT_SHAPE_TEXT];
    return vt_fail(error, memory ? VT_MEMORY : VT_INTERNAL, "oneDNN could not %s %s: %s", deed,
                   vt_matmul_text(text, shape), dnnl_status2str(status));
}

/* ---------------------------------------------------------------- descriptions */

static bool is_scaled(const vt_matmul_shape *shape) {
    return shape->operands == VT_OPERANDS_SCALED;
}

typedef struct types {
    dnnl_data_type_t a, b, c;
    dnnl_data_type_t given_b; /* what a packed b is made from */
} types;

static types types_of(const vt_matmul_shape *shape) {
    static const types of[VT_OPERANDS_COUNT] = {
        [VT_OPERANDS_REAL] = {dnnl_f32, dnnl_f32, dnnl_f32, dnnl_f32},
        [VT_OPERANDS_BF16] = {dnnl_bf16, dnnl_bf16, dnnl_f32, dnnl_f32},
        [VT_OPERANDS_INT8] = {dnnl_u8, dnnl_s8, dnnl_s32, dnnl_s8},
        [VT_OPERANDS_SCALED] = {dnnl_u8, dnnl_s8, dnnl_f32, dnnl_s8},
    };
    return of[shape->operands];
}

/* A (rows, columns) matrix, stored by rows or, transposed, by columns. */
static dnnl_status_t describe(dnnl_memory_desc_t *matrix, dnnl_data_type_t type, int64_t rows,
                              int64_t columns, int64_t leading, bool transposed) {
    const dnnl_dims_t dims = {rows, columns};
    const dnnl_dims_t strides = {transposed ? 1 : leading, transposed ? leading : 1};
    return dnnl_memory_desc_create_with_strides(matrix, 2, dims, type, strides);
}

static dnnl_status_t describe_operands(vt_onednn *o) {
    const vt_matmul_shape *s = &o->shape;
    const types t = types_of(s);
    const dnnl_data_type_t b = s->pack_b ? t.given_b : t.b;
    DNNL_TRY(describe(&o->operand[SRC], t.a, s->m, s->k, s->lda, s->a_transposed));
    DNNL_TRY(describe(&o->plain_b, b, s->k, s->n, s->ldb, s->b_transposed));
    DNNL_TRY(describe(&o->operand[DST], t.c, s->m, s->n, s->ldc, false));
    if (s->bias) DNNL_TRY(describe(&o->operand[BIAS], t.c, 1, s->n, s->n, false));
    if (!is_scaled(s)) return dnnl_success;
    const dnnl_dims_t columns = {s->n};
    return dnnl_memory_desc_create_with_tag(&o->operand[SCALES], 1, columns, dnnl_f32, dnnl_a);
}

/* Beyond the plain product: into c, and scales of its columns. */
typedef struct extras {
    bool accumulate, scaled;
} extras;

static dnnl_status_t fill_attributes(dnnl_primitive_attr_t attributes, extras with) {
    DNNL_TRY(dnnl_primitive_attr_set_scratchpad_mode(attributes, dnnl_scratchpad_mode_user));
    /* An environment variable could have relaxed it to bfloat16. */
    DNNL_TRY(dnnl_primitive_attr_set_fpmath_mode(attributes, dnnl_fpmath_mode_strict));
    enum { BY_COLUMN = 1 << 1 };
    if (with.scaled) {
        DNNL_TRY(dnnl_primitive_attr_set_scales_mask(attributes, DNNL_ARG_WEIGHTS, BY_COLUMN));
    }
    if (!with.accumulate) return dnnl_success;
    dnnl_post_ops_t ops = NULL;
    DNNL_TRY(dnnl_post_ops_create(&ops));
    dnnl_status_t status = dnnl_post_ops_append_sum(ops, 1.0f, 0, dnnl_data_type_undef);
    if (status == dnnl_success) status = dnnl_primitive_attr_set_post_ops(attributes, ops);
    dnnl_post_ops_destroy(ops);
    return status;
}

static dnnl_status_t make_attributes(dnnl_primitive_attr_t *attributes, extras with) {
    DNNL_TRY(dnnl_primitive_attr_create(attributes));
    const dnnl_status_t status = fill_attributes(*attributes, with);
    if (status != dnnl_success) dnnl_primitive_attr_destroy(*attributes);
    return status;
}

static bool is_reference(const_dnnl_primitive_desc_t plan, const char **name) {
    return dnnl_primitive_desc_query(plan, dnnl_query_impl_info_str, 0, name) != dnnl_success ||
           strncmp(*name, "ref", 3) == 0;
}

/* dnnl_unimplemented also if there is only the reference implementation. */
static dnnl_status_t plan_product(dnnl_primitive_desc_t *plan,
                                  const dnnl_memory_desc_t operand[OPERANDS], extras with) {
    dnnl_primitive_attr_t attributes = NULL;
    *plan = NULL;
    DNNL_TRY(make_attributes(&attributes, with));
    const dnnl_status_t status = dnnl_matmul_primitive_desc_create(
        plan, engine, operand[SRC], operand[WEIGHTS], operand[BIAS], operand[DST], attributes);
    dnnl_primitive_attr_destroy(attributes);
    const char *name;
    if (status != dnnl_success || !is_reference(*plan, &name)) return status;
    dnnl_primitive_desc_destroy(*plan);
    return dnnl_unimplemented;
}

static dnnl_status_t plan_reorder(dnnl_primitive_desc_t *plan, const_dnnl_memory_desc_t from,
                                  const_dnnl_memory_desc_t to) {
    dnnl_primitive_attr_t attributes = NULL;
    DNNL_TRY(make_attributes(&attributes, (extras){0}));
    const dnnl_status_t status =
        dnnl_reorder_primitive_desc_create(plan, from, engine, to, engine, attributes);
    dnnl_primitive_attr_destroy(attributes);
    return status;
}

static const_dnnl_memory_desc_t scratchpad(const_dnnl_primitive_t primitive) {
    const_dnnl_primitive_desc_t plan = NULL;
    (void)dnnl_primitive_get_primitive_desc(primitive, &plan); /* fails for NULL only */
    return dnnl_primitive_desc_query_md(plan, dnnl_query_scratchpad_md, 0);
}

static void destroy_description(dnnl_memory_desc_t description) {
    if (description != NULL) dnnl_memory_desc_destroy(description);
}

/* ---------------------------------------------------------------- the packed layout */

static dnnl_status_t describe_probe(dnnl_memory_desc_t probe[OPERANDS], const vt_matmul_shape *s) {
    const dnnl_dims_t dims = {s->k, s->n};
    const types t = types_of(s);
    DNNL_TRY(describe(&probe[SRC], t.a, PROBE_ROWS, s->k, s->k, false));
    DNNL_TRY(describe(&probe[DST], t.c, PROBE_ROWS, s->n, s->n, false));
    return dnnl_memory_desc_create_with_tag(&probe[WEIGHTS], 2, dims, t.b, dnnl_format_tag_any);
}

static dnnl_status_t is_plain(bool *plain, const_dnnl_memory_desc_t layout,
                              const vt_matmul_shape *s) {
    *plain = false;
    for (int transposed = 0; transposed < 2 && !*plain; transposed++) {
        dnnl_memory_desc_t dense = NULL;
        DNNL_TRY(describe(&dense, types_of(s).b, s->k, s->n, transposed ? s->k : s->n, transposed));
        *plain = dnnl_memory_desc_equal(layout, dense) != 0;
        dnnl_memory_desc_destroy(dense);
    }
    return dnnl_success;
}

/* For kernels that like plain rows best (AVX2): rows of an odd number of cache lines, because rows
 * of a multiple of 1 KiB crowd into few cache sets (measured: 2.2 times slower at 3072 columns, a
 * tenth at 768), and columns are slower to read (5-35 %). Other rows are good as they are. That
 * 1 KiB is many holds on every such processor: a first-level cache of pages of 4 KiB has 64 sets of
 * 64 bytes, of which such rows reach four. */
static dnnl_status_t describe_spread_rows(dnnl_memory_desc_t *rows, const vt_matmul_shape *s) {
    enum { LINE = VT_ALIGN / sizeof(float), CROWDED = 1024 / sizeof(float) };
    if (!s->b_transposed && s->ldb % CROWDED != 0) return dnnl_unimplemented;
    return describe(rows, dnnl_f32, s->k, s->n, ((s->n + LINE - 1) / LINE | 1) * LINE, false);
}

static dnnl_status_t choose_layout(vt_onednn *o, const_dnnl_primitive_desc_t plan) {
    const_dnnl_memory_desc_t liked = dnnl_primitive_desc_query_md(plan, dnnl_query_weights_md, 0);
    bool plain;
    DNNL_TRY(is_plain(&plain, liked, &o->shape));
    plain = plain && o->shape.operands == VT_OPERANDS_REAL; /* the others are converted anyway */
    return plain ? describe_spread_rows(&o->packed_b, &o->shape)
                 : dnnl_memory_desc_clone(&o->packed_b, liked);
}

/* Asked of one product for all heights, so that these share a packed b. */
static dnnl_status_t find_packed_layout(vt_onednn *o) {
    dnnl_memory_desc_t probe[OPERANDS] = {NULL};
    dnnl_primitive_desc_t plan = NULL;
    dnnl_status_t status = describe_probe(probe, &o->shape);
    if (status == dnnl_success)
        status = plan_product(&plan, probe, (extras){false, is_scaled(&o->shape)});
    if (status == dnnl_success) {
        status = choose_layout(o, plan);
        dnnl_primitive_desc_destroy(plan);
    }
    for (int i = 0; i < OPERANDS; i++) destroy_description(probe[i]);
    return status;
}

static dnnl_status_t create_reorder(dnnl_primitive_t *reorder, const_dnnl_memory_desc_t from,
                                    const_dnnl_memory_desc_t to) {
    dnnl_primitive_desc_t plan = NULL;
    DNNL_TRY(plan_reorder(&plan, from, to));
    const dnnl_status_t status = dnnl_primitive_create(reorder, plan);
    dnnl_primitive_desc_destroy(plan);
    return status;
}

static void drop_reorder(vt_onednn *o) {
    if (o->reorder != NULL) dnnl_primitive_destroy(o->reorder);
    o->reorder = NULL;
}

/* ---------------------------------------------------------------- open and close */

static dnnl_status_t adopt(vt_onednn *o, const_dnnl_primitive_desc_t plan) {
    DNNL_TRY(dnnl_primitive_create(&o->product, plan));
    return dnnl_memory_desc_clone(&o->operand[SCRATCH], scratchpad(o->product));
}

static dnnl_status_t create_product(vt_onednn *o, dnnl_memory_desc_t b) {
    dnnl_primitive_desc_t plan = NULL;
    o->operand[WEIGHTS] = b;
    const extras with = {o->shape.accumulate, is_scaled(&o->shape)};
    DNNL_TRY(plan_product(&plan, o->operand, with));
    const dnnl_status_t status = adopt(o, plan);
    dnnl_primitive_desc_destroy(plan);
    return status;
}

static dnnl_status_t create_packed_product(vt_onednn *o) {
    DNNL_TRY(find_packed_layout(o));
    DNNL_TRY(create_reorder(&o->reorder, o->plain_b, o->packed_b));
    return create_product(o, o->packed_b);
}

static dnnl_status_t create(vt_onednn *o) {
    DNNL_TRY(describe_operands(o));
    if (o->shape.pack_b) {
        const dnnl_status_t status = create_packed_product(o);
        if (status != dnnl_unimplemented || o->shape.operands != VT_OPERANDS_REAL) return status;
        drop_reorder(o);
    }
    return create_product(o, o->plain_b);
}

static dnnl_status_t create_calmly(vt_onednn *o) {
    vt_calm_begin(); /* oneDNN sees a thread limit of one */
    const dnnl_status_t status = create(o);
    vt_calm_end();
    return status;
}

/* Room for two Python threads that each fill all processors; more of them still work. */
static vt_status allocate(vt_onednn **onednn, const vt_matmul_shape *shape, vt_error *error) {
    static unsigned calls;
    if (calls == 0) calls = 2 * (unsigned)vt_default_threads();
    void *block, *array;
    VT_TRY(vt_alloc(&block, sizeof(vt_onednn), error));
    const vt_status status = vt_alloc_array(&array, calls, sizeof(call), error);
    if (status != VT_OK) {
        vt_free(block);
        return status;
    }
    *onednn = block;
    **onednn = (vt_onednn){.shape = *shape, .calls = calls, .call = array};
    return VT_OK;
}

static void destroy_call(call *c) {
    if (c->stream != NULL) dnnl_stream_destroy(c->stream);
    for (int i = 0; i < OPERANDS; i++) {
        if (c->memory[i] != NULL) dnnl_memory_destroy(c->memory[i]);
    }
}

static void destroy(vt_onednn *o) {
    for (unsigned i = 0; i < o->calls; i++) destroy_call(&o->call[i]);
    vt_free(o->call);
    if (o->product != NULL) dnnl_primitive_destroy(o->product);
    drop_reorder(o);
    o->operand[WEIGHTS] = NULL; /* borrowed */
    for (int i = 0; i < OPERANDS; i++) destroy_description(o->operand[i]);
    destroy_description(o->plain_b);
    destroy_description(o->packed_b);
    vt_free(o);
}

static void close_product(vt_matmul *matmul) { destroy(matmul->onednn); }

static const char *implementation(const vt_onednn *o) {
    const char *name = "oneDNN";
    const_dnnl_primitive_desc_t plan = NULL;
    (void)dnnl_primitive_get_primitive_desc(o->product, &plan);
    (void)is_reference(plan, &name);
    return name;
}

/* ---------------------------------------------------------------- run */

/* What an empty scratchpad points to: nothing reads or writes it, but oneDNN wants an address. */
static _Alignas(VT_ALIGN) unsigned char nothing[VT_ALIGN];

static dnnl_status_t fill_call(call *c, const dnnl_memory_desc_t operand[OPERANDS]) {
    for (int i = 0; i < OPERANDS; i++) {
        if (operand[i] != NULL && c->memory[i] == NULL) {
            DNNL_TRY(dnnl_memory_create(&c->memory[i], operand[i], engine, DNNL_MEMORY_NONE));
        }
    }
    return c->stream != NULL ? dnnl_success
                             : dnnl_stream_create(&c->stream, engine, dnnl_stream_default_flags);
}

static dnnl_status_t execute(call *c, const_dnnl_primitive_t primitive, const int names[OPERANDS],
                             void *const data[OPERANDS]) {
    dnnl_exec_arg_t given[OPERANDS];
    int count = 0;
    for (int i = 0; i < OPERANDS; i++) {
        if (c->memory[i] == NULL) continue;
        DNNL_TRY(dnnl_memory_set_data_handle(c->memory[i], data[i]));
        given[count++] = (dnnl_exec_arg_t){names[i], c->memory[i]};
    }
    DNNL_TRY(dnnl_primitive_execute(primitive, c->stream, count, given));
    return dnnl_stream_wait(c->stream);
}

/* Threads start their search for a free call at different slots. */
static unsigned thread_number(void) {
    static atomic_uint threads;
    static _Thread_local unsigned number; /* from 1 */
    if (number == 0) number = atomic_fetch_add(&threads, 1) + 1;
    return number;
}

static call *claim_call(const vt_onednn *o) {
    const unsigned start_at = thread_number();
    const int mine = 1 + vt_forks();
    for (unsigned i = 0; i < o->calls; i++) {
        call *c = &o->call[(start_at + i) % o->calls];
        if (atomic_exchange_explicit(&c->busy, mine, memory_order_acquire) != mine) return c;
    }
    return NULL;
}

static vt_status run_product(const vt_matmul *matmul, void *c, const void *a, const void *b,
                             const void *bias, void *scratch, vt_error *error) {
    const vt_onednn *o = matmul->onednn;
    const float *numbers = bias;
    if (is_scaled(&o->shape)) numbers += o->shape.n; /* behind the scales */
    void *const data[OPERANDS] = {[SRC] = (void *)(uintptr_t)a,
                                  [WEIGHTS] = (void *)(uintptr_t)b,
                                  [BIAS] = (void *)(uintptr_t)numbers,
                                  [DST] = c,
                                  [SCRATCH] = matmul->scratch_bytes == 0 ? nothing : scratch,
                                  [SCALES] = (void *)(uintptr_t)bias};
    call spare = {0}; /* for the case that more threads run this product than there are calls */
    call *claimed = claim_call(o);
    call *used = claimed != NULL ? claimed : &spare;
    dnnl_status_t status = fill_call(used, o->operand);
    if (status == dnnl_success) status = execute(used, o->product, argument, data);
    if (claimed != NULL) {
        atomic_store_explicit(&claimed->busy, 0, memory_order_release);
    } else {
        destroy_call(&spare);
    }
    return status == dnnl_success ? VT_OK : fail(&o->shape, "compute", status, error);
}

/* A matrix from one layout into another. */
typedef struct move {
    dnnl_primitive_t reorder;
    dnnl_memory_desc_t from, to;
    const void *source;
    void *target;
} move;

static dnnl_status_t run_reorder(const move *m, dnnl_memory_desc_t scratchpad_layout,
                                 void *scratch) {
    enum { FROM = SRC, TO = DST };
    static const int names[OPERANDS] = {
        [FROM] = DNNL_ARG_FROM, [TO] = DNNL_ARG_TO, [SCRATCH] = DNNL_ARG_SCRATCHPAD};
    const dnnl_memory_desc_t operand[OPERANDS] = {
        [FROM] = m->from, [TO] = m->to, [SCRATCH] = scratchpad_layout};
    void *const data[OPERANDS] = {
        [FROM] = (void *)(uintptr_t)m->source, [TO] = m->target, [SCRATCH] = scratch};
    call once = {0};
    dnnl_status_t status = fill_call(&once, operand);
    if (status == dnnl_success) status = execute(&once, m->reorder, names, data);
    destroy_call(&once);
    return status;
}

static vt_status move_b(const vt_onednn *o, const move *m, const char *deed, vt_error *error) {
    dnnl_memory_desc_t layout = (dnnl_memory_desc_t)(uintptr_t)scratchpad(m->reorder);
    const size_t bytes = dnnl_memory_desc_get_size(layout);
    void *scratch = NULL; /* the float reorders of today need none */
    if (bytes != 0) VT_TRY(vt_alloc(&scratch, bytes, error));
    const dnnl_status_t status = run_reorder(m, layout, bytes == 0 ? nothing : scratch);
    vt_free(scratch);
    return status == dnnl_success ? VT_OK : fail(&o->shape, deed, status, error);
}

static vt_status pack_b(const vt_matmul *matmul, void *packed, const void *b, vt_error *error) {
    const vt_onednn *o = matmul->onednn;
    const move m = {o->reorder, o->plain_b, o->packed_b, b, packed};
    return move_b(o, &m, "pack b of", error);
}

/* The way back is seldom gone: it is made for once, though the library keeps its code. */
static vt_status unpack_calmly(const vt_onednn *o, void *b, const void *packed, vt_error *error) {
    move m = {NULL, o->packed_b, o->plain_b, packed, b};
    const dnnl_status_t made = create_reorder(&m.reorder, m.from, m.to);
    if (made != dnnl_success) return fail(&o->shape, "unpack b of", made, error);
    const vt_status status = move_b(o, &m, "unpack b of", error);
    dnnl_primitive_destroy(m.reorder);
    return status;
}

static vt_status unpack_b(const vt_matmul *matmul, void *b, const void *packed, vt_error *error) {
    VT_TRY(vt_memory_room(VT_WORK_SPACE, error));
    vt_calm_begin();
    const vt_status status = unpack_calmly(matmul->onednn, b, packed, error);
    vt_calm_end();
    return status;
}

/* ---------------------------------------------------------------- take over */

static void take_over(vt_matmul *matmul, vt_onednn *o) {
    matmul->onednn = o;
    matmul->implementation = implementation(o);
    /* "gemm:jit" for AVX2 sums up the last two or three rows of m % 6, and one row alone, in
     * another order. Sums of int8 are exact. */
    const bool exact = o->shape.operands == VT_OPERANDS_INT8 || is_scaled(&o->shape);
    matmul->rows_unlike = !exact && strncmp(matmul->implementation, "brg:", 4) != 0;
    matmul->scratch_bytes = vt_align(dnnl_memory_desc_get_size(o->operand[SCRATCH]));
    if (o->reorder != NULL) {
        matmul->packed_bytes = vt_align(dnnl_memory_desc_get_size(o->packed_b));
    }
}

/* Exactly and fast: oneDNN multiplies int8 without VNNI too, on an instruction that saturates. */
static bool multiplies(vt_operands operands) {
    enum { HAS_VNNI = 0x40, HAS_BF16 = 0x80 }; /* bits of dnnl_cpu_isa_t */
    static const int needed[VT_OPERANDS_COUNT] = {0, HAS_BF16, HAS_VNNI, HAS_VNNI};
    if (operands == VT_OPERANDS_REAL) return true;
    vt_error error; /* why it does not start is reported when a product is opened */
    return start(&error) == VT_OK && ((int)dnnl_get_effective_cpu_isa() & needed[operands]) != 0;
}

static bool takes(const vt_matmul_shape *shape) {
    return shape->dtype == VT_F32 && vt_isa_selected() != VT_ISA_REF && multiplies(shape->operands);
}

static vt_status open(vt_matmul *matmul, bool *opened, vt_error *error) {
    VT_TRY(vt_memory_room(VT_WORK_SPACE, error));
    VT_TRY(start(error));
    vt_onednn *o = NULL;
    VT_TRY(allocate(&o, &matmul->shape, error));
    const dnnl_status_t status = create_calmly(o);
    if (status == dnnl_success) {
        take_over(matmul, o);
        *opened = true;
        return VT_OK;
    }
    destroy(o);
    return status == dnnl_unimplemented ? VT_OK : fail(&matmul->shape, "create", status, error);
}

const vt_engine vt_engine_onednn = {.takes = takes,
                                    .open = open,
                                    .run = run_product,
                                    .pack = pack_b,
                                    .unpack = unpack_b,
                                    .close = close_product};

#else /* a build without oneDNN */

static bool takes(const vt_matmul_shape *shape) {
    (void)shape;
    return false;
}

const vt_engine vt_engine_onednn = {.takes = takes};

const char *vt_onednn_version(void) { return "none"; }

#endif
