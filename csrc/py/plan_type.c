/* Plan: made from a program and the parameters; read by Python for its sizes and its steps. */
#include "py/state.h"

static vt_plan *plan_of(PyObject *self) { return ((vt_plan_object *)self)->plan; }

/* None is 0, the machine's own choice; what is not a number of rows becomes -1, which the core
 * refuses.
 */
static int64_t parse_tile_rows(PyObject *object) {
    if (object == Py_None) return 0;
    const int64_t rows = PyLong_AsLongLong(object);
    return rows == 0 ? -1 : rows;
}

static PyObject *plan_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"program",         "params",    "training",
                               "input_gradients", "fuse",      "bf16",
                               "checkpointing",   "tile_rows", NULL};
    vt_module_state *state = vt_state_of_type(type);
    PyObject *program, *params;
    PyObject *tile_rows = Py_None;
    int training = 0, input_gradients = 0, fuse = 1, bf16 = 0, checkpointing = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!|$pppppO:Plan", keywords, state->program,
                                     &program, state->params, &params, &training, &input_gradients,
                                     &fuse, &bf16, &checkpointing, &tile_rows)) {
        return NULL;
    }
    const int64_t forced_rows = parse_tile_rows(tile_rows);
    if (PyErr_Occurred() != NULL) return NULL;
    vt_plan_object *self = (vt_plan_object *)PyType_GenericAlloc(type, 0);
    if (self == NULL) return NULL;
    self->params = (vt_params_object *)Py_NewRef(params);
    const vt_plan_options options = {.training = training != 0,
                                     .input_gradients = input_gradients != 0,
                                     .bf16 = bf16 != 0,
                                     .checkpointing = checkpointing != 0,
                                     .fuse = fuse != 0,
                                     .tile_rows = forced_rows};
    vt_error error;
    vt_status status;
    Py_BEGIN_ALLOW_THREADS
    status = vt_plan_open(&self->plan, ((vt_program_object *)program)->program,
                          self->params->params, options, &error);
    Py_END_ALLOW_THREADS
    if (status == VT_OK) return (PyObject *)self;
    Py_DECREF(self);
    return vt_raise(state, status, &error);
}

static void plan_dealloc(PyObject *self) {
    Py_BEGIN_ALLOW_THREADS
    vt_plan_close(plan_of(self));
    Py_END_ALLOW_THREADS
    Py_XDECREF(((vt_plan_object *)self)->params);
    vt_free_object(self);
}

static PyObject *plan_nbytes(PyObject *self, PyObject *args) {
    long long capacity;
    int threads;
    if (!PyArg_ParseTuple(args, "Li:nbytes", &capacity, &threads)) return NULL;
    vt_error error;
    const vt_status status = vt_run_check(plan_of(self), capacity, threads, &error);
    if (status != VT_OK) return vt_raise(vt_state_of_type(Py_TYPE(self)), status, &error);
    return PyLong_FromSize_t(vt_run_bytes(plan_of(self), capacity, threads));
}

/* ---------------------------------------------------------------- attributes */

static PyObject *plan_training(PyObject *self, void *unused) {
    (void)unused;
    return PyBool_FromLong(plan_of(self)->training);
}

static PyObject *plan_trained(PyObject *self, void *unused) {
    (void)unused;
    const int count = plan_of(self)->lowered->param_count;
    PyObject *tuple = PyTuple_New(count);
    for (int i = 0; tuple != NULL && i < count; i++) {
        PyTuple_SET_ITEM(tuple, i, PyBool_FromLong(plan_of(self)->trained[i]));
    }
    return tuple;
}

static PyObject *plan_size(PyObject *self, void *offset) {
    const char *plan = (const char *)plan_of(self);
    return PyLong_FromSize_t(*(const size_t *)(const void *)(plan + (size_t)offset));
}

static PyObject *plan_thread_bytes(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromSize_t(vt_plan_thread_bytes(plan_of(self)));
}

static PyObject *plan_flops(PyObject *self, void *offset) {
    const char *plan = (const char *)plan_of(self);
    return PyLong_FromDouble(*(const double *)(const void *)(plan + (size_t)offset));
}

static const char *const pass_name[] = {"forward", "backward", "accumulate", "pack"};
static const char *const lane_name[] = {"strips", "parts", "panels"};
static const char *const place_name[] = {"arena", "local", "fixed"};

