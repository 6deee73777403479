/* Run: forward and backward on arrays. The GIL is released while the core works. */
#include "py/array.h"
#include "py/state.h"

static vt_run *run_of(PyObject *self) { return ((vt_run_object *)self)->run; }
static const vt_plan *plan_of(PyObject *self) { return ((vt_run_object *)self)->plan->plan; }

static PyObject *run_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"plan", "capacity", "threads", NULL};
    vt_module_state *state = vt_state_of_type(type);
    PyObject *plan;
    long long capacity;
    int threads;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!Li:Run", keywords, state->plan, &plan,
                                     &capacity, &threads)) {
        return NULL;
    }
    vt_run_object *self = (vt_run_object *)PyType_GenericAlloc(type, 0);
    if (self == NULL) return NULL;
    self->plan = (vt_plan_object *)Py_NewRef(plan);
    vt_error error;
    const vt_status status = vt_run_open(&self->run, self->plan->plan, self->plan->params->params,
                                         capacity, threads, &error);
    if (status == VT_OK) return (PyObject *)self;
    Py_DECREF(self);
    return vt_raise(state, status, &error);
}

static void run_dealloc(PyObject *self) {
    vt_run_close(run_of(self));
    Py_XDECREF(((vt_run_object *)self)->plan);
    vt_free_object(self);
}

/* ---------------------------------------------------------------- arrays of values */

/* Room for the arrays of all inputs or outputs, and the pointers to their data. */
typedef struct array_list {
    PyObject *tuple;
    PyObject **arrays;
    const void **data;
    int count;
} array_list;

static int array_list_open(array_list *list, PyObject *sequence, int count) {
    list->count = count;
    list->tuple = PySequence_Tuple(sequence);
    list->arrays = PyMem_Calloc((size_t)count, sizeof *list->arrays);
    list->data = PyMem_Calloc((size_t)count, sizeof *list->data);
    if (list->tuple == NULL) return -1;
    if (list->arrays != NULL && list->data != NULL) return 0;
    PyErr_NoMemory();
    return -1;
}

static void array_list_close(array_list *list) {
    for (int i = 0; list->arrays != NULL && i < list->count; i++) Py_XDECREF(list->arrays[i]);
    PyMem_Free(list->arrays);
    PyMem_Free(list->data);
    Py_XDECREF(list->tuple);
}

/* (images, *shape) of a value; images -1: any. */
static vt_array_spec value_spec(const vt_plan *plan, const vt_shape *shape, int64_t images,
                                const char *name) {
    vt_array_spec spec = {name, vt_array_type(vt_plan_dtype(plan)), shape->ndim + 1, {images}};
    for (int i = 0; i < shape->ndim; i++) spec.dim[i + 1] = shape->dim[i];
    return spec;
}

static PyObject *new_value(PyObject *self, const vt_shape *shape) {
    const vt_array_spec spec =
        value_spec(plan_of(self), shape, vt_run_images(run_of(self)), "output");
    return vt_array_new(spec.type, spec.ndim, spec.dim);
}

/* The shape of an input or an output. */
typedef const vt_shape *(*shape_of)(const vt_plan *plan, int index);

/* Contiguous arrays for `count` values. None gives NULL where `optional`. If *images is -1, it
 * becomes what the first array has. -1 with an exception. */
static int expect_values(const vt_plan *plan, array_list *list, shape_of shape, const char *name,
                         int64_t *images, bool optional) {
    if (PyTuple_GET_SIZE(list->tuple) != list->count) {
        PyErr_Format(PyExc_ValueError, "got %zd arrays, expected %d", PyTuple_GET_SIZE(list->tuple),
                     list->count);
        return -1;
    }
    for (int i = 0; i < list->count; i++) {
        PyObject *object = PyTuple_GET_ITEM(list->tuple, i);
        if (optional && object == Py_None) continue;
        const vt_array_spec spec = value_spec(plan, shape(plan, i), *images, name);
        list->arrays[i] = vt_array_expect(object, &spec);
        if (list->arrays[i] == NULL) return -1;
        list->data[i] = vt_array_data(list->arrays[i]);
        if (*images < 0) *images = vt_array_dim(list->arrays[i], 0);
    }
    return 0;
}

