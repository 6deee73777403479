#include "py/array.h"

#define NPY_NO_DEPRECATED_API NPY_2_0_API_VERSION
#define NPY_TARGET_VERSION NPY_2_0_API_VERSION
#include <numpy/arrayobject.h>
#include <stdio.h>

int vt_array_import(void) { return PyArray_ImportNumPyAPI(); }

static int type_number(char type) {
    switch (type) {
        case 'f': return NPY_FLOAT32;
        case 'd': return NPY_FLOAT64;
        case 'I': return NPY_UINT32;
        case 'b': return NPY_INT8;
        default: return NPY_INT64;
    }
}

static const char *type_name(char type) {
    switch (type) {
        case 'f': return "float32";
        case 'd': return "float64";
        case 'I': return "uint32";
        case 'b': return "int8";
        default: return "int64";
    }
}

char vt_array_type(vt_dtype dtype) {
    static const char type[VT_DTYPE_COUNT] = {'f', 'd', 'b'};
    return type[dtype];
}

enum { SPEC_TEXT = 128 };

/* "(any, 3, 224, 224)" */
static const char *spec_text(char text[SPEC_TEXT], const vt_array_spec *spec) {
    int used = snprintf(text, SPEC_TEXT, "(");
    for (int i = 0; i < spec->ndim && used < SPEC_TEXT; i++) {
        char *end = text + used;
        const size_t room = (size_t)(SPEC_TEXT - used);
        const char *comma = i == 0 ? "" : ", ";
        used += spec->dim[i] < 0 ? snprintf(end, room, "%sany", comma)
                                 : snprintf(end, room, "%s%lld", comma, (long long)spec->dim[i]);
    }
    if (used < SPEC_TEXT) {
        snprintf(text + used, (size_t)(SPEC_TEXT - used), spec->ndim == 1 ? ",)" : ")");
    }
    return text;
}

static bool fits(PyArrayObject *array, const vt_array_spec *spec) {
    if (PyArray_NDIM(array) != spec->ndim) return false;
    for (int i = 0; i < spec->ndim; i++) {
        if (spec->dim[i] >= 0 && PyArray_DIM(array, i) != spec->dim[i]) return false;
    }
    return true;
}

static void raise_shape(PyObject *object, const vt_array_spec *spec) {
    char text[SPEC_TEXT];
    PyObject *given = PyObject_GetAttrString(object, "shape");
    if (given == NULL) return;
    PyErr_Format(PyExc_ValueError, "%s has shape %S, expected %s", spec->name, given,
                 spec_text(text, spec));
    Py_DECREF(given);
}

/* An array of the type, or NULL with a TypeError. */
static PyArrayObject *check_type(PyObject *object, const char *name, char type) {
    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s is a %s, expected a NumPy array", name,
                     Py_TYPE(object)->tp_name);
        return NULL;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_EquivTypenums(PyArray_TYPE(array), type_number(type)) &&
        !PyArray_ISBYTESWAPPED(array)) {
        return array;
    }
    PyErr_Format(PyExc_TypeError, "%s has dtype %S, expected %s", name,
                 (PyObject *)PyArray_DESCR(array), type_name(type));
    return NULL;
}

PyObject *vt_array_expect(PyObject *object, const vt_array_spec *spec) {
    PyArrayObject *array = check_type(object, spec->name, spec->type);
    if (array == NULL) return NULL;
    if (!fits(array, spec)) {
        raise_shape(object, spec);
        return NULL;
    }
    return PyArray_FROM_OTF(object, type_number(spec->type), NPY_ARRAY_IN_ARRAY);
}

PyObject *vt_array_flat(PyObject *object, char type) {
    if (check_type(object, "x", type) == NULL) return NULL;
    return PyArray_FROM_OTF(object, type_number(type), NPY_ARRAY_IN_ARRAY);
}

void *vt_array_data(PyObject *array) { return PyArray_DATA((PyArrayObject *)array); }
int64_t vt_array_dim(PyObject *array, int axis) {
    return PyArray_DIM((PyArrayObject *)array, axis);
}
int64_t vt_array_size(PyObject *array) { return PyArray_SIZE((PyArrayObject *)array); }

bool vt_array_is_double(PyObject *object) {
    return PyArray_Check(object) && PyArray_TYPE((PyArrayObject *)object) == NPY_FLOAT64;
}

bool vt_array_is_matrix(PyObject *object) {
    return PyArray_Check(object) && PyArray_NDIM((PyArrayObject *)object) == 2;
}

static int copy_dims(npy_intp out[VT_MAX_DIMS + 1], int ndim, const int64_t *dim) {
    for (int i = 0; i < ndim; i++) out[i] = (npy_intp)dim[i];
    return ndim;
}

PyObject *vt_array_new(char type, int ndim, const int64_t *dim) {
    npy_intp dims[VT_MAX_DIMS + 1];
    return PyArray_SimpleNew(copy_dims(dims, ndim, dim), dims, type_number(type));
}

PyObject *vt_array_view(PyObject *owner, void *data, char type, const vt_shape *shape) {
    npy_intp dims[VT_MAX_DIMS + 1];
    const int ndim = copy_dims(dims, shape->ndim, shape->dim);
    PyObject *array = PyArray_SimpleNewFromData(ndim, dims, type_number(type), data);
    if (array == NULL) return NULL;
    PyArray_CLEARFLAGS((PyArrayObject *)array, NPY_ARRAY_WRITEABLE);
    if (PyArray_SetBaseObject((PyArrayObject *)array, Py_NewRef(owner)) < 0) {
        Py_DECREF(array);
        return NULL;
    }
    return array;
}