/* (number of the memory, place) of the buffer that a step writes, or None. */
static PyObject *written_buffer(const vt_plan *plan, const vt_step *step) {
    const int buffer = step->out != VT_NOTHING ? step->out : step->din[0];
    if (buffer == VT_NOTHING) Py_RETURN_NONE;
    const vt_buffer *b = &plan->buffers[buffer];
    return Py_BuildValue("(is)", b->root, place_name[b->place]);
}

/* What multiplies in a step, each once: "brg:avx512_core, plain"; None where nothing does. */
static PyObject *step_engines(const vt_kit *kit, vt_pass pass) {
    static const unsigned functions[] = {[VT_FORWARD] = VT_IN_FORWARD,
                                         [VT_BACKWARD] = VT_IN_BACKWARD,
                                         [VT_ACCUMULATE] = VT_IN_ACCUMULATE,
                                         [VT_PACK] = 0};
    const char *names[VT_MAX_PRODUCTS];
    char text[256] = "";
    int count = 0;
    for (int i = 0; i < VT_MAX_PRODUCTS; i++) {
        if ((kit->runs_in[i] & functions[pass]) == 0) continue;
        const char *name = vt_tiles_implementation(&kit->product[i]);
        int known = 0;
        while (known < count && strcmp(names[known], name) != 0) known++;
        if (known < count) continue;
        names[count++] = name;
        const size_t used = strlen(text);
        snprintf(text + used, sizeof text - used, "%s%s", used > 0 ? ", " : "", name);
    }
    if (count == 0) Py_RETURN_NONE;
    return PyUnicode_FromString(text);
}

static PyObject *step_dict(const vt_plan *plan, const vt_lane *lane, const vt_step *step) {
    return Py_BuildValue(
        "{s:i,s:s,s:L,s:s,s:i,s:s,s:N,s:N}", "phase", lane->phase, "lane", lane_name[lane->kind],
        "tile_rows", (long long)lane->strips.tile, "pass", pass_name[step->pass], "operation",
        step->node, "kind", plan->lowered->nodes[step->node].op->name, "writes",
        written_buffer(plan, step), "engine", step_engines(&plan->kits[step->node], step->pass));
}

static PyObject *plan_steps(PyObject *self, void *unused) {
    (void)unused;
    const vt_plan *plan = plan_of(self);
    PyObject *list = PyList_New(0);
    for (int l = 0; list != NULL && l < plan->lane_count; l++) {
        const vt_lane *lane = &plan->lanes[l];
        for (int i = 0; list != NULL && i < lane->step_count; i++) {
            PyObject *step = step_dict(plan, lane, &plan->steps[lane->first_step + i]);
            if (step == NULL || PyList_Append(list, step) < 0) Py_CLEAR(list);
            Py_XDECREF(step);
        }
    }
    if (list == NULL) return NULL;
    PyObject *tuple = PyList_AsTuple(list);
    Py_DECREF(list);
    return tuple;
}

#define VT_OFFSET(field) ((void *)offsetof(vt_plan, field))

static PyGetSetDef plan_getset[] = {
    {"training", plan_training, NULL, "True if backward can follow", NULL},
    {"trained", plan_trained, NULL,
     "one bool per parameter: whether it required a gradient when the plan was made", NULL},
    {"image_bytes", plan_size, NULL, "arena bytes per image", VT_OFFSET(image_bytes)},
    {"fixed_bytes", plan_size, NULL,
     "bytes of packed weights: per run in training, else of the plan", VT_OFFSET(fixed_bytes)},
    {"thread_bytes", plan_thread_bytes, NULL, "scratch bytes per thread", NULL},
    {"forward_flops", plan_flops, NULL, "per image; a multiply-add is two",
     VT_OFFSET(forward_flops)},
    {"backward_flops", plan_flops, NULL, "per image", VT_OFFSET(backward_flops)},
    {"steps", plan_steps, NULL, "one dict per step, in the order in which they run", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef plan_methods[] = {
    {"nbytes", plan_nbytes, METH_VARARGS,
     "nbytes($self, capacity, threads, /)\n--\n\nBytes that a Run allocates, exactly."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot plan_slots[] = {
    {Py_tp_doc,
     "Plan(program, params, *, training=False, input_gradients=False, fuse=True, "
     "bf16=False, checkpointing=False, tile_rows=None)\n--\n\n"
     "How a program is run, for any batch size."},
    {Py_tp_new, plan_new},
    {Py_tp_dealloc, plan_dealloc},
    {Py_tp_methods, plan_methods},
    {Py_tp_getset, plan_getset},
    {0, NULL},
};

PyType_Spec vt_plan_spec = {
    .name = "vitc._vitc.Plan",
    .basicsize = sizeof(vt_plan_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = plan_slots,
};
