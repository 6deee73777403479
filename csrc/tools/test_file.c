/* Tests of program/file.c: what is written is read again, and nothing else is. Every cut and many
 * changes of a small file are opened, with a hash that fits, and what opens is run. */
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"
#include "run/run.h"
#include "tools/check.h"
#include "tools/take.h"
#include "tools/transformer.h"

enum { BYTES_AT = 16, HASH_AT = 24, HEADER = 64 };

/* The hash as it is described in program/file.c, written once more. */
static uint64_t hash_again(const char *memory, size_t bytes) {
    uint64_t hash = bytes;
    for (size_t i = 0; i < bytes / 8; i++) {
        uint64_t word = 0;
        if (i * 8 != HASH_AT) memcpy(&word, memory + i * 8, 8);
        hash = (hash ^ word) * 0x9E3779B97F4A7C15u;
        hash ^= hash >> 32;
    }
    return hash;
}

/* As if it had been written so. */
static void seal(char *memory, size_t bytes) {
    const uint64_t length = bytes;
    if (bytes < HEADER) return;
    memcpy(memory + BYTES_AT, &length, 8);
    const uint64_t hash = hash_again(memory, bytes);
    memcpy(memory + HASH_AT, &hash, 8);
}

typedef struct opened {
    vt_program *program;
    vt_params *params;
    vt_notes *notes;
} opened;

static vt_status open_file(opened *o, const char *memory, size_t bytes, vt_error *error) {
    return vt_file_open(&o->program, &o->params, &o->notes, memory, bytes, error);
}

static void close_file(opened *o) {
    vt_program_close(o->program);
    vt_params_close(o->params);
    vt_notes_close(o->notes);
}

/* A copy of just so many bytes, so that a sanitizer sees a read behind them. */
static char *copy_of(const char *memory, size_t bytes) {
    char *copy = take(bytes == 0 ? 1 : bytes);
    if (bytes > 0) memcpy(copy, memory, bytes);
    return copy;
}

/* The logits of a few images; false where the program wants too much memory. */
static bool logits_of(const vt_program *program, vt_params *params, float *logits) {
    enum { MOST = 64 << 20 };
    vt_plan *plan;
    if (vt_plan_open(&plan, program, params, (vt_plan_options){.fuse = true}, NULL) != VT_OK) {
        return false;
    }
    vt_run *run = NULL;
    const bool small = vt_run_check(plan, BATCH, 1, NULL) == VT_OK &&
                       vt_run_bytes(plan, BATCH, 1) < MOST && vt_plan_inputs(plan) == 1 &&
                       vt_shape_elements(vt_plan_input_shape(plan, 0)) < MOST / 64;
    if (small && vt_run_open(&run, plan, params, BATCH, 1, NULL) == VT_OK) {
        const int64_t elements = BATCH * vt_shape_elements(vt_plan_input_shape(plan, 0));
        float *x = take((size_t)elements * sizeof *x);
        fill(x, VT_F32, elements, 1, 1.0);
        const void *input = x;
        const vt_rng_key key = {0, 0, 0};
        VT_CHECK(vt_run_forward(run, BATCH, &input, key, 0, NULL) == VT_OK);
        if (logits != NULL) vt_run_output(run, 0, logits);
        vt_free(x);
    }
    vt_run_close(run);
    vt_plan_close(plan);
    return small;
}

typedef struct written {
    char *memory;
    size_t bytes, structure; /* the bytes before the values */
} written;

static written write_file(vt_program *program, vt_params *params) {
    static const char *const notes[] = {"mean", "0.5", "", "empty"};
    void *memory = NULL;
    written w;
    VT_CHECK(vt_file_write(&memory, &w.bytes, program, params, notes, 2, NULL) == VT_OK);
    w.memory = memory;
    w.structure = w.bytes - params->bytes;
    return w;
}

