/* vitc in C: everything that the core offers, and all that csrc/py/ uses of it.
 *
 *     vt_isa_select, vt_machine_select   once, before all else
 *     vt_program_open, vt_params_open    what a model is, or both from a file: vt_file_open
 *     vt_plan_open, vt_run_open          how it is run, and the memory of one pass
 *     vt_run_forward, vt_run_output      and vt_run_backward, vt_run_input_gradient
 *     vt_adamw_run, ...                  a step of an optimizer
 *
 * Objects are opaque. A function ..._open makes one and ..._close, which takes NULL, ends it; what
 * an object borrows is said there and must outlive it. A function that can fail returns a vt_status
 * and writes one sentence into `error`, which may be NULL; its results are then not to be used.
 * Nothing exits, prints or raises a signal.
 *
 * Calls may run in parallel, on any threads, except
 *
 * - on one run: it serves one thread at a time;
 * - vt_isa_select and vt_machine_select, and any ..._close with a call that uses the object.
 *
 * Locks inside a parameter table put the rest in order: passes over it share its values; what
 * writes values, moments or gradients has them alone. Never call in while holding a lock that
 * another caller may want. Pointers into a table are read and written without a lock, as said
 * there.
 *
 * Arrays are dense, row-major and of the dtype of the table, unless something else is said. */
#ifndef VT_VITC_H
#define VT_VITC_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/cpu.h"      /* vt_isa_select, the levels */
#include "base/dtype.h"    /* vt_dtype */
#include "base/machine.h"  /* vt_machine_select, the sizes of tiles */
#include "base/memory.h"   /* vt_free, the counters of the allocator */
#include "base/parallel.h" /* vt_default_threads, vt_forks */
#include "base/rng.h"      /* vt_rng_key */
#include "base/status.h"   /* vt_status, vt_error */
#include "kernels/api.h"   /* the numbers of optimizers, which level fills a slot */
#include "vitc_image.h"    /* operations on pixels */

/* ---------------------------------------------------------------- limits and shapes */

enum {
    VT_MAX_INPUTS = 2, /* of an operation */
    VT_MAX_PARAMS = 5,
    VT_MAX_ATTRIBUTES = 10,
    VT_MAX_DIMS = 4, /* without the batch */
    VT_MAX_NAME = 64 /* bytes of a name among the attributes, with its end */
};

/* Dimensions of one image's value, without the batch, or of a parameter. */
typedef struct vt_shape {
    int ndim;
    int64_t dim[VT_MAX_DIMS];
} vt_shape;

static inline int64_t vt_shape_elements(const vt_shape *shape) {
    int64_t elements = 1;
    for (int i = 0; i < shape->ndim; i++) elements *= shape->dim[i];
    return elements;
}

/* ---------------------------------------------------------------- operations */

/* A kind of operation: its name, what it takes, and its functions. There is one of each, forever.
 */
typedef struct vt_op vt_op;

/* The operation of a name, or NULL; and the operation number `index`, NULL behind the last. */
const vt_op *vt_op_find(const char *name);
const vt_op *vt_op_at(int index);

typedef enum vt_attribute_type { VT_ATTR_INT, VT_ATTR_FLOAT, VT_ATTR_NAME } vt_attribute_type;

typedef struct vt_attribute_spec {
    const char *name;
    vt_attribute_type type;
    bool optional; /* an absent one is 0, 0.0 or "" */
} vt_attribute_spec;

typedef struct vt_param_spec {
    const char *name;
    bool optional;
    bool int8; /* instead of the dtype of the values */
} vt_param_spec;

const char *vt_op_name(const vt_op *op);
int vt_op_inputs(const vt_op *op);
bool vt_op_differentiable(const vt_op *op);

/* What it takes besides its inputs. Each list ends with a name that is NULL. */
const vt_param_spec *vt_op_params(const vt_op *op);
const vt_attribute_spec *vt_op_attributes(const vt_op *op);

