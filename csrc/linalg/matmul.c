/* The handles: a cache by shape in front of the two implementations. */
#include "linalg/matmul.h"

#include <pthread.h>
#include <stdio.h>

#include "base/cpu.h"
#include "base/lock.h"
#include "base/memory.h"
#include "linalg/product.h"

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

const char *vt_matmul_text(char text[VT_SHAPE_TEXT], const vt_matmul_shape *s) {
    static const char *const small[VT_OPERANDS_COUNT] = {NULL, "bfloat16", "int8"};
    const char *name =
        s->operands == VT_OPERANDS_REAL ? vt_dtype_name(s->dtype) : small[s->operands];
    snprintf(text, VT_SHAPE_TEXT, "%s a (%lld, %lld) times b (%lld, %lld)%s%s%s%s", name,
             (long long)s->m, (long long)s->k, (long long)s->k, (long long)s->n,
             s->a_transposed ? ", a stored transposed" : "",
             s->b_transposed ? ", b stored transposed" : "", s->bias ? ", with bias" : "",
             s->accumulate ? ", added to c" : "");
    return text;
}

static vt_status check_leading(const char *name, int64_t leading, int64_t row, vt_error *error) {
    if (leading >= row) return VT_OK;
    return vt_fail(error, VT_VALUE,
                   "leading dimension of %s is %lld, expected at least its row length %lld", name,
                   (long long)leading, (long long)row);
}

static vt_status check_shape(const vt_matmul_shape *s, vt_error *error) {
    if (s->dtype < 0 || s->dtype >= VT_REAL_COUNT) {
        return vt_fail(error, VT_VALUE, "dtype %d of a matrix product is unknown", (int)s->dtype);
    }
    if (s->m < 1 || s->n < 1 || s->k < 1) {
        return vt_fail(error, VT_VALUE,
                       "sizes of a matrix product are m=%lld n=%lld k=%lld, expected at least 1",
                       (long long)s->m, (long long)s->n, (long long)s->k);
    }
    const bool real = s->operands == VT_OPERANDS_REAL;
    if (s->operands < 0 || s->operands >= VT_OPERANDS_COUNT || (!real && s->dtype != VT_F32)) {
        return vt_fail(error, VT_VALUE, "operands %d of a %s matrix product are unknown",
                       (int)s->operands, vt_dtype_name(s->dtype));
    }
    if (s->operands == VT_OPERANDS_INT8 && (s->bias || s->accumulate)) {
        return vt_fail(error, VT_VALUE, "an int8 matrix product has neither bias nor accumulation");
    }
    VT_TRY(check_leading("a", s->lda, s->a_transposed ? s->m : s->k, error));
    VT_TRY(check_leading("b", s->ldb, s->b_transposed ? s->k : s->n, error));
    return check_leading("c", s->ldc, s->n, error);
}

static bool same_shape(const vt_matmul_shape *x, const vt_matmul_shape *y) {
    return x->dtype == y->dtype && x->operands == y->operands && x->m == y->m && x->n == y->n &&
           x->k == y->k && x->lda == y->lda && x->ldb == y->ldb && x->ldc == y->ldc &&
           x->a_transposed == y->a_transposed && x->b_transposed == y->b_transposed &&
           x->bias == y->bias && x->accumulate == y->accumulate && x->pack_b == y->pack_b;
}

static void destroy(vt_matmul *matmul) {
    if (matmul->close != NULL) matmul->close(matmul);
    vt_free(matmul);
}

/* Let something faster than plain C have the product. */
static vt_status take_over(vt_matmul *matmul, vt_error *error) {
    if (matmul->shape.dtype != VT_F32 || vt_isa_selected() == VT_ISA_REF) return VT_OK;
    if (vt_onednn_multiplies(matmul->shape.operands)) return vt_onednn_open(matmul, error);
    if (matmul->shape.operands == VT_OPERANDS_INT8 && vt_isa_best() >= VT_ISA_AVX2) {
        vt_int8_avx2_open(matmul);
    }
    return VT_OK;
}

static vt_status create(vt_matmul **matmul, const vt_matmul_shape *shape, vt_error *error) {
    void *block;
    VT_TRY(vt_alloc(&block, sizeof(vt_matmul), error));
    vt_matmul *made = block;
    *made = (vt_matmul){.shape = *shape,
                        .implementation = "plain",
                        .scratch_bytes = (size_t)shape->k * VT_PLAIN_PANEL,
                        .run = shape->dtype == VT_F32 ? vt_plain_run_f32 : vt_plain_run_f64};
    if (shape->operands != VT_OPERANDS_REAL) vt_small_open(made);
    const vt_status status = take_over(made, error);
    if (status == VT_OK) {
        *matmul = made;
    } else {
        destroy(made);
    }
    return status;
}

/* Take the handle of this shape out of the list; NULL if there is none. */
static vt_matmul *take_cached(const vt_matmul_shape *shape) {
    for (vt_matmul **link = &cache; *link != NULL; link = &(*link)->next) {
        vt_matmul *matmul = *link;
        if (same_shape(&matmul->shape, shape)) {
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
    VT_TRY(check_shape(shape, error));
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

const char *vt_matmul_implementation(const vt_matmul *matmul) { return matmul->implementation; }

bool vt_matmul_rows_alike(const vt_matmul *matmul) { return !matmul->rows_unlike; }

void *vt_matmul_c_row(const vt_matmul *matmul, void *c, int64_t row) {
    const bool int32 = matmul->shape.operands == VT_OPERANDS_INT8;
    const size_t element = int32 ? sizeof(int32_t) : vt_dtype_size(matmul->shape.dtype);
    return (char *)c + (size_t)(row * matmul->shape.ldc) * element;
}

const void *vt_matmul_a_row(const vt_matmul *matmul, const void *a, int64_t row) {
    const vt_matmul_shape *s = &matmul->shape;
    const size_t element[VT_OPERANDS_COUNT] = {vt_dtype_size(s->dtype), sizeof(uint16_t), 1};
    return (const char *)a + (size_t)(row * (s->a_transposed ? 1 : s->lda)) * element[s->operands];
}

bool vt_matmul_has_bf16(void) {
    if (vt_isa_selected() == VT_ISA_REF) return false;
    vt_lock_alone(&lock);
    const bool has = vt_onednn_multiplies(VT_OPERANDS_BF16);
    vt_unlock(&lock);
    return has;
}

const char *vt_linalg_version(void) { return vt_onednn_version(); }

vt_status vt_matmul_pack(const vt_matmul *matmul, void *packed, const void *b, vt_error *error) {
    if (matmul->packed_bytes == 0) {
        return vt_fail(error, VT_INTERNAL, "this matrix product has no packed layout");
    }
    return matmul->pack(matmul, packed, b, error);
}

vt_status vt_matmul_run(const vt_matmul *matmul, void *c, const void *a, const void *b,
                        const void *bias, void *scratch, vt_error *error) {
    return matmul->run(matmul, c, a, b, bias, scratch, error);
}
