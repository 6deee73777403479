/* A model through vitc.h alone, as a program outside of csrc/ would use it: written down, run
 * forward and backward, trained. VITC_ISA chooses the instruction set. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tools/check.h"
#include "vitc.h"

enum { TOKENS = 4, COLS = 6, HIDDEN = 5, CLASSES = 3, BATCH = 3, ENTRIES = 6 };
enum { INPUT = BATCH * TOKENS * COLS, LOGITS = BATCH * CLASSES };

typedef struct model {
    vt_program *program;
    vt_params *params;
} model;

/* Numbers from -1 to 1, a function of seed and index. */
static double noise(uint32_t seed, int64_t index) {
    uint32_t word[4];
    vt_random_words(word, 1, (vt_rng_key){seed, 0, 0}, (uint64_t)index, "test");
    return word[0] / 2147483648.0 - 1.0;
}

/* ---------------------------------------------------------------- making a model */

/* An attribute in a node. */
static vt_attribute *attribute(vt_node *node, const char *name) {
    const vt_attribute_spec *spec = vt_op_attributes(node->op);
    int i = 0;
    while (strcmp(spec[i].name, name) != 0) i++;
    return &node->attributes[i];
}

static vt_node line(const char *name, int input, int weight, int bias) {
    const vt_op *op = vt_op_find(name);
    return (vt_node){.op = op, .inputs = {input}, .params = {weight, bias, -1, -1}};
}

/* Rows of a table of parameters for the model below. */
static const char *const names[ENTRIES] = {"fc1.weight", "fc1.bias",    "norm.weight",
                                           "norm.bias",  "head.weight", "head.bias"};
static const vt_shape shapes[ENTRIES] = {{2, {HIDDEN, COLS}},    {1, {HIDDEN}},
                                         {1, {HIDDEN}},          {1, {HIDDEN}},
                                         {2, {CLASSES, HIDDEN}}, {1, {CLASSES}}};

static void fill_params(vt_params *params) {
    for (int index = 0; index < ENTRIES; index++) {
        double wide[HIDDEN * COLS];
        float slim[HIDDEN * COLS];
        const int64_t count = vt_shape_elements(vt_params_shape(params, index));
        for (int64_t i = 0; i < count; i++) slim[i] = (float)(wide[i] = noise(7, index * 100 + i));
        const bool is_double = vt_params_dtype(params) == VT_F64;
        vt_params_write(params, vt_params_values(params), index, is_double ? wide : (void *)slim);
    }
}

static model open_model(vt_dtype dtype) {
    vt_node nodes[] = {line("linear", 0, 0, 1), line("activation", 1, -1, -1),
                       line("norm", 2, 2, 3), line("pool", 3, -1, -1), line("linear", 4, 4, 5)};
    const vt_shape input = {2, {TOKENS, COLS}};
    const int output = 5;
    strcpy(attribute(&nodes[1], "function")->name, "gelu");
    attribute(&nodes[2], "eps")->f = 1e-6;
    const vt_listing listing = {.input_count = 1,
                                .inputs = &input,
                                .param_count = ENTRIES,
                                .params = shapes,
                                .node_count = 5,
                                .nodes = nodes,
                                .output_count = 1,
                                .outputs = &output};
    model m = {NULL, NULL};
    vt_error error = {VT_OK, ""};
    VT_CHECK(vt_program_open(&m.program, &listing, &error) == VT_OK);
    VT_CHECK(vt_params_open(&m.params, ENTRIES, names, shapes, NULL, dtype, &error) == VT_OK);
    if (error.status != VT_OK) printf("%s\n", error.message);
    fill_params(m.params);
    return m;
}

static void close_model(model m) {
    vt_params_close(m.params);
    vt_program_close(m.program);
}

/* ---------------------------------------------------------------- what a model gives */

typedef struct pass {
    vt_plan *plan;
    vt_run *run;
} pass;

static pass open_pass(model m, vt_plan_options options, int threads) {
    pass p = {NULL, NULL};
    VT_CHECK(vt_plan_open(&p.plan, m.program, m.params, options, NULL) == VT_OK);
    VT_CHECK(vt_run_open(&p.run, p.plan, m.params, BATCH, threads, NULL) == VT_OK);
    return p;
}

static void close_pass(pass p) {
    vt_run_close(p.run);
    vt_plan_close(p.plan);
}

static void fill_input(double *x) {
    for (int i = 0; i < INPUT; i++) x[i] = noise(9, i);
}