static void test_it_comes_back(const written *w, vt_program *program, vt_params *params) {
    opened o;
    float logits[2][BATCH * CLASSES];
    vt_error error = {VT_OK, ""};
    VT_CHECK(w->bytes % VT_ALIGN == 0 && w->structure % VT_ALIGN == 0);
    VT_CHECK(open_file(&o, w->memory, w->bytes, &error) == VT_OK);
    vt_check(error.status == VT_OK, "%s", error.message);
    VT_CHECK(memcmp(o.params->data, params->data, params->bytes) == 0);
    VT_CHECK(logits_of(program, params, logits[0]) && logits_of(o.program, o.params, logits[1]));
    VT_CHECK(memcmp(logits[0], logits[1], sizeof logits[0]) == 0);
    VT_CHECK(vt_notes_count(o.notes) == 2 && strcmp(vt_notes_key(o.notes, 1), "") == 0);
    VT_CHECK(strcmp(vt_notes_value(o.notes, 0), "0.5") == 0);
    written again = write_file(o.program, o.params);
    VT_CHECK(again.bytes == w->bytes && memcmp(again.memory, w->memory, w->bytes) == 0);
    vt_free(again.memory);
    close_file(&o);
}

/* Without a new hash, no change of a byte is let through. */
static void test_damage(const written *w) {
    opened o;
    vt_error error;
    char *copy = copy_of(w->memory, w->bytes);
    for (size_t i = 0; i < w->bytes; i += i < w->structure ? 1 : 7) {
        copy[i] ^= (char)(1 << i % 8);
        const vt_status status = open_file(&o, copy, w->bytes, &error);
        vt_check(status == VT_VALUE && o.program == NULL && o.params == NULL && o.notes == NULL,
                 "a change of byte %zu is not seen", i);
        copy[i] = w->memory[i];
    }
    vt_free(copy);
}

/* Cut anywhere, with a length and a hash that fit. */
static void test_cuts(const written *w) {
    opened o;
    vt_error error;
    for (size_t bytes = 0; bytes < w->bytes; bytes += bytes < w->structure ? 1 : 64) {
        char *copy = copy_of(w->memory, bytes);
        seal(copy, bytes);
        vt_check(open_file(&o, copy, bytes, &error) == VT_VALUE, "%zu bytes are a file", bytes);
        vt_free(copy);
    }
}

/* Hostile numbers at every offset of the structure, with a hash that fits. What still opens, runs.
 */
static void test_hostile_numbers(const written *w) {
    static const uint32_t hostile[] = {0, 1, 3, 1 << 24, 1 << 30, 0x7FFFFFFF, 0xFFFFFFFF};
    int passed = 0;
    char *copy = copy_of(w->memory, w->bytes);
    for (size_t at = 8; at + 4 <= w->structure; at++) {
        if (at == BYTES_AT || at == HASH_AT) continue;
        for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
            opened o;
            memcpy(copy + at, &hostile[i], 4);
            seal(copy, w->bytes);
            if (open_file(&o, copy, w->bytes, NULL) == VT_OK) {
                passed++;
                logits_of(o.program, o.params, NULL);
                close_file(&o);
            }
            memcpy(copy + at, w->memory + at, 4);
        }
    }
    VT_CHECK(passed > 0); /* such as another eps */
    vt_free(copy);
}

/* Whichever allocation fails, nothing is left behind. */
static void test_no_memory(const written *w, vt_program *program, vt_params *params) {
    const int64_t blocks = vt_memory_read().blocks;
    for (int reads = 0; reads < 2; reads++) {
        vt_status status = VT_MEMORY;
        for (int n = 1; status != VT_OK && n < 10000; n++) {
            opened o = {NULL, NULL, NULL};
            void *memory = NULL;
            size_t bytes;
            vt_memory_fail_at(n);
            status = reads ? open_file(&o, w->memory, w->bytes, NULL)
                           : vt_file_write(&memory, &bytes, program, params, NULL, 0, NULL);
            vt_memory_fail_at(0);
            VT_CHECK(status == VT_OK || status == VT_MEMORY);
            close_file(&o);
            vt_free(memory);
            VT_CHECK(vt_memory_read().blocks == blocks);
        }
        VT_CHECK(status == VT_OK);
    }
}

int main(void) {
    vt_program *program;
    vt_params *params;
    vt_error error;
    if (vt_isa_select(getenv("VITC_ISA"), &error) != VT_OK) return 1;
    VT_CHECK(build(&program, &params, VT_F32, &error) == VT_OK);
    randomize(params);
    written w = write_file(program, params);
    test_it_comes_back(&w, program, params);
    test_damage(&w);
    test_cuts(&w);
    test_hostile_numbers(&w);
    test_no_memory(&w, program, params);
    vt_free(w.memory);
    vt_params_close(params);
    vt_program_close(program);
    return vt_check_summary();
}
