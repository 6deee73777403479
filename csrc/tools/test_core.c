/* Tests of base, ops, program and optim without Python, to be run under sanitizers: a small
 * transformer against central differences, allocation failures, hostile programs, threads.
 * VITC_ISA chooses the level. */
#include <fenv.h>
#include <math.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "base/parallel.h"
#include "optim/optim.h"
#include "run/run.h"
#include "tools/check.h"
#include "tools/transformer.h"

/* ---------------------------------------------------------------- one whole step */

static double image[BATCH * CHANNELS * IMAGE * IMAGE], upstream[BATCH * CLASSES];
static double logits[BATCH * CLASSES];

/* Everything from a program to an optimizer step; all memory is given back. The numbers do not
 * matter: in float the image is read as whatever its bytes say. */
static vt_status whole_step(vt_dtype dtype, vt_error *error) {
    vt_program *program = NULL;
    vt_params *params = NULL;
    vt_plan *plan = NULL;
    vt_run *run = NULL;
    void *m = NULL, *v = NULL;
    const void *inputs[1] = {image}, *gradients[1] = {upstream};
    bool chosen[MAX_ROWS];
    memset(chosen, 1, sizeof chosen);
    vt_status status = build(&program, &params, dtype, error);
    if (status == VT_OK) {
        const vt_plan_options options = {.training = true, .input_gradients = true, .fuse = true};
        status = vt_plan_open(&plan, program, params, options, error);
    }
    if (status == VT_OK) status = vt_run_open(&run, plan, params, BATCH, 2, error);
    if (status == VT_OK) {
        status = vt_run_forward(run, BATCH, inputs, (vt_rng_key){1, 2, 3}, 0, error);
    }
    if (status == VT_OK) status = vt_run_backward(run, gradients, error);
    if (status == VT_OK) status = vt_params_buffer(params, &m, error);
    if (status == VT_OK) status = vt_params_buffer(params, &v, error);
    if (status == VT_OK) {
        const vt_adamw step = {1e-3, 0.9, 0.999, 1e-8, 0.01, 0.9, 0.999, 0};
        vt_adamw_run(&(vt_update){params, {m, v}, chosen, 2}, &step);
    }
    vt_free(m);
    vt_free(v);
    vt_run_close(run);
    vt_plan_close(plan);
    vt_params_close(params);
    vt_program_close(program);
    return status;
}

static void test_allocation_failures(vt_dtype dtype) {
    vt_error error;
    VT_CHECK(whole_step(dtype, &error) == VT_OK); /* fills caches */
    const vt_memory_stats before = vt_memory_read();
    int64_t n = 1;
    for (; n < 10000; n++) {
        vt_memory_fail_at(n);
        const vt_status status = whole_step(dtype, &error);
        vt_memory_fail_at(0);
        const vt_memory_stats now = vt_memory_read();
        if (now.bytes != before.bytes || now.blocks != before.blocks) {
            printf("allocation %lld: %lld bytes leaked\n", (long long)n,
                   (long long)(now.bytes - before.bytes));
            VT_CHECK(0);
            break;
        }
        if (status == VT_OK) break;
        VT_CHECK(status == VT_MEMORY);
    }
    printf("allocation failures: %lld places\n", (long long)n - 1);
    VT_CHECK(n > 20 && n < 10000);
}

/* ---------------------------------------------------------------- gradients */

typedef struct session {
    vt_program *program;
    vt_params *params;
    vt_plan *plan;
    vt_run *run;
} session;

static session open_session(bool fuse, int threads) {
    session s = {0};
    vt_error error;
    VT_CHECK(build(&s.program, &s.params, VT_F64, &error) == VT_OK);
    randomize(s.params);
    const vt_plan_options options = {.training = true, .input_gradients = true, .fuse = fuse};
    VT_CHECK(vt_plan_open(&s.plan, s.program, s.params, options, &error) == VT_OK);
    const int64_t before = vt_memory_read().bytes;
    VT_CHECK(vt_run_open(&s.run, s.plan, s.params, BATCH, threads, &error) == VT_OK);
    VT_CHECK(vt_memory_read().bytes - before == (int64_t)vt_run_bytes(s.plan, BATCH, threads));
    return s;
}

static void close_session(session *s) {
    vt_run_close(s->run);
    vt_plan_close(s->plan);
    vt_params_close(s->params);
    vt_program_close(s->program);
}

