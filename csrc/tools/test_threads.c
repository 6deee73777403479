/* Callers on several threads at once, as Python threads are: to be run under ThreadSanitizer too,
 * in a build without OpenMP, whose runtime that tool does not know. VITC_ISA chooses the level.
 *
 * Each thread has its own run, or plan; the cache of products, the packed weights and the gradients
 * of the parameters are shared. */
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "run/run.h"
#include "tools/check.h"
#include "tools/transformer.h"

enum { THREADS = 4, ROUNDS = 8 };

static float image[BATCH * CHANNELS * IMAGE * IMAGE], upstream[BATCH * CLASSES];

/* Counts what went wrong; the checks themselves are for one thread. */
typedef struct crowd {
    vt_program *program;
    vt_params *params;
    vt_plan *plan;
    pthread_barrier_t start;
    _Atomic int wrong;
    float expected[BATCH * CLASSES];
} crowd;

static void run_crowd(crowd *c, void *(*body)(void *)) {
    pthread_t thread[THREADS];
    pthread_barrier_init(&c->start, NULL, THREADS);
    c->wrong = 0;
    for (int i = 0; i < THREADS; i++) pthread_create(&thread[i], NULL, body, c);
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&c->start);
    VT_CHECK(c->wrong == 0);
}

static crowd new_crowd(bool training) {
    crowd c = {0};
    vt_error error;
    const vt_plan_options options = {.training = training, .fuse = true};
    VT_CHECK(build(&c.program, &c.params, VT_F32, &error) == VT_OK);
    randomize(c.params);
    VT_CHECK(vt_plan_open(&c.plan, c.program, c.params, options, &error) == VT_OK);
    return c;
}

static void close_crowd(crowd *c) {
    vt_plan_close(c->plan);
    vt_params_close(c->params);
    vt_program_close(c->program);
}

static vt_status forward(vt_run *run) {
    const void *inputs[1] = {image};
    return vt_run_forward(run, BATCH, inputs, (vt_rng_key){1, 2, 3}, 0, NULL);
}

/* ---------------------------------------------------------------- inference */

static void compare(crowd *c, vt_plan *plan, int rounds) {
    vt_run *run;
    float logits[BATCH * CLASSES];
    c->wrong += vt_run_open(&run, plan, c->params, BATCH, 2, NULL) != VT_OK;
    for (int i = 0; i < rounds; i++) {
        c->wrong += forward(run) != VT_OK;
        vt_run_output(run, 0, logits);
        c->wrong += memcmp(logits, c->expected, sizeof logits) != 0;
    }
    vt_run_close(run);
}

static void *infer(void *context) {
    crowd *c = context;
    pthread_barrier_wait(&c->start); /* the first ones pack the weights */
    compare(c, c->plan, ROUNDS);
    return NULL;
}

/* Plans that come and go share the packed weights of the table; once there is none, these go. */
static void *infer_with_plans(void *context) {
    crowd *c = context;
    pthread_barrier_wait(&c->start);
    for (int i = 0; i < ROUNDS; i++) {
        vt_plan *own;
        c->wrong += vt_plan_open(&own, c->program, c->params, (vt_plan_options){.fuse = true},
                                 NULL) != VT_OK;
        compare(c, own, 1);
        vt_plan_close(own);
    }
    return NULL;
}

static void test_inference(void) {
    crowd alone = new_crowd(false), c = new_crowd(false);
    vt_run *run;
    VT_CHECK(vt_run_open(&run, alone.plan, alone.params, BATCH, 1, NULL) == VT_OK);
    VT_CHECK(forward(run) == VT_OK);
    vt_run_output(run, 0, c.expected);
    vt_run_close(run);
    close_crowd(&alone);
    run_crowd(&c, infer);
    const size_t held = vt_params_packed_bytes(c.params);
    run_crowd(&c, infer_with_plans);
    VT_CHECK(held == vt_params_packed_bytes(c.params));
    vt_plan_close(c.plan); /* from here on the threads' plans are the only ones */
    c.plan = NULL;
    VT_CHECK(vt_params_packed_bytes(c.params) == 0);
    run_crowd(&c, infer_with_plans);
    VT_CHECK(vt_params_packed_bytes(c.params) == 0);
    close_crowd(&c);
}

/* ---------------------------------------------------------------- gradients */

static void *train(void *context) {
    crowd *c = context;
    const void *gradients[1] = {upstream};
    vt_run *run;
    c->wrong += vt_run_open(&run, c->plan, c->params, BATCH, 2, NULL) != VT_OK;
    pthread_barrier_wait(&c->start);
    for (int i = 0; i < ROUNDS; i++) {
        c->wrong += forward(run) != VT_OK;
        c->wrong += vt_run_backward(run, gradients, NULL) != VT_OK;
    }
    vt_run_close(run);
    return NULL;
}

/* Equal contributions, so that their order does not matter: the sum of n of them, in bits. */
static void sum_alone(crowd *c, int n) {
    const void *gradients[1] = {upstream};
    vt_run *run;
    VT_CHECK(vt_run_open(&run, c->plan, c->params, BATCH, 1, NULL) == VT_OK);
    for (int i = 0; i < n; i++) {
        VT_CHECK(forward(run) == VT_OK);
        VT_CHECK(vt_run_backward(run, gradients, NULL) == VT_OK);
    }
    vt_run_close(run);
}

static void test_gradients(void) {
    crowd alone = new_crowd(true), c = new_crowd(true);
    sum_alone(&alone, THREADS * ROUNDS);
    run_crowd(&c, train);
    VT_CHECK(memcmp(alone.params->gradient, c.params->gradient, c.params->bytes) == 0);
    close_crowd(&alone);
    close_crowd(&c);
}

/* ---------------------------------------------------------------- everything of one's own */

static void *live(void *context) {
    crowd *shared = context;
    pthread_barrier_wait(&shared->start);
    for (int i = 0; i < ROUNDS; i++) {
        crowd own = {0};
        const vt_plan_options options = {.training = true, .fuse = true};
        shared->wrong += build(&own.program, &own.params, VT_F32, NULL) != VT_OK;
        shared->wrong += vt_plan_open(&own.plan, own.program, own.params, options, NULL) != VT_OK;
        close_crowd(&own);
    }
    return NULL;
}

/* Programs and plans come and go: they share the allocator's counters and the cache of products. */
static void test_lives(void) {
    crowd c = {0};
    run_crowd(&c, live);
}

int main(void) {
    vt_error error;
    if (vt_isa_select(getenv("VITC_ISA"), &error) != VT_OK) {
        printf("%s\n", error.message);
        return 2;
    }
    fill(image, VT_F32, BATCH * CHANNELS * IMAGE * IMAGE, 1001, 1.0);
    fill(upstream, VT_F32, BATCH * CLASSES, 1002, 1.0);
    test_lives();
    test_inference();
    test_gradients();
    return vt_check_summary();
}
