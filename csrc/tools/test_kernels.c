/* Every arithmetic kernel as data: at each level the CPU has, the float one is compared with the
 * double one and with the plain float one, on odd sizes and unaligned arrays, in place, with base
 * NULL, dx or another, between guards; the bits are the same wherever a row or an element stands;
 * NaN is where double has NaN. What is special to one kernel is in test_kernel_values.c.
 *
 * No arguments; exits with 1 if a check failed. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "base/cpu.h"
#include "kernels/kernels.h"
#include "tools/check.h"
#include "tools/numbers.h"
#include "tools/slots.h"

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#else
#define ASAN_POISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#define ASAN_UNPOISON_MEMORY_REGION(start, bytes) ((void)(start), (void)(bytes))
#endif

/* ---------------------------------------------------------------- arrays with guards */

enum { GUARD = 64, GUARD_BYTE = 0xA5, MEMORY = 1 << 24, ARRAYS = 32 };

static _Alignas(64) unsigned char memory[MEMORY];
static size_t memory_used;
static struct {
    unsigned char *start;
    size_t bytes;
} arrays[ARRAYS];
static int array_count;

static void start_arrays(void) {
    ASAN_UNPOISON_MEMORY_REGION(memory, sizeof memory);
    memory_used = 0;
    array_count = 0;
}

/* An array that starts `offset` elements behind a multiple of 64 bytes, between two guards. */
static void *new_array(vt_dtype dtype, int64_t elements, int offset) {
    const size_t size = vt_dtype_size(dtype), bytes = (size_t)elements * size;
    unsigned char *start = memory + memory_used + GUARD + (size_t)offset * size;
    const size_t whole = (2 * GUARD + (size_t)offset * size + bytes + 63) & ~(size_t)63;
    memset(memory + memory_used, GUARD_BYTE, whole);
    memory_used += whole;
    arrays[array_count].start = start;
    arrays[array_count++].bytes = bytes;
    ASAN_POISON_MEMORY_REGION(start + bytes, (size_t)(memory + memory_used - start) - bytes);
    return start;
}

static bool guards_intact(void) {
    ASAN_UNPOISON_MEMORY_REGION(memory, sizeof memory);
    for (int a = 0; a < array_count; a++) {
        for (size_t i = 1; i <= GUARD; i++) {
            if (*(arrays[a].start - i) != GUARD_BYTE) return false;
            if (arrays[a].start[arrays[a].bytes + i - 1] != GUARD_BYTE) return false;
        }
    }
    return true;
}

/* ---------------------------------------------------------------- building calls */

enum { BASE_OTHER, BASE_NULL, BASE_OUTPUT, BASES };

/* How a call is laid out. */
typedef struct layout {
    int64_t rows, cols;
    int offset; /* elements from alignment, for every array another one */
    bool in_place;
    int base;
    uint64_t seed;
} layout;

static int64_t leading(const spec *s, const layout *l) {
    return s->strided ? l->cols + 3 : l->cols;
}

static int64_t elements(const char *array, const layout *l, int64_t ld) {
    return array[0] == 'v' ? l->cols : (l->rows - 1) * ld + l->cols;
}

static void *new_filled(vt_dtype dtype, const char *array, const layout *l, int64_t ld,
                        int number) {
    const int64_t n = elements(array, l, ld);
    void *p = new_array(dtype, n, l->offset == 0 ? 0 : (l->offset + 3 * number) % 16);
    for (int64_t i = 0; i < n; i++) set(p, dtype, i, array[1] == '-' ? 777 : draw(array[1]));
    return p;
}

/* The same numbers in any dtype, for the same layout. */
static call new_call(const spec *s, const layout *l, vt_dtype dtype) {
    call c = {.rows = l->rows, .cols = l->cols, .ld = leading(s, l)};
    random_state = l->seed;
    for (int i = 0; i < INPUTS && s->in[i] != NULL; i++) {
        c.in[i] = new_filled(dtype, s->in[i], l, c.ld, i);
    }
    for (int i = 0; i < OUTPUTS && s->out[i] != NULL; i++) {
        c.out[i] = new_filled(dtype, s->out[i], l, c.ld, INPUTS + i);
    }
    if (l->in_place) c.out[0] = c.in[s->alias];
    if (s->base && l->base == BASE_NULL) c.in[0] = NULL;
    if (s->base && l->base == BASE_OUTPUT) c.out[0] = c.in[0];
    return c;
}