static double loss(session *s) {
    const void *inputs[1] = {image};
    vt_error error;
    VT_CHECK(vt_run_forward(s->run, BATCH, inputs, (vt_rng_key){1, 2, 3}, 5, &error) == VT_OK);
    vt_run_output(s->run, 0, logits);
    double sum = 0;
    for (int i = 0; i < BATCH * CLASSES; i++) sum += logits[i] * upstream[i];
    return sum;
}

static void backward(session *s) {
    const void *gradients[1] = {upstream};
    vt_error error;
    loss(s);
    vt_params_zero_gradients(s->params);
    VT_CHECK(vt_run_backward(s->run, gradients, &error) == VT_OK);
    VT_CHECK(vt_run_backward(s->run, gradients, &error) == VT_VALUE); /* once only */
}

/* Directional central differences: the step 1e-6 in double leaves an error of about 1e-9. */
static void check_entry(session *s, int index) {
    vt_entry *entry = &s->params->entries[index];
    double *values = vt_params_at(s->params, s->params->data, index);
    const double *gradient = vt_params_at(s->params, s->params->gradient, index), h = 1e-6;
    double analytic = 0;
    for (int64_t i = 0; i < entry->elements; i++) analytic += gradient[i] * noise(99, (uint32_t)i);
    double at[2];
    for (int side = 0; side < 2; side++) {
        const double step = side == 0 ? h : -h;
        for (int64_t i = 0; i < entry->elements; i++) values[i] += step * noise(99, (uint32_t)i);
        s->params->version++;
        at[side] = loss(s);
        for (int64_t i = 0; i < entry->elements; i++) values[i] -= step * noise(99, (uint32_t)i);
    }
    const double numeric = (at[0] - at[1]) / (2 * h);
    const double scale = fabs(analytic) > 1e-2 ? fabs(analytic) : 1e-2;
    if (fabs(numeric - analytic) > 1e-6 * scale) {
        printf("entry %d: analytic %.12g, numeric %.12g\n", index, analytic, numeric);
    }
    VT_CHECK(fabs(numeric - analytic) <= 1e-6 * scale);
}

static void test_gradients(bool fuse) {
    session s = open_session(fuse, 2);
    backward(&s);
    for (int index = 0; index < s.params->count; index++) check_entry(&s, index);
    close_session(&s);
}

static void test_threads(void) {
    session one = open_session(true, 1);
    backward(&one);
    for (int threads = 2; threads <= 8; threads *= 2) {
        session many = open_session(true, threads);
        backward(&many);
        for (int index = 0; index < one.params->count; index++) {
            VT_CHECK(memcmp(vt_params_at(one.params, one.params->gradient, index),
                            vt_params_at(many.params, many.params->gradient, index),
                            (size_t)one.params->entries[index].elements * sizeof(double)) == 0);
        }
        close_session(&many);
    }
    close_session(&one);
}

/* ---------------------------------------------------------------- hostile programs */

static uint32_t state = 1;
static uint32_t pick(uint32_t limit) {
    state = state * 1664525u + 1013904223u;
    return (state >> 8) % limit;
}

/* Sizes of 4 as a rule, so that some lists fit together; now and then anything. */
static vt_shape random_shape(void) {
    const int64_t odd = pick(8) == 0 ? (int64_t)1 << pick(63) : 4 - (int64_t)pick(6);
    return (vt_shape){(int)pick(16) == 0 ? (int)pick(9) - 2 : 1 + (int)pick(3),
                      {4, pick(4) == 0 ? odd : 4, 4, 4}};
}

static uint32_t operation_count(void) {
    uint32_t count = 0;
    while (vt_op_table[count] != NULL) count++;
    return count;
}

/* A small number as a rule, else one at the limits of its type or near a power of two. */
static int64_t random_integer(void) {
    if (pick(8) != 0) return (int64_t)pick(4);
    if (pick(8) == 0) return pick(2) == 0 ? INT64_MAX : INT64_MIN;
    const int64_t far = ((int64_t)1 << pick(63)) - 1 + (int64_t)pick(3);
    return pick(2) == 0 ? far : -far;
}