static void forward(pass p, const void *x, void *logits) {
    VT_CHECK(vt_run_forward(p.run, BATCH, &x, (vt_rng_key){1, 2, 3}, 0, NULL) == VT_OK);
    vt_run_output(p.run, 0, logits);
}

/* Cross entropy against labels 0, 1, 2, summed; in double. */
static double loss_of(pass p, const double *x, double *dlogits) {
    static const int64_t labels[BATCH] = {0, 1, 2};
    double logits[LOGITS], value, weight;
    forward(p, x, logits);
    const vt_cross_entropy loss = {.dtype = VT_F64,
                                   .rows = BATCH,
                                   .classes = CLASSES,
                                   .logits = logits,
                                   .labels = labels,
                                   .ignore_index = -100};
    VT_CHECK(vt_cross_entropy_run(&loss, &value, &weight, dlogits, NULL) == VT_OK);
    VT_CHECK(weight == BATCH);
    return value;
}

/* ---------------------------------------------------------------- tests */

static void test_the_objects(void) {
    model m = open_model(VT_F32);
    const vt_listing listing = vt_program_listing(m.program);
    VT_CHECK(listing.node_count == 5 && listing.nodes[4].shape.dim[1] == CLASSES);
    VT_CHECK(strcmp(vt_op_name(listing.nodes[3].op), "pool") == 0);
    VT_CHECK(vt_op_inputs(vt_op_find("add")) == 2 && vt_op_find("ad") == NULL);
    int ops = 0;
    while (vt_op_at(ops) != NULL) ops++;
    VT_CHECK(ops > 20 && vt_op_find(vt_op_name(vt_op_at(ops - 1))) == vt_op_at(ops - 1));
    VT_CHECK(vt_params_count(m.params) == ENTRIES && vt_params_dtype(m.params) == VT_F32);
    VT_CHECK(strcmp(vt_params_name(m.params, 4), "head.weight") == 0);
    VT_CHECK(vt_params_gradients(m.params, 0) == NULL &&
             vt_params_version(m.params) == 1 + ENTRIES);
    VT_CHECK(vt_params_all_bytes(m.params) == vt_params_bytes(m.params));
    VT_CHECK(vt_params_alike(m.params, m.params));
    pass p = open_pass(m, (vt_plan_options){.training = true, .fuse = true}, 2);
    VT_CHECK(vt_plan_training(p.plan) && vt_plan_dtype(p.plan) == VT_F32);
    VT_CHECK(vt_plan_params(p.plan) == ENTRIES && vt_plan_trains(p.plan, 0));
    VT_CHECK(vt_plan_inputs(p.plan) == 1 && vt_plan_input_shape(p.plan, 0)->dim[1] == COLS);
    VT_CHECK(vt_plan_outputs(p.plan) == 1 && vt_plan_output_shape(p.plan, 0)->dim[1] == CLASSES);
    VT_CHECK(!vt_plan_has_input_gradient(p.plan, 0));
    VT_CHECK(vt_plan_costs(p.plan).forward_flops > 2 * TOKENS * COLS * HIDDEN);
    VT_CHECK(vt_run_capacity(p.run) == BATCH && vt_run_threads(p.run) == 2);
    int phase = 0, products = 0;
    for (int i = 0; i < vt_plan_steps(p.plan); i++) {
        vt_step_report step;
        vt_plan_step(p.plan, i, &step);
        VT_CHECK(step.phase >= phase && step.lane != NULL && step.pass != NULL && step.op != NULL);
        phase = step.phase;
        products += step.engine[0] != '\0';
    }
    VT_CHECK(products >= 2);
    close_pass(p);
    close_model(m);
}

/* Bits do not depend on threads, nor on whether the list is fused. */
static void test_forward(void) {
    model m = open_model(VT_F32);
    double x[INPUT];
    float input[INPUT], logits[4][LOGITS];
    fill_input(x);
    for (int i = 0; i < INPUT; i++) input[i] = (float)x[i];
    for (int i = 0; i < 4; i++) {
        pass p = open_pass(m, (vt_plan_options){.fuse = i % 2 == 0}, 1 + i / 2);
        forward(p, input, logits[i]);
        VT_CHECK(memcmp(logits[i], logits[0], sizeof logits[0]) == 0);
        VT_CHECK(vt_run_images(p.run) == BATCH);
        close_pass(p);
    }
    VT_CHECK(vt_count_nonfinite(VT_F32, logits, 4 * LOGITS) == 0 && logits[0][0] != logits[0][1]);
    close_model(m);
}