/* Relative L2 distance of two outputs of `rows` rows, `ld` apart. */
static double distance(const void *a, vt_dtype a_type, const void *b, vt_dtype b_type, int64_t rows,
                       int64_t cols, int64_t ld) {
    double difference = 0, size = 0;
    for (int64_t i = 0; i < rows * cols; i++) {
        const int64_t at = i / cols * ld + i % cols;
        const double x = get(a, a_type, at), y = get(b, b_type, at);
        difference += (x - y) * (x - y);
        size += y * y;
    }
    return sqrt(difference) / (sqrt(size) + DBL_MIN);
}

/* What lies between the rows is as it was, the same numbers for both. */
static bool gaps_intact(const void *a, vt_dtype a_type, const void *b, vt_dtype b_type,
                        int64_t rows, int64_t cols, int64_t ld) {
    for (int64_t at = 0; at < (rows - 1) * ld; at++) {
        if (at % ld >= cols && get(a, a_type, at) != get(b, b_type, at)) return false;
    }
    return true;
}

static double worst[VT_ISA_COUNT][SPECS]; /* distance seen, per level and spec */

/* One kernel in float against the same call by `other`. */
static void compare(const spec *s, const layout *l, vt_isa isa, const vt_kernels *other,
                    double factor) {
    start_arrays();
    call a = new_call(s, l, VT_F32), b = new_call(s, l, other->dtype);
    s->run(vt_kernels_level(VT_F32, (int)isa), &a);
    s->run(other, &b);
    vt_check(guards_intact(), "%s %s wrote outside of an array", vt_isa_name(isa), s->name);
    const double difference = fabs(a.result - b.result) / (fabs(b.result) + DBL_MIN);
    vt_check(difference <= s->tolerance * factor, "%s %s returned %.9g, expected %.9g",
             vt_isa_name(isa), s->name, a.result, b.result);
    for (int i = 0; i < OUTPUTS && s->out[i] != NULL; i++) {
        const int64_t rows = s->out[i][0] == 'm' ? l->rows : 1;
        const double d = distance(a.out[i], VT_F32, b.out[i], other->dtype, rows, l->cols, a.ld);
        if (other->dtype == VT_F64) worst[isa][s - specs] = fmax(worst[isa][s - specs], d);
        vt_check(d <= s->tolerance * factor,
                 "%s %s output %d: %.2e (%lld x %lld, offset %d, in place %d, base %d)",
                 vt_isa_name(isa), s->name, i, d, (long long)l->rows, (long long)l->cols, l->offset,
                 l->in_place, l->base);
        vt_check(gaps_intact(a.out[i], VT_F32, b.out[i], other->dtype, rows, l->cols, a.ld),
                 "%s %s wrote between the rows", vt_isa_name(isa), s->name);
    }
}

static bool layout_makes_sense(const spec *s, const layout *l) {
    if (s->one_row && l->rows > 1) return false;
    if (l->in_place && s->alias < 0) return false;
    if (l->base != BASE_OTHER && !s->base) return false;
    return !(l->in_place && l->base == BASE_OUTPUT);
}

/* ---------------------------------------------------------------- groups: float against others */

static const int64_t all_cols[] = {1, 2, 7, 8, 15, 16, 17, 63, 192, 197, 768};
static const int64_t all_rows[] = {1, 2, 50};

/* The gradient of one or two normalised columns is 0 but for eps: without a base there is nothing
 * to be relative to, and with one, roundings times 1 / sqrt(eps) remain. */
static bool vanishes(const spec *s, const layout *l) {
    if (strcmp(s->name, "rms_norm_backward") == 0) return l->cols == 1;
    return l->cols <= 2 && strcmp(s->name, "norm_backward") == 0;
}