/* A run serves one thread at a time. -1 with an exception if it is in use. */
static int claim(PyObject *self) {
    vt_run_object *run = (vt_run_object *)self;
    const int mine = 1 + vt_forks();
    if (run->busy == mine) {
        PyErr_SetString(vt_state_of_type(Py_TYPE(self))->error,
                        "this run is in use by another thread");
        return -1;
    }
    run->busy = mine;
    return 0;
}

static void release(PyObject *self) { ((vt_run_object *)self)->busy = 0; }

/* ---------------------------------------------------------------- forward */

static PyObject *outputs_tuple(PyObject *self) {
    const vt_plan *plan = plan_of(self);
    PyObject *tuple = PyTuple_New(vt_plan_outputs(plan));
    for (int i = 0; tuple != NULL && i < vt_plan_outputs(plan); i++) {
        PyObject *array = new_value(self, vt_plan_output_shape(plan, i));
        if (array == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        vt_run_output(run_of(self), i, vt_array_data(array));
        PyTuple_SET_ITEM(tuple, i, array);
    }
    return tuple;
}

static PyObject *forward_arrays(PyObject *self, array_list *inputs, vt_rng_key key,
                                unsigned long long row) {
    int64_t images = -1;
    if (expect_values(plan_of(self), inputs, vt_plan_input_shape, "input", &images, false) < 0) {
        return NULL;
    }
    vt_run *run = run_of(self);
    vt_error error;
    vt_status status;
    Py_BEGIN_ALLOW_THREADS
    status = vt_run_forward(run, images, inputs->data, key, row, &error);
    Py_END_ALLOW_THREADS
    if (status != VT_OK) return vt_raise(vt_state_of_type(Py_TYPE(self)), status, &error);
    return outputs_tuple(self);
}

static PyObject *run_forward(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"inputs", "seed", "step", "forward", "row", NULL};
    PyObject *sequence;
    unsigned long long seed = 0, step = 0, row = 0;
    unsigned int forward = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|$KKIK:forward", keywords, &sequence, &seed,
                                     &step, &forward, &row)) {
        return NULL;
    }
    array_list inputs = {0};
    PyObject *outputs = NULL;
    if (array_list_open(&inputs, sequence, vt_plan_inputs(plan_of(self))) == 0 &&
        claim(self) == 0) {
        outputs = forward_arrays(self, &inputs, (vt_rng_key){seed, step, forward}, row);
        release(self);
    }
    array_list_close(&inputs);
    return outputs;
}

/* ---------------------------------------------------------------- backward */

static PyObject *input_gradients_tuple(PyObject *self) {
    const vt_plan *plan = plan_of(self);
    PyObject *tuple = PyTuple_New(vt_plan_inputs(plan));
    for (int i = 0; tuple != NULL && i < vt_plan_inputs(plan); i++) {
        PyObject *item = Py_NewRef(Py_None);
        if (vt_plan_has_input_gradient(plan, i)) {
            Py_SETREF(item, new_value(self, vt_plan_input_shape(plan, i)));
            if (item == NULL) {
                Py_CLEAR(tuple);
                break;
            }
            vt_run_input_gradient(run_of(self), i, vt_array_data(item));
        }
        PyTuple_SET_ITEM(tuple, i, item);
    }
    return tuple;
}

static PyObject *backward_arrays(PyObject *self, array_list *gradients) {
    vt_run *run = run_of(self);
    int64_t images = vt_run_images(run);
    if (expect_values(plan_of(self), gradients, vt_plan_output_shape, "gradient", &images, true) <
        0) {
        return NULL;
    }
    vt_error error;
    vt_status status;
    Py_BEGIN_ALLOW_THREADS
    status = vt_run_backward(run, gradients->data, &error);
    Py_END_ALLOW_THREADS
    if (status != VT_OK) return vt_raise(vt_state_of_type(Py_TYPE(self)), status, &error);
    return input_gradients_tuple(self);
}