/* ---------------------------------------------------------------- programs */

typedef union vt_attribute {
    int64_t i;
    double f;
    char name[VT_MAX_NAME];
} vt_attribute;

/* One line of a program. Values are numbered: the inputs first, then the output of each node in
 * order. */
typedef struct vt_node {
    const vt_op *op;
    int inputs[VT_MAX_INPUTS]; /* numbers of values */
    int params[VT_MAX_PARAMS]; /* entries of the parameter table, -1 where left out */
    vt_attribute attributes[VT_MAX_ATTRIBUTES];
    vt_shape shape; /* of the output; found by vt_program_open, which ignores what is here */
    bool border;    /* kept for backward when the nodes between two borders are run again */
} vt_node;

/* The list that a program is made of. The batch is not in it: every value is that of one image. */
typedef struct vt_listing {
    int input_count, param_count, node_count, output_count;
    const vt_shape *inputs; /* of the first values */
    const vt_shape *params; /* of the whole parameter table */
    const vt_node *nodes;
    const int *outputs; /* values */
} vt_listing;

/* A program: a list that was checked, and is never changed. */
typedef struct vt_program vt_program;

/* Copies and checks a list that may come from anywhere: arities, indices, shapes, attributes.
 * VT_VALUE with a sentence that names the operation. A parameter may be used by one operation only.
 */
vt_status vt_program_open(vt_program **program, const vt_listing *listing, vt_error *error);
void vt_program_close(vt_program *program);

/* Its list, with the shape of every node. What it points to is the program's. */
vt_listing vt_program_listing(const vt_program *program);

/* What the executor runs in place of the plain list. Without `training`, operations that are only
 * active in training go. With `fuse`, rows that no output depends on are not computed (when the
 * head reads the class token, the last block works on that row alone), nor are values that nobody
 * reads. */
vt_status vt_program_lower(vt_program **lowered, const vt_program *program, bool training,
                           bool fuse, vt_error *error);

/* ---------------------------------------------------------------- parameters */

/* The parameters of one model: entries of (name, shape) over one flat, 64-byte aligned buffer.
 * Gradients, and buffers of an optimizer, have the same layout. */
typedef struct vt_params vt_params;

/* Copies names and shapes. All values are 0, all real entries require a gradient. int8: one flag
 * per entry, or NULL; such an entry is never trained. The dtype is VT_F32 or VT_F64. VT_VALUE for a
 * shape with a size below 1 or with more than 10^12 elements. */
vt_status vt_params_open(vt_params **params, int count, const char *const *names,
                         const vt_shape *shapes, const bool *int8, vt_dtype dtype, vt_error *error);
void vt_params_close(vt_params *params);

int vt_params_count(const vt_params *params);
vt_dtype vt_params_dtype(const vt_params *params);

/* Bytes of one buffer, and of all that is there: the values, and the gradients once there are any.
 */
size_t vt_params_bytes(const vt_params *params);
size_t vt_params_all_bytes(const vt_params *params);

/* Bytes of packed weights that plans of inference hold: one copy for all of them. */
size_t vt_params_packed_bytes(vt_params *params);

/* Bytes of weights whose own memory was given back, as nobody needs them beside their packed copy;
 * they come back when somebody asks for them here. */
size_t vt_params_resting_bytes(vt_params *params);

/* Rises with every write to the values; what was packed from an older version is made again. */
uint64_t vt_params_version(const vt_params *params);

/* Of an entry, whose index is from 0 to count - 1. The dtype is that of the table, or VT_S8. */
const char *vt_params_name(const vt_params *params, int index);
const vt_shape *vt_params_shape(const vt_params *params, int index);
vt_dtype vt_params_entry_dtype(const vt_params *params, int index);

/* VT_VALUE for an entry of int8 that is to be trained. A plan notes the flags when it is made. */
bool vt_params_requires_grad(const vt_params *params, int index);
vt_status vt_params_set_requires_grad(vt_params *params, int index, bool flag, vt_error *error);