static void compare_layouts(const spec *s, vt_isa isa, int64_t rows, int64_t cols) {
    for (int variant = 0; variant < 2 * 2 * BASES; variant++) {
        const layout l = {rows,
                          cols,
                          variant % 2 * (int)(1 + cols % 15),
                          variant / 2 % 2,
                          variant / 4,
                          (uint64_t)(rows * 1000 + cols)};
        if (!layout_makes_sense(s, &l) || (vanishes(s, &l) && l.base == BASE_NULL)) continue;
        const double factor = vanishes(s, &l) ? 100 : 1;
        compare(s, &l, isa, vt_kernels_level(VT_F64, VT_ISA_REF), factor);
        compare(s, &l, isa, vt_kernels_level(VT_F32, VT_ISA_REF), 2 * factor);
    }
}

static void compare_spec(const spec *s, vt_isa isa) {
    for (size_t r = 0; r < sizeof all_rows / sizeof *all_rows; r++) {
        for (size_t c = 0; c < sizeof all_cols / sizeof *all_cols; c++) {
            compare_layouts(s, isa, all_rows[r], all_cols[c]);
        }
    }
}

/* Copy row r of every matrix of `whole` into the call of one row. */
static void take_row(const spec *s, const call *whole, call *one, int64_t r, int64_t cols) {
    const size_t row = (size_t)(r * whole->ld) * sizeof(float),
                 bytes = (size_t)cols * sizeof(float);
    for (int i = 0; i < INPUTS && s->in[i] != NULL; i++) {
        const size_t from = s->in[i][0] == 'm' ? row : 0;
        memcpy(one->in[i], (const char *)whole->in[i] + from, bytes);
    }
    for (int i = 0; i < OUTPUTS && s->out[i] != NULL; i++) {
        const size_t from = s->out[i][0] == 'm' ? row : 0;
        memcpy(one->out[i], (const char *)whole->out[i] + from, bytes);
    }
}

static bool same_rows(const spec *s, const call *whole, const call *one, int64_t r, int64_t cols) {
    for (int i = 0; i < OUTPUTS && s->out[i] != NULL; i++) {
        if (s->out[i][0] != 'm') continue;
        const float *row = (const float *)whole->out[i] + r * whole->ld;
        if (memcmp(row, one->out[i], (size_t)cols * sizeof(float)) != 0) return false;
    }
    return true;
}

/* A row among others and the same row alone, elsewhere: the same bits. For elementwise kernels a
 * call on (rows, cols) is one on rows * cols elements, so this moves elements between the lanes. */
static void check_rows_alone(const spec *s, vt_isa isa, int64_t rows, int64_t cols) {
    const vt_kernels *k = vt_kernels_level(VT_F32, (int)isa);
    for (int64_t r = 0; r < rows; r++) {
        start_arrays();
        const layout many = {rows, cols, 0, false, BASE_OTHER, 9};
        const layout single = {1, cols, 1 + (int)r % 15, false, BASE_OTHER, 8};
        call whole = new_call(s, &many, VT_F32), one = new_call(s, &single, VT_F32);
        take_row(s, &whole, &one, r, cols);
        s->run(k, &whole);
        s->run(k, &one);
        vt_check(same_rows(s, &whole, &one, r, cols),
                 "%s %s: row %lld of %lld x %lld alone differs", vt_isa_name(isa), s->name,
                 (long long)r, (long long)rows, (long long)cols);
    }
}

static void check_spec_alone(const spec *s, vt_isa isa) {
    static const int64_t cols[] = {1, 3, 17, 63, 197};
    const bool by_offset = strcmp(s->name, "dropout") == 0 || s->one_row;
    const bool depends = by_offset || s->mixes_rows; /* on where it stands */
    for (size_t c = 0; !depends && c < sizeof cols / sizeof *cols; c++) {
        check_rows_alone(s, isa, 19, cols[c]);
    }
}