static void random_operation(builder *b, int index) {
    const int x = pick(16) == 0 ? (int)pick(20) - 5 : (int)pick((uint32_t)index + 1);
    const int y = pick(16) == 0 ? (int)pick(20) - 5 : x;
    const int p = (int)pick(8) - 1, q = (int)pick(8) - 1;
    const vt_op *kind = vt_op_table[pick(operation_count())];
    op(b, kind, x, y, p, q);
    for (int i = 0; kind->attributes[i].name != NULL; i++) {
        vt_attribute *a = attribute(b, i);
        if (kind->attributes[i].type == VT_ATTR_FLOAT) a->f = pick(4) == 0 ? NAN : 0.5;
        if (kind->attributes[i].type == VT_ATTR_NAME) strcpy(a->name, pick(4) == 0 ? "" : "gelu");
        if (kind->attributes[i].type == VT_ATTR_INT) a->i = random_integer();
    }
}

enum { HOSTILE_ROWS = 6, HOSTILE_SIZE = 4 * 12 * 4 };

/* Forward and backward of a plan, two images at a time. */
static void run_hostile(vt_plan *plan, vt_params *params) {
    static const double pixels[2 * HOSTILE_SIZE];
    const void *inputs[1] = {pixels}, *gradients[1] = {NULL};
    vt_run *run;
    vt_error error;
    const vt_status status = vt_run_open(&run, plan, params, 2, 2, &error);
    VT_CHECK(status == VT_OK || status == VT_MEMORY);
    if (status != VT_OK) return;
    VT_CHECK(vt_run_forward(run, 2, inputs, (vt_rng_key){0, 0, 0}, 0, &error) == VT_OK);
    VT_CHECK(vt_run_backward(run, gradients, &error) == VT_OK);
    vt_run_close(run);
}

/* A list that was accepted must also lower, plan and run, if it fits into this machine; 1 if it
 * ran. */
static int plan_hostile(const vt_program *program) {
    for (int i = 0; i < HOSTILE_ROWS; i++) {
        if (vt_shape_elements(&program->params[i]) > 1 << 20) return 0;
    }
    static const char *const names[HOSTILE_ROWS] = {"a", "b", "c", "d", "e", "f"};
    vt_params *params;
    vt_plan *plan;
    vt_error error;
    const vt_plan_options options = {.training = true, .input_gradients = true, .fuse = true};
    if (vt_params_open(&params, HOSTILE_ROWS, names, program->params, NULL, VT_F64, &error) !=
        VT_OK) {
        return 0;
    }
    const vt_status status = vt_plan_open(&plan, program, params, options, &error);
    VT_CHECK(status == VT_OK || status == VT_VALUE || status == VT_MEMORY);
    const int runs = status == VT_OK && plan->image_bytes < 1 << 20;
    if (runs) run_hostile(plan, params);
    if (status == VT_OK) vt_plan_close(plan);
    vt_params_close(params);
    return runs;
}

/* Lists of random operations with random indices and attributes are refused or run, never more. */
static void test_hostile_programs(void) {
    enum { TRIALS = 100000 };
    int accepted = 0, ran = 0;
    for (int trial = 0; trial < TRIALS; trial++) {
        builder b = {.param_count = 0};
        for (int i = 0; i < HOSTILE_ROWS; i++) param(&b, random_shape());
        for (int i = 0; i < 3; i++) random_operation(&b, i);
        vt_shape input = {2 + (int)pick(2), {4, 12, pick(2) == 0 ? 4 : 1, 1}};
        int output = (int)pick(5);
        const vt_listing listing = {.input_count = 1,
                                    .inputs = &input,
                                    .param_count = b.param_count,
                                    .params = b.params,
                                    .node_count = b.node_count,
                                    .nodes = b.nodes,
                                    .output_count = 1,
                                    .outputs = &output};
        vt_program *program;
        vt_error error = {.message = ""};
        const vt_status status = vt_program_open(&program, &listing, &error);
        VT_CHECK(status == VT_OK || (status == VT_VALUE && error.message[0] != '\0'));
        if (status != VT_OK) continue;
        accepted++;
        ran += plan_hostile(program);
        vt_program_close(program);
    }
    printf("hostile programs: %d of %d accepted, %d run\n", accepted, TRIALS, ran);
    VT_CHECK(accepted > 100 && ran > 100);
}

/* ---------------------------------------------------------------- base */

static void mark_task(void *context, vt_worker worker) { ((char *)context)[worker.task]++; }

static void test_parallel(void) {
    for (int threads = 1; threads <= 8; threads++) {
        char seen[100] = {0};
        vt_parallel_for(100, threads, mark_task, seen);
        for (int i = 0; i < 100; i++) VT_CHECK(seen[i] == 1);
    }
    vt_parallel_for(0, 4, mark_task, NULL);
}

typedef struct calm_seen {
    _Atomic int wrong;
    float tiny;
} calm_seen;

