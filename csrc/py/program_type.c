/* Program: parsing a list from Python, and showing it again. */
#include <string.h>

#include "py/state.h"

/* ---------------------------------------------------------------- lists from Python */

static void *list_of(Py_ssize_t count, size_t size) {
    void *list = PyMem_Calloc((size_t)count + 1, size);
    if (list == NULL) PyErr_NoMemory();
    return list;
}

static int parse_shapes(PyObject *object, vt_shape **shapes, int *count) {
    PyObject *tuple = PySequence_Tuple(object);
    if (tuple == NULL) return -1;
    int result = 0;
    *shapes = list_of(PyTuple_GET_SIZE(tuple), sizeof **shapes);
    if (*shapes == NULL) result = -1;
    for (Py_ssize_t i = 0; result == 0 && i < PyTuple_GET_SIZE(tuple); i++) {
        result = vt_parse_shape(PyTuple_GET_ITEM(tuple, i), &(*shapes)[i]);
    }
    *count = (int)PyTuple_GET_SIZE(tuple);
    Py_DECREF(tuple);
    return result;
}

/* A Python int that is an index. */
static int parse_index(PyObject *object, int *index) {
    const long value = PyLong_AsLong(object);
    if (value == -1 && PyErr_Occurred()) return -1;
    if (value < -1 || value > INT_MAX) {
        PyErr_Format(PyExc_ValueError, "index %ld is out of range", value);
        return -1;
    }
    *index = (int)value;
    return 0;
}

/* The numbers of some values. */
static int parse_values(PyObject *object, int **outputs, int *count) {
    PyObject *tuple = PySequence_Tuple(object);
    if (tuple == NULL) return -1;
    int result = 0;
    *outputs = list_of(PyTuple_GET_SIZE(tuple), sizeof **outputs);
    if (*outputs == NULL) result = -1;
    for (Py_ssize_t i = 0; result == 0 && i < PyTuple_GET_SIZE(tuple); i++) {
        result = parse_index(PyTuple_GET_ITEM(tuple, i), &(*outputs)[i]);
    }
    *count = (int)PyTuple_GET_SIZE(tuple);
    Py_DECREF(tuple);
    return result;
}

/* Exactly `limit` indices (`exact`), or at most that many, the rest being -1. */
static int parse_indices(PyObject *object, int *indices, int limit, bool exact, const char *what,
                         const char *op) {
    const Py_ssize_t count = PySequence_Size(object);
    if (count < 0) return -1;
    if (count > limit || (exact && count != limit)) {
        PyErr_Format(PyExc_ValueError, "%s takes %d %s, got %zd", op, limit, what, count);
        return -1;
    }
    int result = 0;
    for (Py_ssize_t i = 0; result == 0 && i < count; i++) {
        PyObject *index = PySequence_GetItem(object, i);
        result = index == NULL ? -1 : parse_index(index, &indices[i]);
        Py_XDECREF(index);
    }
    return result;
}

static int parse_attribute(PyObject *value, const vt_attribute_spec *spec, vt_attribute *out) {
    Py_ssize_t length;
    const char *text;
    switch (spec->type) {
        case VT_ATTR_INT: out->i = PyLong_AsLongLong(value); break;
        case VT_ATTR_FLOAT: out->f = PyFloat_AsDouble(value); break;
        case VT_ATTR_NAME:
            text = PyUnicode_AsUTF8AndSize(value, &length);
            if (text == NULL) return -1;
            if (length >= VT_MAX_NAME || strlen(text) != (size_t)length) {
                PyErr_Format(PyExc_ValueError,
                             "%s has %zd characters, expected at most %d and none of them NUL",
                             spec->name, length, VT_MAX_NAME - 1);
                return -1;
            }
            memcpy(out->name, text, (size_t)length + 1);
            break;
    }
    return PyErr_Occurred() == NULL ? 0 : -1;
}

static int parse_attributes(PyObject *mapping, const vt_op *op, vt_node *node) {
    Py_ssize_t known = 0;
    const vt_attribute_spec *spec = vt_op_attributes(op);
    for (int i = 0; spec[i].name != NULL; i++) {
        PyObject *value = PyMapping_GetItemString(mapping, spec[i].name);
        if (value == NULL && PyErr_ExceptionMatches(PyExc_KeyError)) {
            PyErr_Clear();
            if (spec[i].optional) continue;
            PyErr_Format(PyExc_ValueError, "%s lacks the attribute %s", vt_op_name(op),
                         spec[i].name);
            return -1;
        }
        if (value == NULL) return -1;
        const int result = parse_attribute(value, &spec[i], &node->attributes[i]);
        Py_DECREF(value);
        if (result < 0) return -1;
        known++;
    }
    const Py_ssize_t given = PyMapping_Size(mapping);
    if (given == known) return 0;
    if (given >= 0) {
        PyErr_Format(PyExc_ValueError, "%s got %zd attributes, of which it knows %zd",
                     vt_op_name(op), given, known);
    }
    return -1;
}

static int param_count(const vt_op *op) {
    int count = 0;
    while (vt_op_params(op)[count].name != NULL) count++;
    return count;
}

