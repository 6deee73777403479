/* The handles: a cache by shape in front of the engines. */
#include "linalg/matmul.h"

#include <pthread.h>

#include "base/lock.h"
#include "base/memory.h"
#include "linalg/engine.h"
#include "vitc.h"

/* In order of preference. The plain ones take whatever is left. */
static const vt_engine *const engines[] = {
    &vt_engine_panels, &vt_engine_onednn, &vt_engine_int8_avx2, &vt_engine_int8,
    &vt_engine_bf16,   &vt_engine_f32,    &vt_engine_f64,       NULL};

enum { CLOSED_KEPT = 256 }; /* handles without a user that the cache keeps */

static vt_lock lock = VT_LOCK_OPEN; /* alone for the two below and for opening */
static vt_matmul *cache;
static int64_t cache_size;

/* A fork waits until nobody opens a product: the child could not go on in the midst of oneDNN. */
static void hold(void) { vt_lock_alone(&lock); }
static void leave(void) { vt_unlock(&lock); }
static void open_in_child(void) { lock = (vt_lock)VT_LOCK_OPEN; }

__attribute__((constructor)) static void watch_for_forks(void) {
    pthread_atfork(hold, leave, open_in_child);
}

static void destroy(vt_matmul *matmul) {
    if (matmul->engine->close != NULL) matmul->engine->close(matmul);
    vt_free(matmul);
}

/* The first engine that takes the shape and does not decline it has it. */
static vt_status open_engine(vt_matmul *matmul, vt_error *error) {
    bool opened = false;
    for (const vt_engine *const *e = engines; !opened && *e != NULL; e++) {
        if (!(*e)->takes(&matmul->shape)) continue;
        matmul->engine = *e;
        VT_TRY((*e)->open(matmul, &opened, error));
    }
    if (opened) return VT_OK;
    char text[VT_SHAPE_TEXT];
    return vt_fail(error, VT_INTERNAL, "nothing multiplies %s",
                   vt_matmul_text(text, &matmul->shape));
}

static vt_status create(vt_matmul **matmul, const vt_matmul_shape *shape, vt_error *error) {
    void *block;
    VT_TRY(vt_alloc(&block, sizeof(vt_matmul), error));
    vt_matmul *made = block;
    *made = (vt_matmul){.shape = *shape, .implementation = "plain"};
    const vt_status status = open_engine(made, error);
    if (status == VT_OK) {
        *matmul = made;
    } else {
        vt_free(made);
    }
    return status;
}

/* Take the handle of this shape out of the list; NULL if there is none. */
static vt_matmul *take_cached(const vt_matmul_shape *shape) {
    for (vt_matmul **link = &cache; *link != NULL; link = &(*link)->next) {
        vt_matmul *matmul = *link;
        if (vt_matmul_same(&matmul->shape, shape)) {
            *link = matmul->next;
            cache_size--;
            return matmul;
        }
    }
    return NULL;
}

static void put_first(vt_matmul *matmul) {
    matmul->next = cache;
    cache = matmul;
    cache_size++;
}

/* Destroy the closed handles behind the CLOSED_KEPT last used ones. */
static void trim_cache(void) {
    int64_t closed = 0;
    for (vt_matmul **link = &cache; *link != NULL;) {
        vt_matmul *matmul = *link;
        if (matmul->users == 0 && ++closed > CLOSED_KEPT) {
            *link = matmul->next;
            cache_size--;
            destroy(matmul);
        } else {
            link = &matmul->next;
        }
    }
}

vt_status vt_matmul_open(vt_matmul **matmul, const vt_matmul_shape *shape, vt_error *error) {
    *matmul = NULL;
    VT_TRY(vt_matmul_check(shape, error));
    vt_lock_alone(&lock);
    vt_matmul *found = take_cached(shape);
    const vt_status status = found == NULL ? create(&found, shape, error) : VT_OK;
    if (status == VT_OK) {
        found->users++;
        put_first(found);
    }
    vt_unlock(&lock);
    *matmul = found;
    return status;
}