/* Where the values of an entry begin, which stay in place from now on. */
vt_status vt_params_expose(vt_params *params, int index, void **values, vt_error *error);

/* The buffer of the values, all of which stay in place from now on, or NULL if there is no memory
 * for them; and that of the gradients, or NULL if the entry has no gradient. */
void *vt_params_values(vt_params *params);
void *vt_params_gradients(const vt_params *params, int index);

/* One more buffer of this layout, zeroed; to be freed with vt_free. */
vt_status vt_params_buffer(const vt_params *params, void **buffer, vt_error *error);

/* Where an entry begins within a buffer of this layout. Takes no lock: while other threads use the
 * table, read it only where a torn value does no harm, and write with vt_params_write. */
void *vt_params_at(const vt_params *params, void *buffer, int index);

/* Overwrite one entry of a buffer of this layout, NULL being that of the values, whose version
 * rises. Has the values alone. */
void vt_params_write(vt_params *params, void *buffer, int index, const void *values);

/* True if entries of the same number have as many elements, of the same dtype. */
bool vt_params_alike(const vt_params *params, const vt_params *other);

/* Each of these has the gradients alone. chosen: one flag per entry, or NULL for all. Only entries
 * that have a gradient are touched, and results have the same bits for any number of threads. */
vt_status vt_params_write_gradient(vt_params *params, int index, const void *values,
                                   vt_error *error); /* NULL: forgets it */
void vt_params_zero_gradients(vt_params *params);    /* forgets them; touches no memory */
void vt_params_scale_gradients(vt_params *params, const bool *chosen, double factor, int threads);
double vt_params_gradient_norm(vt_params *params, const bool *chosen, int threads); /* L2 */

/* ---------------------------------------------------------------- files */

/* Texts that go along with a program, such as how images are prepared: pairs of key and value. */
typedef struct vt_notes vt_notes;

/* The form of a program and its parameters in a file, in memory to be freed with vt_free: version,
 * length and hash; the list; the table, entries of int8 too; `count` notes, given as 2 count texts.
 * VT_VALUE if the two do not fit each other. Shares the values. csrc/program/file.c describes the
 * bytes. */
vt_status vt_file_write(void **memory, size_t *bytes, const vt_program *program, vt_params *params,
                        const char *const *notes, int count, vt_error *error);

/* The same, read again, from bytes that may come from anywhere; they are copied. The three are to
 * be closed, and are NULL on failure. VT_VALUE for what is not such a file, of another version,
 * damaged or cut off, and for a program that is not one. */
vt_status vt_file_open(vt_program **program, vt_params **params, vt_notes **notes,
                       const void *memory, size_t bytes, vt_error *error);

/* Index from 0 to count - 1, in the order in which they were written. */
int vt_notes_count(const vt_notes *notes);
const char *vt_notes_key(const vt_notes *notes, int index);
const char *vt_notes_value(const vt_notes *notes, int index);
void vt_notes_close(vt_notes *notes);

/* ---------------------------------------------------------------- plans */

/* How a program is run: the order of its steps and the place of everything in memory. */
typedef struct vt_plan vt_plan;

typedef struct vt_plan_options {
    bool training;        /* record what backward needs; dropout and drop path are active */
    bool input_gradients; /* also the gradients of the program's inputs */
    bool bf16;            /* products of bfloat16, sums and all else in float */
    bool checkpointing;   /* backward runs forward again from border to border of the program */
    bool fuse;            /* false runs the plain list, so that a test can compare the two */
    int64_t tile_rows;    /* for tests: instead of those of the machine; 0 = of the machine */
} vt_plan_options;

/* Which parameters want a gradient is read from `params` now; its shapes must be those that the
 * program was built with. The program is not kept. A plan serves one table; it borrows that for
 * packed weights, which plans of inference over one table share. */