/* A NaN in one input, in front and at the end, is NaN where the double kernel has one. */
static void check_nan(const spec *s, vt_isa isa, int input, bool at_end) {
    start_arrays();
    const layout l = {1, 37, 1, false, BASE_OTHER, 3};
    call a = new_call(s, &l, VT_F32), b = new_call(s, &l, VT_F64);
    void **pa = input < INPUTS ? &a.in[input] : &a.out[input - INPUTS];
    void **pb = input < INPUTS ? &b.in[input] : &b.out[input - INPUTS];
    set(*pa, VT_F32, at_end ? l.cols - 1 : 0, NAN);
    set(*pb, VT_F64, at_end ? l.cols - 1 : 0, NAN);
    s->run(vt_kernels_level(VT_F32, (int)isa), &a);
    s->run(vt_kernels_level(VT_F64, VT_ISA_REF), &b);
    bool same = !isnan(a.result) == !isnan(b.result), any = isnan(b.result) || b.result == 1;
    for (int i = 0; i < OUTPUTS && s->out[i] != NULL; i++) {
        for (int64_t c = 0; c < l.cols; c++) {
            const bool expected = isnan(get(b.out[i], VT_F64, c));
            any |= expected;
            same &= expected == isnan(get(a.out[i], VT_F32, c));
        }
    }
    vt_check(same && (any || s->selects), "%s %s: a NaN in array %d does not come out as it should",
             vt_isa_name(isa), s->name, input);
}

static void check_spec_nan(const spec *s, vt_isa isa) {
    for (int i = 0; i < INPUTS + OUTPUTS; i++) {
        const char *array = i < INPUTS ? s->in[i] : s->out[i - INPUTS];
        if (array == NULL || array[1] == '-') continue;
        check_nan(s, isa, i, false);
        check_nan(s, isa, i, true);
    }
}

/* ---------------------------------------------------------------- tables and levels */

static void check_tables(void) {
    vt_error error;
    vt_check(
        vt_isa_select("avx9000", &error) == VT_VALUE && strstr(error.message, "avx9000") != NULL,
        "an unknown level was taken");
    for (int isa = 0; isa < VT_ISA_COUNT; isa++) {
        const vt_kernels *k = vt_kernels_level(VT_F32, isa);
        const bool available = vt_isa_available((vt_isa)isa);
        vt_check((k != NULL) == available, "table of %s", vt_isa_name((vt_isa)isa));
        vt_check((vt_isa_select(vt_isa_name((vt_isa)isa), &error) == VT_OK) == available,
                 "selection");
        if (!available) continue;
        vt_check(k == vt_kernels_get(VT_F32) && k->dtype == VT_F32,
                 "the selected table is another");
        vt_check(vt_kernels_get(VT_F64)->dtype == VT_F64, "dtype of the double table");
        for (int slot = 0; slot < VT_KERNEL_SLOT_COUNT; slot++) {
            vt_check(isa != VT_ISA_REF || strcmp(vt_kernel_slot_level(VT_F32, slot), "ref") == 0,
                     "%s is not plain", vt_kernel_slot_name(slot));
        }
    }
    vt_check(vt_isa_select("", &error) == VT_OK && vt_isa_selected() == VT_ISA_NATIVE, "default");
    for (int slot = 0; slot < SPECS; slot++) {
        vt_check(strcmp(vt_kernel_slot_name(slot), specs[slot].name) == 0, "order of the specs");
    }
}

/* ---------------------------------------------------------------- main */

static void run_spec(const spec *s, vt_isa isa) {
    const int before = vt_passed;
    vt_failed_in_group = 0;
    compare_spec(s, isa);
    check_spec_alone(s, isa);
    check_spec_nan(s, isa);
    printf("%-4s %-7s %-22s %6d checks, largest distance %.1e\n",
           vt_failed_in_group ? "FAIL" : "ok", vt_isa_name(isa), s->name,
           vt_passed - before + vt_failed_in_group, worst[isa][s - specs]);
}

int main(void) {
    check_tables();
    for (int isa = VT_ISA_REF; isa < VT_ISA_NATIVE; isa++) {
        if (!vt_isa_available((vt_isa)isa)) continue;
        for (int i = 0; i < SPECS; i++) run_spec(&specs[i], (vt_isa)isa);
    }
    return vt_check_summary();
}