void vt_matmul_close(vt_matmul *matmul) {
    if (matmul == NULL) return;
    vt_lock_alone(&lock);
    if (--matmul->users == 0) trim_cache();
    vt_unlock(&lock);
}

int64_t vt_matmul_cache_size(void) {
    vt_lock_alone(&lock);
    const int64_t size = cache_size;
    vt_unlock(&lock);
    return size;
}

size_t vt_matmul_scratch_bytes(const vt_matmul *matmul) { return matmul->scratch_bytes; }

size_t vt_matmul_packed_bytes(const vt_matmul *matmul) { return matmul->packed_bytes; }

const void *vt_matmul_packer(const vt_matmul *matmul) { return matmul->engine; }

const char *vt_matmul_implementation(const vt_matmul *matmul) { return matmul->implementation; }

bool vt_matmul_rows_alike(const vt_matmul *matmul) { return !matmul->rows_unlike; }

void *vt_matmul_c_row(const vt_matmul *matmul, void *c, int64_t row) {
    const bool int32 = matmul->shape.operands == VT_OPERANDS_INT8;
    const size_t element = int32 ? sizeof(int32_t) : vt_dtype_size(matmul->shape.dtype);
    return (char *)c + (size_t)(row * matmul->shape.ldc) * element;
}

const void *vt_matmul_a_row(const vt_matmul *matmul, const void *a, int64_t row) {
    const vt_matmul_shape *s = &matmul->shape;
    const size_t element[VT_OPERANDS_COUNT] = {vt_dtype_size(s->dtype), sizeof(uint16_t), 1, 1};
    return (const char *)a + (size_t)(row * (s->a_transposed ? 1 : s->lda)) * element[s->operands];
}

bool vt_matmul_has_bf16(void) {
    const vt_matmul_shape shape = {.dtype = VT_F32, .operands = VT_OPERANDS_BF16};
    const vt_engine *const *e = engines;
    vt_lock_alone(&lock);
    while (!(*e)->takes(&shape)) e++;
    vt_unlock(&lock);
    return !(*e)->plain;
}

const char *vt_linalg_version(void) { return vt_onednn_version(); }

vt_status vt_matmul_pack(const vt_matmul *matmul, void *packed, const void *b, vt_error *error) {
    if (matmul->packed_bytes == 0) {
        return vt_fail(error, VT_INTERNAL, "this matrix product has no packed layout");
    }
    return matmul->engine->pack(matmul, packed, b, error);
}

vt_status vt_matmul_unpack(const vt_matmul *matmul, void *b, const void *packed, vt_error *error) {
    if (matmul->packed_bytes == 0 || matmul->engine->unpack == NULL) {
        return vt_fail(error, VT_VALUE, "this matrix product does not unpack");
    }
    vt_lock_alone(&lock);
    const vt_status status = matmul->engine->unpack(matmul, b, packed, error);
    vt_unlock(&lock);
    return status;
}

vt_matmul *vt_matmul_share(vt_matmul *matmul) {
    vt_lock_alone(&lock);
    matmul->users++;
    vt_unlock(&lock);
    return matmul;
}

int64_t vt_matmul_columns(const vt_matmul *matmul) {
    const bool packed = matmul->packed_bytes != 0;
    return packed && matmul->engine->run_columns != NULL ? VT_PANEL_COLUMNS : 0;
}

vt_status vt_matmul_run_columns(const vt_matmul *matmul, int64_t first, int64_t count, int64_t then,
                                void *c, const void *a, const void *b, const void *bias,
                                void *scratch, vt_error *error) {
    return matmul->engine->run_columns(matmul, first, count, then, c, a, b, bias, scratch, error);
}

vt_status vt_matmul_run(const vt_matmul *matmul, void *c, const void *a, const void *b,
                        const void *bias, void *scratch, vt_error *error) {
    return matmul->engine->run(matmul, c, a, b, bias, scratch, error);
}