vt_status vt_plan_open(vt_plan **plan, const vt_program *program, vt_params *params,
                       vt_plan_options options, vt_error *error);
void vt_plan_close(vt_plan *plan);

bool vt_plan_training(const vt_plan *plan);
vt_dtype vt_plan_dtype(const vt_plan *plan); /* of its values */
int vt_plan_params(const vt_plan *plan);     /* how many the program has */
bool vt_plan_trains(const vt_plan *plan, int index);

/* Its inputs and outputs. Whether backward gives the gradient of an input. */
int vt_plan_inputs(const vt_plan *plan);
int vt_plan_outputs(const vt_plan *plan);
const vt_shape *vt_plan_input_shape(const vt_plan *plan, int index);
const vt_shape *vt_plan_output_shape(const vt_plan *plan, int index);
bool vt_plan_has_input_gradient(const vt_plan *plan, int index);

/* What it costs. */
typedef struct vt_costs {
    size_t image_bytes;  /* of the arena, per image */
    size_t fixed_bytes;  /* packed weights: per run in training, else shared within the table */
    size_t thread_bytes; /* scratch */
    double forward_flops, backward_flops; /* per image; a multiply-add is two */
} vt_costs;

vt_costs vt_plan_costs(const vt_plan *plan);

/* One step, for people to read. Texts are constants, but for `engine`. */
typedef struct vt_step_report {
    int phase;         /* between two phases is a barrier */
    const char *lane;  /* what its tiles are: "strips", "parts", "panels" */
    int64_t tile_rows; /* of a strip */
    const char *pass;  /* "forward", "backward", "accumulate", "pack" */
    int node;          /* of the list that is run, see vt_program_lower */
    const char *op;    /* its operation */
    int memory;        /* number of the memory that it writes; -1: parameters only */
    const char *place; /* where that is: "arena", "local", "fixed"; NULL: nowhere */
    char engine[256];  /* what multiplies, each once: "brg:avx512_core, plain"; "": nothing */

    /* Its work, as far as it can be known before: multiplications of matrices, and what has to come
     * from memory or go there, each byte once. What stays in a thread's own strip is left out. */
    const char *precision; /* of the products: "float32", "bfloat16", ...; NULL: there are none */
    double flops;          /* per image; a multiply-add is two */
    size_t image_read, image_written; /* bytes of values, per image */
    size_t fixed_read, fixed_written; /* bytes of weights and their gradients, per pass */
} vt_step_report;

/* Phases are numbered from 0 on. Steps in the order in which they run; index from 0 to
 * vt_plan_steps - 1. */
int vt_plan_phases(const vt_plan *plan);
int vt_plan_steps(const vt_plan *plan);
void vt_plan_step(const vt_plan *plan, int index, vt_step_report *report);

/* ---------------------------------------------------------------- runs */

/* The memory of one live forward pass. */
typedef struct vt_run vt_run;

/* VT_VALUE for a capacity or a number of threads out of range, VT_MEMORY if the bytes cannot even
 * be counted. */
vt_status vt_run_check(const vt_plan *plan, int64_t capacity, int threads, vt_error *error);

/* Bytes that vt_run_open allocates, exactly, for sizes that vt_run_check accepts. */
size_t vt_run_bytes(const vt_plan *plan, int64_t capacity, int threads);

/* Room for `capacity` images. Plan and params are borrowed and must outlive the run. */
vt_status vt_run_open(vt_run **run, vt_plan *plan, vt_params *params, int64_t capacity, int threads,
                      vt_error *error);
void vt_run_close(vt_run *run);

int64_t vt_run_capacity(const vt_run *run);
int vt_run_threads(const vt_run *run);
int64_t vt_run_images(const vt_run *run); /* of the forward pass that it holds */

/* Run forward on 1 to `capacity` images; inputs[i] holds images x elements of input i and is
 * copied. key and first_image (the number of image 0 in the global batch) are the position in a
 * training run, from which every random draw follows. Shares the values. */
