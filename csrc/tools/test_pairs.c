/* Every two things that can be done to shared parameters, done at once by two threads: to be run
 * under ThreadSanitizer too, like test_threads.c. What comes out of a step afterwards must be what
 * it is for parameters that nobody has touched, in bits. VITC_ISA chooses the level. */
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/cpu.h"
#include "base/memory.h"
#include "optim/optim.h"
#include "run/run.h"
#include "tools/check.h"
#include "tools/transformer.h"

enum { ROUNDS = 6, THREADS = 2 };

static float image[BATCH * CHANNELS * IMAGE * IMAGE], upstream[BATCH * CLASSES];

/* What the threads share; runs are each thread's own. */
typedef struct scene {
    vt_program *program;
    vt_params *params, *mean, *start;
    vt_plan *training, *inference;
    void *state[2];
} scene;

typedef struct thread_scene {
    scene *shared;
    vt_run *train, *infer;
} thread_scene;

typedef void (*action)(thread_scene *t);

/* ---------------------------------------------------------------- what can be done */

static void zero(thread_scene *t) { vt_params_zero_gradients(t->shared->params); }
static void norm_of(thread_scene *t) { vt_params_gradient_norm(t->shared->params, NULL, 2); }
static void scaled(thread_scene *t) { vt_params_scale_gradients(t->shared->params, NULL, 0.5, 2); }
static void clipped(thread_scene *t) { vt_clip_value(t->shared->params, NULL, 0.1, 2); }
static void adaptive(thread_scene *t) { vt_clip_adaptive(t->shared->params, NULL, 0.01, 1e-3, 2); }
static void averaged(thread_scene *t) {
    vt_average(t->shared->mean, t->shared->params, 0.1, 2, NULL);
}
static void returned(thread_scene *t) {
    vt_average(t->shared->params, t->shared->mean, 0.1, 2, NULL);
}

static vt_update update_of(const thread_scene *t) {
    const scene *s = t->shared;
    return (vt_update){s->params, {s->state[0], s->state[1]}, NULL, 2};
}

static void adamw(thread_scene *t) {
    const vt_update u = update_of(t);
    vt_adamw_run(&u, &(vt_adamw){.lr = 1e-3,
                                 .beta1 = 0.9,
                                 .beta2 = 0.999,
                                 .eps = 1e-8,
                                 .beta1_power = 0.9,
                                 .beta2_power = 0.999});
}

static void radam(thread_scene *t) {
    const vt_update u = update_of(t);
    vt_radam_run(&u, &(vt_radam){.lr = 1e-3,
                                 .beta1 = 0.9,
                                 .beta2 = 0.999,
                                 .eps = 1e-8,
                                 .correction = 0.1,
                                 .rectifier = 0.02});
}

static void sgd(thread_scene *t) {
    const vt_update u = update_of(t);
    vt_sgd_run(&u, &(vt_sgd){.lr = 1e-3, .momentum = 0.9});
}

static void lion(thread_scene *t) {
    const vt_update u = update_of(t);
    vt_lion_run(&u, &(vt_lion){.lr = 1e-4, .beta1 = 0.9, .beta2 = 0.99});
}

static void lamb(thread_scene *t) {
    const vt_update u = update_of(t);
    vt_lamb_run(&u,
                &(vt_lamb){.lr = 1e-3,
                           .beta1 = 0.9,
                           .beta2 = 0.999,
                           .eps = 1e-6,
                           .clip = 1,
                           .correction1 = 0.1,
                           .correction2 = 0.001,
                           .gradient_share = 0.1},
                true, false);
}

static void write_values(thread_scene *t) {
    scene *s = t->shared;
    for (int i = 0; i < s->params->count; i++) {
        vt_params_write(s->params, s->params->data, i, vt_params_at(s->start, s->start->data, i));
    }
}

static void write_buffer(thread_scene *t) {
    scene *s = t->shared;
    vt_params_write(s->params, s->state[0], 0, vt_params_at(s->start, s->start->data, 0));
}

static void flip(thread_scene *t) {
    vt_params *params = t->shared->params;
    for (int i = 0; i < params->count; i++) {
        params->entries[i].requires_grad = !params->entries[i].requires_grad;
    }
}

/* What Python asks for without a lock. */
static void look(thread_scene *t) {
    vt_params *params = t->shared->params;
    volatile bool seen = params->version == 0 || params->gradient == NULL;
    for (int i = 0; i < params->count; i++) seen = params->entries[i].has_gradient;
    (void)seen;
}