/* Gradients are central differences. */
static void test_backward(void) {
    model m = open_model(VT_F64);
    pass p =
        open_pass(m, (vt_plan_options){.training = true, .input_gradients = true, .fuse = true}, 2);
    double x[INPUT], dx[INPUT], dlogits[LOGITS], ignored[LOGITS];
    fill_input(x);
    loss_of(p, x, dlogits);
    const void *gradient = dlogits;
    VT_CHECK(vt_run_backward(p.run, &gradient, NULL) == VT_OK);
    VT_CHECK(vt_run_backward(p.run, &gradient, NULL) == VT_VALUE);
    VT_CHECK(vt_run_input_gradient(p.run, 0, dx));
    const double h = 1e-5;
    for (int i = 0; i < INPUT; i += 5) {
        double moved[2];
        for (int side = 0; side < 2; side++) {
            const double kept = x[i];
            x[i] += side == 0 ? h : -h;
            moved[side] = loss_of(p, x, ignored);
            x[i] = kept;
        }
        VT_CHECK(fabs(dx[i] - (moved[0] - moved[1]) / (2 * h)) < 1e-8);
    }
    for (int index = 0; index < ENTRIES; index++) {
        double *value = vt_params_at(m.params, vt_params_values(m.params), index), moved[2];
        const double *dvalue = vt_params_at(m.params, vt_params_gradients(m.params, index), index);
        double kept[HIDDEN * COLS] = {0}, near[HIDDEN * COLS];
        memcpy(kept, value, (size_t)vt_shape_elements(&shapes[index]) * sizeof *kept);
        memcpy(near, kept, sizeof near);
        for (int side = 0; side < 2; side++) {
            near[0] = kept[0] + (side == 0 ? h : -h);
            vt_params_write(m.params, vt_params_values(m.params), index, near);
            moved[side] = loss_of(p, x, ignored);
        }
        vt_params_write(m.params, vt_params_values(m.params), index, kept);
        VT_CHECK(fabs(dvalue[0] - (moved[0] - moved[1]) / (2 * h)) < 1e-8);
    }
    VT_CHECK(vt_run_backward(p.run, &gradient, NULL) == VT_MISUSE); /* weights were written */
    VT_CHECK(vt_params_gradient_norm(m.params, NULL, 2) > 0);
    vt_params_zero_gradients(m.params);
    VT_CHECK(vt_params_gradients(m.params, 0) == NULL);
    close_pass(p);
    close_model(m);
}

/* Adam lowers the loss, and leaves a frozen entry as it is. */
static void test_training(void) {
    enum { STEPS = 60, FROZEN = 4 };
    model m = open_model(VT_F64);
    VT_CHECK(vt_params_set_requires_grad(m.params, FROZEN, false, NULL) == VT_OK);
    pass p = open_pass(m, (vt_plan_options){.training = true, .fuse = true}, 1);
    VT_CHECK(!vt_plan_trains(p.plan, FROZEN));
    vt_update update = {.params = m.params, .threads = 1};
    for (int i = 0; i < 2; i++) {
        VT_CHECK(vt_params_buffer(m.params, &update.state[i], NULL) == VT_OK);
    }
    double x[INPUT], dlogits[LOGITS], losses[STEPS];
    const double *frozen = vt_params_at(m.params, vt_params_values(m.params), FROZEN);
    const double before = frozen[0];
    fill_input(x);
    for (int step = 0; step < STEPS; step++) {
        losses[step] = loss_of(p, x, dlogits);
        const void *gradient = dlogits;
        vt_params_zero_gradients(m.params);
        VT_CHECK(vt_run_backward(p.run, &gradient, NULL) == VT_OK);
        const vt_adamw adam = {.lr = 0.05,
                               .beta1 = 0.9,
                               .beta2 = 0.999,
                               .eps = 1e-8,
                               .beta1_power = pow(0.9, step + 1),
                               .beta2_power = pow(0.999, step + 1)};
        vt_adamw_run(&update, &adam);
    }
    VT_CHECK(losses[STEPS - 1] < 0.1 * losses[0]);
    VT_CHECK(frozen[0] == before && vt_params_gradients(m.params, FROZEN) == NULL);
    for (int i = 0; i < 2; i++) vt_free(update.state[i]);
    close_pass(p);
    close_model(m);
}