vt_status vt_run_forward(vt_run *run, int64_t images, const void *const *inputs, vt_rng_key key,
                         uint64_t first_image, vt_error *error);

/* Copy output `index` out: images x elements. */
void vt_run_output(const vt_run *run, int index, void *output);

/* Run backward from the gradients of the outputs (NULL: zero), once per forward. Gradients of
 * parameters are added to those there are. VT_MISUSE if the parameters were written since the
 * forward pass. Shares the values, has the gradients alone. */
vt_status vt_run_backward(vt_run *run, const void *const *output_gradients, vt_error *error);

/* Copy the gradient of input `index` out, images x elements; false if the plan has none. */
bool vt_run_input_gradient(const vt_run *run, int index, void *gradient);

/* ---------------------------------------------------------------- profiles */

/* Count from now on, from zero, what each step and phase of a run takes; with it come memory beyond
 * vt_run_bytes and a reading of the clock per task and step. No bit of a result changes. */
vt_status vt_run_profile(vt_run *run, vt_error *error);

typedef struct vt_time {
    int64_t times;  /* tasks of the step, or passes through the phase */
    double seconds; /* of all of them together */
} vt_time;

/* What was counted, zeros if nothing was: the tasks of a step on all threads together, one thread's
 * time being added to another's; and from the start of a phase to the end of the barrier behind it.
 * So threads x a phase's time less that of its steps is what threads have waited. */
vt_time vt_run_step_time(const vt_run *run, int step);
vt_time vt_run_phase_time(const vt_run *run, int phase);

/* What this processor can do, measured now with `threads` threads at once for about `seconds`: the
 * most that plans can be compared with. */

/* Operations per second, a multiply-add being two, of matrix products by the engines that plans
 * use. Each thread multiplies in its own caches; of several sizes the fastest counts. */
vt_status vt_peak_products(vt_precision precision, int threads, double seconds, double *rate,
                           vt_error *error);

/* Bytes per second that all threads together read from memory, in a buffer of twice the last cache
 * that they sum up. */
vt_status vt_peak_memory(int threads, double seconds, double *rate, vt_error *error);

/* ---------------------------------------------------------------- losses */

/* Cross entropy of B rows of K logits (torch.nn.functional.cross_entropy, not yet divided). */
typedef struct vt_cross_entropy {
    vt_dtype dtype;
    int64_t rows, classes;
    const void *logits;         /* (B, K) */
    const int64_t *labels;      /* (B,), or NULL: then */
    const void *probabilities;  /* (B, K) */
    const void *class_weights;  /* (K,), or NULL: 1 */
    const void *sample_weights; /* (B,), or NULL: 1 */
    double label_smoothing;
    double gamma;         /* focal: each class times (1 - its probability)^gamma; 0 for none */
    int64_t ignore_index; /* rows with this label count for nothing */
} vt_cross_entropy;

/* value = sum over the rows of sample weight x loss; weight = what a mean divides by: the sum of
 * sample weight x class weight of the label, or of the sample weights where the target is a
 * distribution. dlogits (B, K) = d value / d logits. VT_VALUE for a label outside [0, K). */
vt_status vt_cross_entropy_run(const vt_cross_entropy *loss, double *value, double *weight,
                               void *dlogits, vt_error *error);

/* Losses that sum over the columns of a row, against a target of the same shape. */
typedef enum vt_loss_kind {
    VT_BINARY_CROSS_ENTROPY, /* reads class_weights, positive_weights */
    VT_BINARY_FOCAL,         /* reads alpha, gamma */
    VT_DIVERGENCE,           /* reads log_target */
    VT_SQUARED_ERROR,
    VT_LOSS_COUNT
} vt_loss_kind;