/* ("linear", (2,), (4, 5), {}) */
static int parse_node(PyObject *row, vt_node *node) {
    const char *kind;
    PyObject *inputs, *params, *attributes;
    if (!PyTuple_Check(row)) {
        PyErr_Format(PyExc_TypeError,
                     "an operation is a tuple (kind, inputs, params, attributes), got a %.100s",
                     Py_TYPE(row)->tp_name);
        return -1;
    }
    if (!PyArg_ParseTuple(row, "sOOO", &kind, &inputs, &params, &attributes)) return -1;
    node->op = vt_op_find(kind);
    if (node->op == NULL) {
        PyErr_Format(PyExc_ValueError, "operation '%.100s' is unknown", kind);
        return -1;
    }
    for (int i = 0; i < VT_MAX_PARAMS; i++) node->params[i] = -1;
    if (parse_indices(inputs, node->inputs, vt_op_inputs(node->op), true, "inputs", kind) < 0)
        return -1;
    if (parse_indices(params, node->params, param_count(node->op), false, "parameters", kind) < 0) {
        return -1;
    }
    return parse_attributes(attributes, node->op, node);
}

static int parse_nodes(PyObject *object, vt_node **nodes, int *count) {
    PyObject *tuple = PySequence_Tuple(object);
    if (tuple == NULL) return -1;
    int result = 0;
    *nodes = list_of(PyTuple_GET_SIZE(tuple), sizeof **nodes);
    if (*nodes == NULL) result = -1;
    for (Py_ssize_t i = 0; result == 0 && i < PyTuple_GET_SIZE(tuple); i++) {
        result = parse_node(PyTuple_GET_ITEM(tuple, i), &(*nodes)[i]);
    }
    *count = (int)PyTuple_GET_SIZE(tuple);
    Py_DECREF(tuple);
    return result;
}

/* ---------------------------------------------------------------- the type */

static PyObject *wrap(PyTypeObject *type, vt_program *program) {
    vt_program_object *self = (vt_program_object *)PyType_GenericAlloc(type, 0);
    if (self == NULL) {
        vt_program_close(program);
        return NULL;
    }
    self->program = program;
    return (PyObject *)self;
}

static PyObject *open_program(PyTypeObject *type, const vt_listing *listing) {
    vt_program *program;
    vt_error error;
    const vt_status status = vt_program_open(&program, listing, &error);
    if (status != VT_OK) return vt_raise(vt_state_of_type(type), status, &error);
    return wrap(type, program);
}

/* What a listing points to, while it is parsed. */
typedef struct parts {
    vt_shape *inputs, *params;
    vt_node *nodes;
    int *outputs;
} parts;

static int mark_borders(PyObject *object, const vt_listing *l, vt_node *nodes) {
    int *borders = NULL, count = 0, result = parse_values(object, &borders, &count);
    for (int i = 0; result == 0 && i < count; i++) {
        const int node = borders[i] - l->input_count;
        if (node >= l->node_count || borders[i] < 0) {
            PyErr_Format(PyExc_ValueError, "border %d is value %d of %d", i, borders[i],
                         l->input_count + l->node_count);
            result = -1;
        } else if (node >= 0) {
            nodes[node].border = true;
        }
    }
    PyMem_Free(borders);
    return result;
}

static PyObject *program_new(PyTypeObject *type, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"inputs", "params", "operations", "outputs", "borders", NULL};
    PyObject *inputs, *params, *nodes, *outputs, *borders = NULL, *self = NULL;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|O:Program", keywords, &inputs, &params,
                                     &nodes, &outputs, &borders)) {
        return NULL;
    }
    parts p = {NULL};
    vt_listing l = {0};
    if (parse_shapes(inputs, &p.inputs, &l.input_count) == 0 &&
        parse_shapes(params, &p.params, &l.param_count) == 0 &&
        parse_nodes(nodes, &p.nodes, &l.node_count) == 0 &&
        parse_values(outputs, &p.outputs, &l.output_count) == 0 &&
        (borders == NULL || mark_borders(borders, &l, p.nodes) == 0)) {
        l.inputs = p.inputs;
        l.params = p.params;
        l.nodes = p.nodes;
        l.outputs = p.outputs;
        self = open_program(type, &l);
    }
    PyMem_Free(p.inputs);
    PyMem_Free(p.params);
    PyMem_Free(p.nodes);
    PyMem_Free(p.outputs);
    return self;
}

static void program_dealloc(PyObject *self) {
    vt_program_close(((vt_program_object *)self)->program);
    vt_free_object(self);
}

static vt_program *program_of(PyObject *self) { return ((vt_program_object *)self)->program; }
static vt_listing listing_of(PyObject *self) { return vt_program_listing(program_of(self)); }

/* ---------------------------------------------------------------- showing */

static PyObject *shapes_tuple(const vt_shape *shapes, int count) {
    PyObject *tuple = PyTuple_New(count);
    for (int i = 0; tuple != NULL && i < count; i++) {
        PyObject *shape = vt_shape_tuple(&shapes[i]);
        if (shape == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, shape);
    }
    return tuple;
}