static void plan(thread_scene *t) {
    const vt_plan_options options = {.training = true, .fuse = true};
    vt_plan *made;
    if (vt_plan_open(&made, t->shared->program, t->shared->params, options, NULL) == VT_OK) {
        vt_plan_close(made);
    }
}

static void infer(thread_scene *t) {
    const void *inputs[1] = {image};
    vt_run_forward(t->infer, BATCH, inputs, (vt_rng_key){1, 2, 3}, 0, NULL);
}

static void train(thread_scene *t) {
    const void *inputs[1] = {image}, *gradients[1] = {upstream};
    vt_run_forward(t->train, BATCH, inputs, (vt_rng_key){1, 2, 3}, 0, NULL);
    vt_run_backward(t->train, gradients, NULL); /* refused where the values have changed */
}

static const struct {
    const char *name;
    action act;
} actions[] = {{"zero", zero},          {"norm", norm_of},
               {"scale", scaled},       {"clip", clipped},
               {"adaptive", adaptive},  {"average", averaged},
               {"return", returned},    {"adamw", adamw},
               {"radam", radam},        {"sgd", sgd},
               {"lion", lion},          {"lamb", lamb},
               {"write", write_values}, {"buffer", write_buffer},
               {"flip", flip},          {"look", look},
               {"plan", plan},          {"infer", infer},
               {"train", train}};
enum { ACTIONS = sizeof actions / sizeof *actions };

/* ---------------------------------------------------------------- the scene */

static vt_params *new_params(vt_program **program) {
    vt_params *params;
    vt_program *made;
    VT_CHECK(build(&made, &params, VT_F32, NULL) == VT_OK);
    randomize(params);
    if (program != NULL) {
        *program = made;
    } else {
        vt_program_close(made);
    }
    return params;
}

static scene new_scene(void) {
    scene s = {.params = new_params(&s.program)};
    s.mean = new_params(NULL);
    s.start = new_params(NULL);
    for (int training = 0; training < 2; training++) {
        const vt_plan_options options = {.training = training, .fuse = true};
        vt_plan **made = training ? &s.training : &s.inference;
        VT_CHECK(vt_plan_open(made, s.program, s.params, options, NULL) == VT_OK);
    }
    for (int i = 0; i < 2; i++) {
        VT_CHECK(vt_params_buffer(s.params, &s.state[i], NULL) == VT_OK);
    }
    return s;
}

static void close_scene(scene *s) {
    vt_plan_close(s->training);
    vt_plan_close(s->inference);
    for (int i = 0; i < 2; i++) vt_free(s->state[i]);
    vt_params_close(s->params);
    vt_params_close(s->mean);
    vt_params_close(s->start);
    vt_program_close(s->program);
}

static void open_runs(thread_scene *t, scene *shared) {
    t->shared = shared;
    VT_CHECK(vt_run_open(&t->train, shared->training, shared->params, BATCH, 2, NULL) == VT_OK);
    VT_CHECK(vt_run_open(&t->infer, shared->inference, shared->params, BATCH, 2, NULL) == VT_OK);
}

static void close_runs(thread_scene *t) {
    vt_run_close(t->train);
    vt_run_close(t->infer);
}

/* ---------------------------------------------------------------- two at once */

typedef struct job {
    thread_scene scene;
    action act;
    pthread_barrier_t *start;
} job;

static void *work(void *context) {
    job *j = context;
    pthread_barrier_wait(j->start);
    for (int i = 0; i < ROUNDS; i++) j->act(&j->scene);
    return NULL;
}

static void run_pair(job jobs[THREADS], action one, action other) {
    pthread_t thread[THREADS];
    pthread_barrier_t start;
    pthread_barrier_init(&start, NULL, THREADS);
    for (int i = 0; i < THREADS; i++) {
        jobs[i].act = i == 0 ? one : other;
        jobs[i].start = &start;
        pthread_create(&thread[i], NULL, work, &jobs[i]);
    }
    for (int i = 0; i < THREADS; i++) pthread_join(thread[i], NULL);
    pthread_barrier_destroy(&start);
}

/* Gradients and logits from the values at the start. */
static void step(thread_scene *t, float logits[BATCH * CLASSES]) {
    write_values(t);
    zero(t);
    train(t);
    infer(t);
    vt_run_output(t->infer, 0, logits);
}

static bool same_gradients(const vt_params *a, const vt_params *b) {
    for (int i = 0; i < a->count; i++) {
        if (!a->entries[i].has_gradient || !b->entries[i].has_gradient) return false;
        const size_t bytes = (size_t)a->entries[i].elements * vt_dtype_size(a->dtype);
        if (memcmp(vt_params_at(a, a->gradient, i), vt_params_at(b, b->gradient, i), bytes) != 0) {
            return false;
        }
    }
    return true;
}