typedef struct vt_row_loss {
    vt_loss_kind kind;
    vt_dtype dtype;
    int64_t rows, cols;
    const void *input, *target;   /* (B, K) */
    const void *class_weights;    /* (K,), or NULL: 1 */
    const void *positive_weights; /* (K,), or NULL: 1 */
    const void *sample_weights;   /* (B,), or NULL: 1 */
    double factor;                /* of every row */
    double alpha, gamma;
    bool log_target;
} vt_row_loss;

/* The kind of a name, or VT_LOSS_COUNT. */
vt_loss_kind vt_loss_find(const char *name);

/* value = sum over the rows of sample weight x factor x loss; weight = the sum of the sample
 * weights; dinput (B, K) = d value / d input. */
void vt_row_loss_run(const vt_row_loss *loss, double *value, double *weight, void *dinput);

/* Jensen-Shannon divergence of `splits` views (2 to VT_MAX_SPLITS) of B samples of K logits,
 * (splits, B, K); returns the sum over the samples. */
double vt_jensen_shannon_run(vt_dtype dtype, const void *logits, int64_t splits, int64_t rows,
                             int64_t classes, void *dlogits);

/* ---------------------------------------------------------------- optimizers */

/* Which entries a step changes, and what the optimizer keeps for them. */
typedef struct vt_update {
    vt_params *params;
    void *state[2]; /* buffers of the params' layout: first and second moment, or NULL */
    const bool
        *chosen; /* one flag per entry, or NULL; entries without a gradient are passed over */
    int threads;
} vt_update;

/* One step each: has values, buffers and gradients alone, and raises the version of the params. */
void vt_adamw_run(const vt_update *update, const vt_adamw *step);
void vt_radam_run(const vt_update *update, const vt_radam *step);
void vt_sgd_run(const vt_update *update, const vt_sgd *step);
void vt_lion_run(const vt_update *update, const vt_lion *step);

/* LAMB: the step of each entry is scaled by its trust, |p| / |u|, where `adapts`; `trust_clip`: by
 * at most 1. A norm of 0 counts as a trust of 1. */
void vt_lamb_run(const vt_update *update, const vt_lamb *step, bool adapts, bool trust_clip);

/* Cut each element of the chosen gradients to [-limit, limit]. */
void vt_clip_value(vt_params *params, const bool *chosen, double limit, int threads);

/* Adaptive clipping (Brock et al. 2021; timm adaptive_clip_grad): a unit is a row of a parameter's
 * matrix, or a whole vector; its gradient's norm is clipped to factor * max(norm of the unit, eps).
 */
void vt_clip_adaptive(vt_params *params, const bool *chosen, double factor, double eps,
                      int threads);

/* average += (params - average) * share, for all entries of two tables that are alike. Raises the
 * version of the average. The average of a table and itself is that table. */
vt_status vt_average(vt_params *average, vt_params *params, double share, int threads,
                     vt_error *error);

/* ---------------------------------------------------------------- functions of matrices */

/* Of each row of x (rows, cols), on the calling thread. VT_F32 or VT_F64. */
void vt_softmax(vt_dtype dtype, void *y, const void *x, int64_t rows, int64_t cols);
void vt_log_softmax(vt_dtype dtype, void *y, const void *x, int64_t rows, int64_t cols);

/* The gradient of the input of the latter, from its output y and that of the output, dy. */
void vt_log_softmax_backward(vt_dtype dtype, void *dx, const void *dy, const void *y, int64_t rows,
                             int64_t cols);

/* How many of n elements are infinite or NaN. */
int64_t vt_count_nonfinite(vt_dtype dtype, const void *x, int64_t n);

/* The first n random words of image `image` of the global batch at one site of a program. */
void vt_random_words(uint32_t *words, int64_t n, vt_rng_key key, uint64_t image, const char *site);

/* ---------------------------------------------------------------- what there is */

/* "3.2.0 (OpenMP)" or "none": the library that multiplies. */
const char *vt_linalg_version(void);

/* True if products of bfloat16 run on instructions made for them, and not in plain C. */
bool vt_matmul_has_bf16(void);

#endif