/* A profile counts each task of each step, and takes part in nothing. */
static void test_profile(void) {
    enum { THREADS = 2 };
    model m = open_model(VT_F64);
    double x[INPUT], dlogits[2][LOGITS], losses[2];
    fill_input(x);
    pass p = open_pass(m, (vt_plan_options){.training = true, .fuse = true}, THREADS);
    VT_CHECK(vt_run_step_time(p.run, 0).times == 0 && vt_run_phase_time(p.run, 0).times == 0);
    losses[0] = loss_of(p, x, dlogits[0]);
    for (int again = 0; again < 2; again++) { /* the second call begins from zero */
        VT_CHECK(vt_run_profile(p.run, NULL) == VT_OK);
        VT_CHECK(vt_run_step_time(p.run, 0).times == 0);
        losses[1] = loss_of(p, x, dlogits[1]);
        const void *gradient = dlogits[1];
        VT_CHECK(vt_run_backward(p.run, &gradient, NULL) == VT_OK);
    }
    VT_CHECK(losses[0] == losses[1] && memcmp(dlogits[0], dlogits[1], sizeof dlogits[0]) == 0);
    double busy = 0, wall = 0, flops = 0;
    for (int i = 0; i < vt_plan_steps(p.plan); i++) {
        vt_step_report step;
        vt_plan_step(p.plan, i, &step);
        const vt_time time = vt_run_step_time(p.run, i);
        VT_CHECK(time.times >= 1 && time.seconds >= 0);
        busy += time.seconds;
        flops += step.flops;
        VT_CHECK((step.flops > 0) == (step.precision != NULL));
    }
    for (int i = 0; i < vt_plan_phases(p.plan); i++) {
        VT_CHECK(vt_run_phase_time(p.run, i).times == 1);
        wall += vt_run_phase_time(p.run, i).seconds;
    }
    VT_CHECK(busy > 0 && busy <= THREADS * wall);
    const vt_costs costs = vt_plan_costs(p.plan);
    VT_CHECK(flops == costs.forward_flops + costs.backward_flops);
    close_pass(p);
    close_model(m);
}

static void test_peaks(void) {
    double rate = 0;
    vt_error error;
    for (int precision = 0; precision < VT_PRECISION_COUNT; precision++) {
        VT_CHECK(vt_peak_products((vt_precision)precision, 2, 0.01, &rate, NULL) == VT_OK);
        VT_CHECK(rate > 0);
    }
    VT_CHECK(vt_peak_memory(2, 0.01, &rate, NULL) == VT_OK && rate > 0);
    VT_CHECK(vt_peak_memory(0, 0.01, &rate, &error) == VT_VALUE);
    VT_CHECK(strstr(error.message, "got 0 and 0.01") != NULL);
    VT_CHECK(vt_peak_products(VT_PRECISION_F32, 1, -1, &rate, NULL) == VT_VALUE);
}

static void test_refusals(void) {
    vt_error error;
    model m = open_model(VT_F32);
    vt_listing listing = vt_program_listing(m.program);
    vt_program *program;
    vt_params *params;
    const int output = 6;
    listing.outputs = &output;
    VT_CHECK(vt_program_open(&program, &listing, &error) == VT_VALUE && program == NULL);
    VT_CHECK(strcmp(error.message, "output 0 is value 6 of 6") == 0);
    const vt_shape bad = {2, {3, 0}};
    const char *const name = "w";
    VT_CHECK(vt_params_open(&params, 1, &name, &bad, NULL, VT_F32, &error) == VT_VALUE);
    VT_CHECK(params == NULL && strstr(error.message, "parameter w has a size") != NULL);
    const vt_shape good = {2, {3, 2}};
    const bool int8 = true;
    VT_CHECK(vt_params_open(&params, 1, &name, &good, &int8, VT_F32, NULL) == VT_OK);
    VT_CHECK(vt_params_entry_dtype(params, 0) == VT_S8 && !vt_params_requires_grad(params, 0));
    VT_CHECK(vt_params_set_requires_grad(params, 0, true, &error) == VT_VALUE);
    VT_CHECK(!vt_params_alike(params, m.params));
    vt_plan *plan;
    VT_CHECK(vt_plan_open(&plan, m.program, params, (vt_plan_options){.fuse = true}, &error) ==
             VT_VALUE);
    VT_CHECK(plan == NULL);
    vt_params_close(params);
    close_model(m);
}

int main(void) {
    vt_error error;
    if (vt_isa_select(getenv("VITC_ISA"), &error) != VT_OK) {
        printf("%s\n", error.message);
        return 1;
    }
    test_the_objects();
    test_forward();
    test_backward();
    test_training();
    test_refusals();
    test_profile();
    test_peaks();
    VT_CHECK(vt_memory_read().blocks < 64); /* products are kept, and nothing else */
    return vt_check_summary();
}