static void test_pairs(void) {
    scene fresh = new_scene(), shared = new_scene();
    thread_scene alone;
    job jobs[THREADS];
    float expected[BATCH * CLASSES], logits[BATCH * CLASSES];
    open_runs(&alone, &fresh);
    for (int i = 0; i < THREADS; i++) open_runs(&jobs[i].scene, &shared);
    step(&alone, expected);
    for (int a = 0; a < ACTIONS; a++) {
        for (int b = a; b < ACTIONS; b++) {
            step(&jobs[0].scene, logits); /* so that there are gradients */
            write_values(&jobs[0].scene); /* and packed weights that are stale */
            run_pair(jobs, actions[a].act, actions[b].act);
            step(&jobs[1].scene, logits);
            vt_check(memcmp(logits, expected, sizeof logits) == 0, "logits after %s beside %s",
                     actions[a].name, actions[b].name);
            vt_check(same_gradients(shared.params, fresh.params), "gradients after %s beside %s",
                     actions[a].name, actions[b].name);
        }
    }
    for (int i = 0; i < THREADS; i++) close_runs(&jobs[i].scene);
    close_runs(&alone);
    close_scene(&fresh);
    close_scene(&shared);
}

/* While somebody else reads the values, or the gradients change, predictions go on. */
static void *infer_once(void *context) {
    infer(context);
    return NULL;
}

static void test_predictions_wait_for_nobody_but_writers(void) {
    scene s = new_scene();
    thread_scene t;
    pthread_t thread;
    open_runs(&t, &s);
    vt_lock_shared(&s.params->values);
    vt_lock_alone(&s.params->gradients);
    pthread_create(&thread, NULL, infer_once, &t);
    pthread_join(thread, NULL);
    vt_unlock(&s.params->gradients);
    vt_unlock(&s.params->values);
    VT_CHECK(t.infer->version == s.params->version);
    close_runs(&t);
    close_scene(&s);
}

/* ---------------------------------------------------------------- the lock */

enum { TURNS = 2000 };

typedef struct counter {
    vt_lock lock;
    int64_t value;
    _Atomic int sharing, odd;
} counter;

static void *count_alone(void *context) {
    counter *c = context;
    for (int i = 0; i < TURNS; i++) {
        vt_lock_alone(&c->lock);
        c->value++; /* odd while it is being changed */
        c->odd += c->sharing != 0;
        c->value++;
        vt_unlock(&c->lock);
    }
    return NULL;
}

static void *look_shared(void *context) {
    counter *c = context;
    for (int i = 0; i < TURNS; i++) {
        vt_lock_shared(&c->lock);
        c->sharing++;
        c->odd += c->value % 2 != 0;
        c->sharing--;
        vt_unlock(&c->lock);
    }
    return NULL;
}

static void test_who_is_alone_is_alone(void) {
    counter c = {.lock = VT_LOCK_OPEN};
    pthread_t thread[4];
    for (int i = 0; i < 4; i++) {
        pthread_create(&thread[i], NULL, i % 2 ? count_alone : look_shared, &c);
    }
    for (int i = 0; i < 4; i++) pthread_join(thread[i], NULL);
    VT_CHECK(c.value == 2 * 2 * TURNS);
    VT_CHECK(c.odd == 0);
    vt_lock_close(&c.lock);
}

/* Each waits for the other one within the lock: it returns only if both are let in. */
static void *meet(void *context) {
    counter *c = context;
    vt_lock_shared(&c->lock);
    c->sharing++;
    while (c->sharing < 2) sched_yield();
    vt_unlock(&c->lock);
    return NULL;
}

static void test_those_that_share_are_in_at_once(void) {
    counter c = {.lock = VT_LOCK_OPEN};
    pthread_t thread;
    pthread_create(&thread, NULL, meet, &c);
    meet(&c);
    pthread_join(thread, NULL);
    VT_CHECK(c.sharing == 2);
    vt_lock_close(&c.lock);
}

int main(void) {
    vt_error error;
    if (vt_isa_select(getenv("VITC_ISA"), &error) != VT_OK) {
        printf("%s\n", error.message);
        return 2;
    }
    fill(image, VT_F32, BATCH * CHANNELS * IMAGE * IMAGE, 1001, 1.0);
    fill(upstream, VT_F32, BATCH * CLASSES, 1002, 1.0);
    test_who_is_alone_is_alone();
    test_those_that_share_are_in_at_once();
    test_predictions_wait_for_nobody_but_writers();
    test_pairs();
    return vt_check_summary();
}