static PyObject *run_backward(PyObject *self, PyObject *sequence) {
    array_list gradients = {0};
    PyObject *result = NULL;
    if (array_list_open(&gradients, sequence, vt_plan_outputs(plan_of(self))) == 0 &&
        claim(self) == 0) {
        result = backward_arrays(self, &gradients);
        release(self);
    }
    array_list_close(&gradients);
    return result;
}

/* ---------------------------------------------------------------- profile */

static PyObject *run_profile(PyObject *self, PyObject *unused) {
    (void)unused;
    if (claim(self) < 0) return NULL;
    vt_error error;
    const vt_status status = vt_run_profile(run_of(self), &error);
    release(self);
    if (status != VT_OK) return vt_raise(vt_state_of_type(Py_TYPE(self)), status, &error);
    Py_RETURN_NONE;
}

/* What a step or a phase has taken. */
typedef vt_time (*time_of)(const vt_run *run, int index);

static PyObject *times_tuple(const vt_run *run, time_of read, int count) {
    PyObject *tuple = PyTuple_New(count);
    for (int i = 0; tuple != NULL && i < count; i++) {
        const vt_time time = read(run, i);
        PyObject *item = Py_BuildValue("(Ld)", (long long)time.times, time.seconds);
        if (item == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, item);
    }
    return tuple;
}

static PyObject *run_times(PyObject *self, PyObject *unused) {
    (void)unused;
    if (claim(self) < 0) return NULL;
    const vt_plan *plan = plan_of(self);
    PyObject *steps = times_tuple(run_of(self), vt_run_step_time, vt_plan_steps(plan));
    PyObject *phases = times_tuple(run_of(self), vt_run_phase_time, vt_plan_phases(plan));
    release(self);
    if (steps != NULL && phases != NULL) return Py_BuildValue("(NN)", steps, phases);
    Py_XDECREF(steps);
    Py_XDECREF(phases);
    return NULL;
}

/* ---------------------------------------------------------------- the type */

static PyObject *run_capacity(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromLongLong(vt_run_capacity(run_of(self)));
}

static PyObject *run_nbytes(PyObject *self, void *unused) {
    (void)unused;
    const vt_run *run = run_of(self);
    return PyLong_FromSize_t(
        vt_run_bytes(plan_of(self), vt_run_capacity(run), vt_run_threads(run)));
}

static PyGetSetDef run_getset[] = {
    {"capacity", run_capacity, NULL, "images that fit", NULL},
    {"nbytes", run_nbytes, NULL, "bytes that this run holds", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef run_methods[] = {
    {"forward", (PyCFunction)(void (*)(void))run_forward, METH_VARARGS | METH_KEYWORDS,
     "forward($self, inputs, *, seed=0, step=0, forward=0, row=0)\n--\n\n"
     "Run the program on (batch, *shape) arrays; returns its outputs."},
    {"backward", run_backward, METH_O,
     "backward($self, gradients, /)\n--\n\n"
     "Add to the gradients of the parameters; returns those of the inputs, or None."},
    {"profile", run_profile, METH_NOARGS,
     "profile($self, /)\n--\n\nCount from now on, from zero, what steps and phases take."},
    {"times", run_times, METH_NOARGS,
     "times($self, /)\n--\n\nWhat was counted, a pair (times, seconds) per step and per phase."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot run_slots[] = {
    {Py_tp_doc, "Run(plan, capacity, threads)\n--\n\nThe memory of one live forward pass."},
    {Py_tp_new, run_new},
    {Py_tp_dealloc, run_dealloc},
    {Py_tp_methods, run_methods},
    {Py_tp_getset, run_getset},
    {0, NULL},
};

PyType_Spec vt_run_spec = {
    .name = "vitc._vitc.Run",
    .basicsize = sizeof(vt_run_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = run_slots,
};
