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
    return PyBool_FromLong(vt_plan_training(plan_of(self)));
}

static PyObject *plan_trained(PyObject *self, void *unused) {
    (void)unused;
    const int count = vt_plan_params(plan_of(self));
    PyObject *tuple = PyTuple_New(count);
    for (int i = 0; tuple != NULL && i < count; i++) {
        PyTuple_SET_ITEM(tuple, i, PyBool_FromLong(vt_plan_trains(plan_of(self), i)));
    }
    return tuple;
}

static PyObject *plan_size(PyObject *self, void *offset) {
    const vt_costs costs = vt_plan_costs(plan_of(self));
    size_t size;
    memcpy(&size, (const char *)&costs + (size_t)offset, sizeof size);
    return PyLong_FromSize_t(size);
}

static PyObject *plan_flops(PyObject *self, void *offset) {
    const vt_costs costs = vt_plan_costs(plan_of(self));
    double flops;
    memcpy(&flops, (const char *)&costs + (size_t)offset, sizeof flops);
    return PyLong_FromDouble(flops);
}

/* (number of the memory, place) that a step writes, or None. */
static PyObject *step_memory(const vt_step_report *step) {
    if (step->place == NULL) Py_RETURN_NONE;
    return Py_BuildValue("(is)", step->memory, step->place);
}

static PyObject *step_dict(const vt_step_report *step) {
    return Py_BuildValue(
        "{s:i,s:s,s:L,s:s,s:i,s:s,s:N,s:z,s:z,s:d,s:(nn),s:(nn)}", "phase", step->phase, "lane",
        step->lane, "tile_rows", (long long)step->tile_rows, "pass", step->pass, "operation",
        step->node, "kind", step->op, "writes", step_memory(step), "engine",
        step->engine[0] == '\0' ? NULL : step->engine, "precision", step->precision, "flops",
        step->flops, "image_bytes", (Py_ssize_t)step->image_read, (Py_ssize_t)step->image_written,
        "fixed_bytes", (Py_ssize_t)step->fixed_read, (Py_ssize_t)step->fixed_written);
}

static PyObject *plan_steps(PyObject *self, void *unused) {
    (void)unused;
    const int count = vt_plan_steps(plan_of(self));
    PyObject *tuple = PyTuple_New(count);
    for (int i = 0; tuple != NULL && i < count; i++) {
        vt_step_report report;
        vt_plan_step(plan_of(self), i, &report);
        PyObject *step = step_dict(&report);
        if (step == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, step);
    }
    return tuple;
}

#define VT_OFFSET(field) ((void *)offsetof(vt_costs, field))

static PyGetSetDef plan_getset[] = {
    {"training", plan_training, NULL, "True if backward can follow", NULL},
    {"trained", plan_trained, NULL,
     "one bool per parameter: whether it required a gradient when the plan was made", NULL},
    {"image_bytes", plan_size, NULL, "arena bytes per image", VT_OFFSET(image_bytes)},
    {"fixed_bytes", plan_size, NULL, "bytes of packed weights: per run in training, else per table",
     VT_OFFSET(fixed_bytes)},
    {"thread_bytes", plan_size, NULL, "scratch bytes per thread", VT_OFFSET(thread_bytes)},
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
