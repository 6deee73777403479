/* Params and Buffer. */
#include "py/array.h"
#include "py/state.h"

/* ---------------------------------------------------------------- making a table */

/* The entries of a table that is being made; the names are borrowed from a tuple of Python's. */
typedef struct entry_list {
    const char **names;
    vt_shape *shapes;
    bool *int8;
} entry_list;

/* (name, shape), or (name, shape, "int8") */
static int parse_entry(PyObject *entry, Py_ssize_t index, const entry_list *list) {
    PyObject *shape;
    const char *dtype = NULL;
    if (!PyTuple_Check(entry)) {
        PyErr_Format(PyExc_TypeError, "an entry is a tuple (name, shape), got a %.100s",
                     Py_TYPE(entry)->tp_name);
        return -1;
    }
    if (!PyArg_ParseTuple(entry, "sO|z", &list->names[index], &shape, &dtype)) return -1;
    if (dtype != NULL && strcmp(dtype, "int8") != 0) {
        PyErr_Format(PyExc_ValueError,
                     "parameter %.100s has dtype '%.100s', expected 'int8' or none",
                     list->names[index], dtype);
        return -1;
    }
    list->int8[index] = dtype != NULL;
    return vt_parse_shape(shape, &list->shapes[index]);
}

static int parse_entries(PyObject *entries, const entry_list *list) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(entries); i++) {
        if (parse_entry(PyTuple_GET_ITEM(entries, i), i, list) < 0) return -1;
    }
    return 0;
}

static int open_params(vt_params_object *self, PyObject *entries, vt_dtype dtype) {
    const Py_ssize_t count = PyTuple_GET_SIZE(entries);
    entry_list list = {.names = PyMem_Calloc((size_t)count + 1, sizeof *list.names),
                       .shapes = PyMem_Calloc((size_t)count + 1, sizeof *list.shapes),
                       .int8 = PyMem_Calloc((size_t)count + 1, sizeof *list.int8)};
    int result = -1;
    if (list.names == NULL || list.shapes == NULL || list.int8 == NULL) {
        PyErr_NoMemory();
    } else if (parse_entries(entries, &list) == 0) {
        vt_error error;
        const vt_status status = vt_params_open(&self->params, (int)count, list.names, list.shapes,
                                                list.int8, dtype, &error);
        result = status == VT_OK ? 0 : -1;
        if (result < 0) vt_raise(vt_state_of_type(Py_TYPE(self)), status, &error);
    }
    PyMem_Free(list.names);
    PyMem_Free(list.shapes);
    PyMem_Free(list.int8);
    return result;
}

static PyObject *params_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"entries", "dtype", NULL};
    PyObject *entries;
    const char *name = "float32";
    vt_dtype dtype;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O|s:Params", keywords, &entries, &name))
        return NULL;
    if (vt_parse_dtype(name, &dtype) < 0) return NULL;
    PyObject *tuple = PySequence_Tuple(entries);
    if (tuple == NULL) return NULL;
    vt_params_object *self = (vt_params_object *)PyType_GenericAlloc(type, 0);
    if (self != NULL && open_params(self, tuple, dtype) < 0) Py_CLEAR(self);
    Py_DECREF(tuple);
    return (PyObject *)self;
}

static void params_dealloc(PyObject *self) {
    vt_params_close(((vt_params_object *)self)->params);
    vt_free_object(self);
}

/* ---------------------------------------------------------------- entries */

static vt_params *params_of(PyObject *self) { return ((vt_params_object *)self)->params; }

/* The index argument of a method, or -1 with an exception. */
static int parse_index(PyObject *self, PyObject *argument) {
    const Py_ssize_t index = PyLong_AsSsize_t(argument);
    if (index == -1 && PyErr_Occurred()) return -1;
    return vt_check_entry(params_of(self), index) < 0 ? -1 : (int)index;
}

static PyObject *view_entry(PyObject *owner, const vt_params *params, void *buffer, int index) {
    return vt_array_view(owner, vt_params_at(params, buffer, index),
                         vt_array_type(vt_params_entry_dtype(params, index)),
                         vt_params_shape(params, index));
}