static PyObject *index_tuple(const int *indices, int count) {
    PyObject *tuple = PyTuple_New(count);
    for (int i = 0; tuple != NULL && i < count; i++) {
        PyObject *index = PyLong_FromLong(indices[i]);
        if (index == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, index);
    }
    return tuple;
}

static PyObject *attribute_object(const vt_attribute_spec *spec, const vt_attribute *attribute) {
    switch (spec->type) {
        case VT_ATTR_INT: return PyLong_FromLongLong(attribute->i);
        case VT_ATTR_FLOAT: return PyFloat_FromDouble(attribute->f);
        case VT_ATTR_NAME: break;
    }
    return PyUnicode_FromString(attribute->name);
}

static PyObject *attributes_dict(const vt_node *node) {
    const vt_attribute_spec *spec = vt_op_attributes(node->op);
    PyObject *dict = PyDict_New();
    for (int i = 0; dict != NULL && spec[i].name != NULL; i++) {
        PyObject *value = attribute_object(&spec[i], &node->attributes[i]);
        if (value == NULL || PyDict_SetItemString(dict, spec[i].name, value) < 0) {
            Py_CLEAR(dict);
        }
        Py_XDECREF(value);
    }
    return dict;
}

static PyObject *node_dict(const vt_listing *listing, int index) {
    const vt_node *node = &listing->nodes[index];
    return Py_BuildValue("{s:s,s:N,s:N,s:N,s:i,s:N}", "kind", vt_op_name(node->op), "inputs",
                         index_tuple(node->inputs, vt_op_inputs(node->op)), "params",
                         index_tuple(node->params, param_count(node->op)), "attributes",
                         attributes_dict(node), "output", listing->input_count + index, "shape",
                         vt_shape_tuple(&node->shape));
}

static PyObject *program_operations(PyObject *self, void *unused) {
    (void)unused;
    const vt_listing listing = listing_of(self);
    PyObject *tuple = PyTuple_New(listing.node_count);
    for (int i = 0; tuple != NULL && i < listing.node_count; i++) {
        PyObject *node = node_dict(&listing, i);
        if (node == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, node);
    }
    return tuple;
}

static PyObject *program_inputs(PyObject *self, void *unused) {
    (void)unused;
    const vt_listing listing = listing_of(self);
    return shapes_tuple(listing.inputs, listing.input_count);
}

static PyObject *program_params(PyObject *self, void *unused) {
    (void)unused;
    const vt_listing listing = listing_of(self);
    return shapes_tuple(listing.params, listing.param_count);
}

static PyObject *program_outputs(PyObject *self, void *unused) {
    (void)unused;
    const vt_listing listing = listing_of(self);
    return index_tuple(listing.outputs, listing.output_count);
}

static PyObject *program_borders(PyObject *self, void *unused) {
    (void)unused;
    const vt_listing listing = listing_of(self);
    PyObject *list = PyList_New(0);
    for (int n = 0; list != NULL && n < listing.node_count; n++) {
        if (!listing.nodes[n].border) continue;
        PyObject *value = PyLong_FromLong(listing.input_count + n);
        if (value == NULL || PyList_Append(list, value) < 0) Py_CLEAR(list);
        Py_XDECREF(value);
    }
    PyObject *tuple = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(list);
    return tuple;
}

static PyObject *program_lower(PyObject *self, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"training", NULL};
    int training = 0;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "|$p:lower", keywords, &training)) return NULL;
    vt_program *lowered;
    vt_error error;
    const vt_status status =
        vt_program_lower(&lowered, program_of(self), training != 0, true, &error);
    if (status != VT_OK) return vt_raise(vt_state_of_type(Py_TYPE(self)), status, &error);
    return wrap(Py_TYPE(self), lowered);
}

static PyGetSetDef program_getset[] = {
    {"inputs", program_inputs, NULL, "shape of each input, without the batch", NULL},
    {"params", program_params, NULL, "shape of each parameter", NULL},
    {"operations", program_operations, NULL, "one dict per operation, in order", NULL},
    {"outputs", program_outputs, NULL, "numbers of the values that are the outputs", NULL},
    {"borders", program_borders, NULL, "numbers of the values between blocks", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static PyMethodDef program_methods[] = {
    {"lower", (PyCFunction)(void (*)(void))program_lower, METH_VARARGS | METH_KEYWORDS,
     "lower($self, /, *, training=False)\n--\n\nThe list that the executor runs in its place."},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot program_slots[] = {
    {Py_tp_doc,
     "Program(inputs, params, operations, outputs, borders=())\n--\n\n"
     "A checked, immutable list of plain operations over numbered values."},
    {Py_tp_new, program_new},
    {Py_tp_dealloc, program_dealloc},
    {Py_tp_methods, program_methods},
    {Py_tp_getset, program_getset},
    {0, NULL},
};

PyType_Spec vt_program_spec = {
    .name = "vitc._vitc.Program",
    .basicsize = sizeof(vt_program_object),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_IMMUTABLETYPE,
    .slots = program_slots,
};