static bool is_calm(float tiny) {
    sigset_t held;
    pthread_sigmask(SIG_BLOCK, NULL, &held);
    const bool waits = sigismember(&held, SIGINT) == 1 && sigismember(&held, SIGPROF) == 1;
    const bool told = sigismember(&held, SIGSEGV) == 0;
    return waits && told && fegetround() == FE_TONEAREST && tiny / 2 > 0;
}

static void look_for_calm(void *context, vt_worker worker) {
    calm_seen *seen = context;
    (void)worker;
    usleep(100); /* so that others take a task too */
    seen->wrong += !is_calm(seen->tiny);
}

/* Signals wait and arithmetic is the standard's in every worker, and afterwards all is as before.
 */
static void test_calm(void) {
    volatile float tiny = 1e-39f; /* denormal */
    fesetround(FE_UPWARD);
#ifdef __SSE2__
    enum { FLUSHES = 0x8040 };
    __builtin_ia32_ldmxcsr(__builtin_ia32_stmxcsr() | FLUSHES);
    VT_CHECK(tiny / 2 == 0);
#endif
    for (int threads = 1; threads <= 4; threads++) {
        calm_seen seen = {0, tiny};
        vt_parallel_for(16, threads, look_for_calm, &seen);
        VT_CHECK(seen.wrong == 0);
    }
    sigset_t held;
    pthread_sigmask(SIG_BLOCK, NULL, &held);
    VT_CHECK(sigismember(&held, SIGINT) == 0 && fegetround() == FE_UPWARD);
#ifdef __SSE2__
    VT_CHECK((__builtin_ia32_stmxcsr() & FLUSHES) == FLUSHES);
#endif
    fesetenv(FE_DFL_ENV);
}

/* The known answers that Random123, the authors' library, gives for Philox4x32-10. */
static void test_philox(void) {
    static const uint32_t known[3][10] = {
        /* counter, key, words */
        {0, 0, 0, 0, 0, 0, 0x6627e8d5, 0xe169c58d, 0xbc57ac4c, 0x9b00dbd8},
        {~0u, ~0u, ~0u, ~0u, ~0u, ~0u, 0x408f276d, 0x41c83b0e, 0xa20bc7c6, 0x6d5451fd},
        {0x243f6a88, 0x85a308d3, 0x13198a2e, 0x03707344, 0xa4093822, 0x299f31d0, 0xd16cfe09,
         0x94fdcceb, 0x5001e420, 0x24126ea1}};
    for (int i = 0; i < 3; i++) {
        uint32_t word[4];
        memcpy(word, known[i], sizeof word);
        vt_philox(word, known[i][4], known[i][5]);
        VT_CHECK(memcmp(word, known[i] + 6, sizeof word) == 0);
    }
}

static void test_random_words(void) {
    /* Uniform, and different in every part of the key. */
    double sum = 0;
    uint32_t a[4], b[4];
    for (uint32_t i = 0; i < 10000; i++) {
        vt_rng_draw(a, (vt_rng_key){1, 1, 1}, 1, 1, i);
        sum += a[i % 4] / 4294967296.0;
    }
    VT_CHECK(fabs(sum / 10000 - 0.5) < 0.01);
    const vt_rng_key keys[] = {{2, 1, 1}, {1, 2, 1}, {1, 1, 2}};
    vt_rng_draw(a, (vt_rng_key){1, 1, 1}, 1, 1, 0);
    for (int i = 0; i < 3; i++) {
        vt_rng_draw(b, keys[i], 1, 1, 0);
        VT_CHECK(memcmp(a, b, sizeof a) != 0);
    }
    VT_CHECK(vt_rng_keep(0xFFFFFFFFu, 1.0) && !vt_rng_keep(0, 0.0));
}

int main(void) {
    vt_error error;
    if (vt_isa_select(getenv("VITC_ISA"), &error) != VT_OK) {
        printf("%s\n", error.message);
        return 2;
    }
    fill(image, VT_F64, BATCH * CHANNELS * IMAGE * IMAGE, 1001, 1.0);
    fill(upstream, VT_F64, BATCH * CLASSES, 1002, 1.0);
    test_parallel();
    test_calm();
    test_philox();
    test_random_words();
    test_hostile_programs();
    test_allocation_failures(VT_F64);
    test_allocation_failures(VT_F32);
    test_gradients(false);
    test_gradients(true);
    test_threads();
    return vt_check_summary();
}
