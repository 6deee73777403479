/* Run: forward and backward on arrays. The GIL is released while the core works. */
#include "base/parallel.h"
#include "py/array.h"
#include "py/state.h"

static vt_run *run_of(PyObject *self) { return ((vt_run_object *)self)->run; }

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

/* (images, *shape) of a value; images -1: any. */
static vt_array_spec value_spec(const vt_run *run, int value, int64_t images, const char *name) {
    const vt_shape *shape = vt_program_shape(run->plan->lowered, value);
    vt_array_spec spec = {name, vt_array_type(run->plan->dtype), shape->ndim + 1, {images}};
    for (int i = 0; i < shape->ndim; i++) spec.dim[i + 1] = shape->dim[i];
    return spec;
}

static PyObject *new_value(const vt_run *run, int value) {
    const vt_array_spec spec = value_spec(run, value, run->images, "output");
    return vt_array_new(spec.type, spec.ndim, spec.dim);
}

/* Contiguous arrays for `count` values. None gives NULL where `optional`. If *images is -1, it
 * becomes what the first array has. -1 with an exception. */
static int expect_values(const vt_run *run, PyObject *sequence, const int *values, int count,
                         int64_t *images, bool optional, PyObject **arrays) {
    if (PyTuple_GET_SIZE(sequence) != count) {
        PyErr_Format(PyExc_ValueError, "got %zd arrays, expected %d", PyTuple_GET_SIZE(sequence),
                     count);
        return -1;
    }
    for (int i = 0; i < count; i++) {
        PyObject *object = PyTuple_GET_ITEM(sequence, i);
        if (optional && object == Py_None) continue;
        const vt_array_spec spec = value_spec(run, values == NULL ? i : values[i], *images,
                                              values == NULL ? "input" : "gradient");
        arrays[i] = vt_array_expect(object, &spec);
        if (arrays[i] == NULL) return -1;
        if (*images < 0) *images = vt_array_dim(arrays[i], 0);
    }
    return 0;
}

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

static void array_list_point(array_list *list) {
    for (int i = 0; i < list->count; i++) {
        list->data[i] = list->arrays[i] == NULL ? NULL : vt_array_data(list->arrays[i]);
    }
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

static PyObject *outputs_tuple(const vt_run *run) {
    const vt_program *program = run->plan->lowered;
    PyObject *tuple = PyTuple_New(program->output_count);
    for (int i = 0; tuple != NULL && i < program->output_count; i++) {
        PyObject *array = new_value(run, program->outputs[i]);
        if (array == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        vt_run_output(run, i, vt_array_data(array));
        PyTuple_SET_ITEM(tuple, i, array);
    }
    return tuple;
}

static PyObject *forward_arrays(PyObject *self, array_list *inputs, vt_rng_key key,
                                unsigned long long row) {
    vt_run *run = run_of(self);
    int64_t images = -1;
    if (expect_values(run, inputs->tuple, NULL, inputs->count, &images, false, inputs->arrays) <
        0) {
        return NULL;
    }
    array_list_point(inputs);
    vt_error error;
    vt_status status;
    Py_BEGIN_ALLOW_THREADS
    status = vt_run_forward(run, images, inputs->data, key, row, &error);
    Py_END_ALLOW_THREADS
    if (status != VT_OK) return vt_raise(vt_state_of_type(Py_TYPE(self)), status, &error);
    return outputs_tuple(run);
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
    if (array_list_open(&inputs, sequence, run_of(self)->plan->lowered->input_count) == 0 &&
        claim(self) == 0) {
        outputs = forward_arrays(self, &inputs, (vt_rng_key){seed, step, forward}, row);
        release(self);
    }
    array_list_close(&inputs);
    return outputs;
}

/* ---------------------------------------------------------------- backward */

static PyObject *input_gradients_tuple(const vt_run *run) {
    const int count = run->plan->lowered->input_count;
    PyObject *tuple = PyTuple_New(count);
    for (int i = 0; tuple != NULL && i < count; i++) {
        PyObject *item = Py_NewRef(Py_None);
        if (run->plan->input_gradients[i] != VT_NOTHING) {
            Py_SETREF(item, new_value(run, i));
            if (item == NULL) {
                Py_CLEAR(tuple);
                break;
            }
            vt_run_input_gradient(run, i, vt_array_data(item));
        }
        PyTuple_SET_ITEM(tuple, i, item);
    }
    return tuple;
}

static PyObject *backward_arrays(PyObject *self, array_list *gradients) {
    vt_run *run = run_of(self);
    int64_t images = run->images;
    if (expect_values(run, gradients->tuple, run->plan->lowered->outputs, gradients->count, &images,
                      true, gradients->arrays) < 0) {
        return NULL;
    }
    array_list_point(gradients);
    vt_error error;
    vt_status status;
    Py_BEGIN_ALLOW_THREADS
    status = vt_run_backward(run, gradients->data, &error);
    Py_END_ALLOW_THREADS
    if (status != VT_OK) return vt_raise(vt_state_of_type(Py_TYPE(self)), status, &error);
    return input_gradients_tuple(run);
}

static PyObject *run_backward(PyObject *self, PyObject *sequence) {
    array_list gradients = {0};
    PyObject *result = NULL;
    if (array_list_open(&gradients, sequence, run_of(self)->plan->lowered->output_count) == 0 &&
        claim(self) == 0) {
        result = backward_arrays(self, &gradients);
        release(self);
    }
    array_list_close(&gradients);
    return result;
}

/* ---------------------------------------------------------------- the type */

static PyObject *run_capacity(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromLongLong(run_of(self)->capacity);
}

static PyObject *run_nbytes(PyObject *self, void *unused) {
    (void)unused;
    const vt_run *run = run_of(self);
    return PyLong_FromSize_t(vt_run_bytes(run->plan, run->capacity, run->threads));
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