static PyObject *params_view(PyObject *self, PyObject *argument) {
    const int index = parse_index(self, argument);
    if (index < 0) return NULL;
    void *values;
    vt_error error;
    vt_status status;
    Py_BEGIN_ALLOW_THREADS
    status = vt_params_expose(params_of(self), index, &values, &error);
    Py_END_ALLOW_THREADS
    if (status != VT_OK) return vt_raise(vt_state_of_type(Py_TYPE(self)), status, &error);
    return vt_array_view(self, values, vt_array_type(vt_params_entry_dtype(params_of(self), index)),
                         vt_params_shape(params_of(self), index));
}

static PyObject *params_gradient(PyObject *self, PyObject *argument) {
    const int index = parse_index(self, argument);
    if (index < 0) return NULL;
    void *gradients = vt_params_gradients(params_of(self), index);
    if (gradients == NULL) Py_RETURN_NONE;
    return view_entry(self, params_of(self), gradients, index);
}

/* An array that fits the entry `index`, or NULL with an exception. */
static PyObject *expect_entry(const vt_params *params, int index, PyObject *object) {
    const vt_shape *shape = vt_params_shape(params, index);
    vt_array_spec spec = {vt_params_name(params, index),
                          vt_array_type(vt_params_entry_dtype(params, index)),
                          shape->ndim,
                          {0}};
    for (int i = 0; i < shape->ndim; i++) spec.dim[i] = shape->dim[i];
    return vt_array_expect(object, &spec);
}

/* write(index, array) of the values or of a buffer. */
static PyObject *write_entry(vt_params *params, void *buffer, PyObject *args) {
    PyObject *object;
    Py_ssize_t index;
    if (!PyArg_ParseTuple(args, "nO:write", &index, &object)) return NULL;
    if (vt_check_entry(params, index) < 0) return NULL;
    PyObject *array = expect_entry(params, (int)index, object);
    if (array == NULL) return NULL;
    const void *values = vt_array_data(array);
    Py_BEGIN_ALLOW_THREADS
    vt_params_write(params, buffer, (int)index, values);
    Py_END_ALLOW_THREADS
    Py_DECREF(array);
    Py_RETURN_NONE;
}

static PyObject *params_write(PyObject *self, PyObject *args) {
    return write_entry(params_of(self), NULL, args);
}

static PyObject *params_write_gradient(PyObject *self, PyObject *args) {
    vt_params *params = params_of(self);
    PyObject *object, *array = NULL;
    Py_ssize_t index;
    if (!PyArg_ParseTuple(args, "nO:write_gradient", &index, &object)) return NULL;
    if (vt_check_entry(params, index) < 0) return NULL;
    if (object != Py_None) {
        array = expect_entry(params, (int)index, object);
        if (array == NULL) return NULL;
    }
    const void *values = array == NULL ? NULL : vt_array_data(array);
    vt_error error;
    vt_status status;
    Py_BEGIN_ALLOW_THREADS
    status = vt_params_write_gradient(params, (int)index, values, &error);
    Py_END_ALLOW_THREADS
    Py_XDECREF(array);
    if (status != VT_OK) return vt_raise(vt_state_of_type(Py_TYPE(self)), status, &error);
    Py_RETURN_NONE;
}

static PyObject *params_requires_grad(PyObject *self, PyObject *argument) {
    const int index = parse_index(self, argument);
    return index < 0 ? NULL : PyBool_FromLong(vt_params_requires_grad(params_of(self), index));
}

static PyObject *params_set_requires_grad(PyObject *self, PyObject *args) {
    Py_ssize_t index;
    int flag;
    if (!PyArg_ParseTuple(args, "np:set_requires_grad", &index, &flag)) return NULL;
    if (vt_check_entry(params_of(self), index) < 0) return NULL;
    vt_error error;
    const vt_status status =
        vt_params_set_requires_grad(params_of(self), (int)index, flag != 0, &error);
    if (status != VT_OK) return vt_raise(vt_state_of_type(Py_TYPE(self)), status, &error);
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- gradients and buffers */

static PyObject *params_zero_gradients(PyObject *self, PyObject *unused) {
    (void)unused;
    Py_BEGIN_ALLOW_THREADS
    vt_params_zero_gradients(params_of(self));
    Py_END_ALLOW_THREADS
    Py_RETURN_NONE;
}

static PyObject *params_scale_gradients(PyObject *self, PyObject *args) {
    double factor;
    PyObject *indices = Py_None;
    bool *chosen;
    if (!PyArg_ParseTuple(args, "d|O:scale_gradients", &factor, &indices)) return NULL;
    if (vt_parse_chosen(params_of(self), indices, &chosen) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS
    vt_params_scale_gradients(params_of(self), chosen, factor, vt_default_threads());
    Py_END_ALLOW_THREADS
    PyMem_Free(chosen);
    Py_RETURN_NONE;
}

static PyObject *params_gradient_norm(PyObject *self, PyObject *args) {
    PyObject *indices = Py_None;
    bool *chosen;
    if (!PyArg_ParseTuple(args, "|O:gradient_norm", &indices)) return NULL;
    if (vt_parse_chosen(params_of(self), indices, &chosen) < 0) return NULL;
    double norm;
    Py_BEGIN_ALLOW_THREADS
    norm = vt_params_gradient_norm(params_of(self), chosen, vt_default_threads());
    Py_END_ALLOW_THREADS
    PyMem_Free(chosen);
    return PyFloat_FromDouble(norm);
}

static PyObject *params_new_buffer(PyObject *self, PyObject *unused) {
    (void)unused;
    vt_module_state *state = vt_state_of_type(Py_TYPE(self));
    vt_buffer_object *buffer = (vt_buffer_object *)PyType_GenericAlloc(state->buffer, 0);
    if (buffer == NULL) return NULL;
    buffer->owner = (vt_params_object *)Py_NewRef(self);
    vt_error error;
    const vt_status status = vt_params_buffer(params_of(self), &buffer->data, &error);
    if (status == VT_OK) return (PyObject *)buffer;
    Py_DECREF(buffer);
    return vt_raise(state, status, &error);
}

/* ---------------------------------------------------------------- attributes */

static Py_ssize_t params_length(PyObject *self) { return vt_params_count(params_of(self)); }

static PyObject *params_dtype(PyObject *self, void *unused) {
    (void)unused;
    return PyUnicode_FromString(vt_dtype_name(vt_params_dtype(params_of(self))));
}

static PyObject *params_version(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromUnsignedLongLong(vt_params_version(params_of(self)));
}

static PyObject *params_nbytes(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromSize_t(vt_params_all_bytes(params_of(self)));
}

typedef size_t (*counter)(vt_params *params);

static PyObject *count_bytes(PyObject *self, counter count) {
    size_t bytes;
    Py_BEGIN_ALLOW_THREADS
    bytes = count(params_of(self));
    Py_END_ALLOW_THREADS
    return PyLong_FromSize_t(bytes);
}

static PyObject *params_packed_bytes(PyObject *self, void *unused) {
    (void)unused;
    return count_bytes(self, vt_params_packed_bytes);
}

static PyObject *params_resting_bytes(PyObject *self, void *unused) {
    (void)unused;
    return count_bytes(self, vt_params_resting_bytes);
}

/* A tuple with an item for each entry. */
static PyObject *collect(PyObject *self, PyObject *(*item)(const vt_params *params, int index)) {
    const int count = vt_params_count(params_of(self));
    PyObject *tuple = PyTuple_New(count);
    for (int i = 0; tuple != NULL && i < count; i++) {
        PyObject *object = item(params_of(self), i);
        if (object == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, object);
    }
    return tuple;
}

static PyObject *name_item(const vt_params *params, int index) {
    return PyUnicode_FromString(vt_params_name(params, index));
}

static PyObject *shape_item(const vt_params *params, int index) {
    return vt_shape_tuple(vt_params_shape(params, index));
}

static PyObject *dtype_item(const vt_params *params, int index) {
    return PyUnicode_FromString(vt_dtype_name(vt_params_entry_dtype(params, index)));
}

static PyObject *params_names(PyObject *self, void *unused) {
    (void)unused;
    return collect(self, name_item);
}

static PyObject *params_shapes(PyObject *self, void *unused) {
    (void)unused;
    return collect(self, shape_item);
}

static PyObject *params_dtypes(PyObject *self, void *unused) {
    (void)unused;
    return collect(self, dtype_item);
}

static PyGetSetDef params_getset[] = {
    {"dtype", params_dtype, NULL, "'float32' or 'float64'", NULL},
    {"dtypes", params_dtypes, NULL, "one dtype per entry: that of the table, or 'int8'", NULL},
    {"names", params_names, NULL, "one name per entry", NULL},
    {"shapes", params_shapes, NULL, "one tuple of sizes per entry", NULL},
    {"version", params_version, NULL, "rises with every write", NULL},
    {"nbytes", params_nbytes, NULL, "bytes of the values and, once there are any, the gradients",
     NULL},
    {"packed_bytes", params_packed_bytes, NULL,
     "bytes of packed weights that plans of inference hold, one copy for all of them", NULL},
    {"resting_bytes", params_resting_bytes, NULL,
     "bytes of weights that are only there packed, until somebody asks for them", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef params_methods[] = {
    {"view", params_view, METH_O, "view($self, index, /)\n--\n\nRead-only view of an entry."},
    {"write", params_write, METH_VARARGS,
     "write($self, index, array, /)\n--\n\nOverwrite an entry."},
    {"gradient", params_gradient, METH_O,
     "gradient($self, index, /)\n--\n\nRead-only view of the summed gradient of an entry, or "
     "None."},
    {"write_gradient", params_write_gradient, METH_VARARGS,
     "write_gradient($self, index, array, /)\n--\n\nOverwrite a gradient; None forgets it."},
    {"requires_grad", params_requires_grad, METH_O,
     "requires_grad($self, index, /)\n--\n\nTrue if the entry is trained."},
    {"set_requires_grad", params_set_requires_grad, METH_VARARGS,
     "set_requires_grad($self, index, flag, /)\n--\n\nTrain or freeze an entry."},
    {"zero_gradients", params_zero_gradients, METH_NOARGS,
     "zero_gradients($self, /)\n--\n\nForget all gradients."},
    {"scale_gradients", params_scale_gradients, METH_VARARGS,
     "scale_gradients($self, factor, indices=None, /)\n--\n\nMultiply gradients, all or some."},
    {"gradient_norm", params_gradient_norm, METH_VARARGS,
     "gradient_norm($self, indices=None, /)\n--\n\nL2 norm over gradients, all or some."},
    {"new_buffer", params_new_buffer, METH_NOARGS,
     "new_buffer($self, /)\n--\n\nA zeroed buffer with the layout of the values."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot params_slots[] = {
    {Py_tp_doc,
     "Params(entries, dtype='float32')\n--\n\nThe parameters of a model in one flat buffer."},
    {Py_tp_new, params_new},
    {Py_tp_dealloc, params_dealloc},
    {Py_tp_methods, params_methods},
    {Py_tp_getset, params_getset},
    {Py_sq_length, params_length},
    {0, NULL},
};

PyType_Spec vt_params_spec = {
    .name = "vitc._vitc.Params",
    .basicsize = sizeof(vt_params_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = params_slots,
};

/* ---------------------------------------------------------------- Buffer */

static void buffer_dealloc(PyObject *self) {
    vt_buffer_object *buffer = (vt_buffer_object *)self;
    vt_free(buffer->data);
    Py_XDECREF(buffer->owner);
    vt_free_object(self);
}

static PyObject *buffer_view(PyObject *self, PyObject *argument) {
    vt_buffer_object *buffer = (vt_buffer_object *)self;
    const int index = parse_index((PyObject *)buffer->owner, argument);
    return index < 0 ? NULL : view_entry(self, buffer->owner->params, buffer->data, index);
}

static PyObject *buffer_write(PyObject *self, PyObject *args) {
    const vt_buffer_object *buffer = (vt_buffer_object *)self;
    return write_entry(buffer->owner->params, buffer->data, args);
}

static PyObject *buffer_nbytes(PyObject *self, void *unused) {
    (void)unused;
    return PyLong_FromSize_t(vt_params_bytes(((vt_buffer_object *)self)->owner->params));
}

static PyGetSetDef buffer_getset[] = {
    {"nbytes", buffer_nbytes, NULL, "bytes of the buffer", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef buffer_methods[] = {
    {"view", buffer_view, METH_O, "view($self, index, /)\n--\n\nRead-only view of an entry."},
    {"write", buffer_write, METH_VARARGS,
     "write($self, index, array, /)\n--\n\nOverwrite an entry."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot buffer_slots[] = {
    {Py_tp_doc, "One array per entry of a Params, in one flat block with the same layout."},
    {Py_tp_dealloc, buffer_dealloc},
    {Py_tp_methods, buffer_methods},
    {Py_tp_getset, buffer_getset},
    {0, NULL},
};

PyType_Spec vt_buffer_spec = {
    .name = "vitc._vitc.Buffer",
    .basicsize = sizeof(vt_buffer_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = buffer_slots,
};
