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
        case 'H': return NPY_UINT16;
        case 'b': return NPY_INT8;
        case 'B': return NPY_UINT8;
        default: return NPY_INT64;
    }
}

static const char *type_name(char type) {
    switch (type) {
        case 'f': return "float32";
        case 'd': return "float64";
        case 'I': return "uint32";
        case 'H': return "uint16";
        case 'b': return "int8";
        case 'B': return "uint8";
        default: return "int64";
    }
}

char vt_array_type(vt_dtype dtype) {
    static const char type[VT_DTYPE_COUNT] = {'f', 'd', 'b'};
    return type[dtype];
}

enum { SHAPE_TEXT = 128 };

/* "(any, 3, 224, 224)", cut where it is longer than the text */
static const char *shape_text(char text[SHAPE_TEXT], int ndim, const npy_intp *dim) {
    int used = snprintf(text, SHAPE_TEXT, "(");
    for (int i = 0; i < ndim && used < SHAPE_TEXT; i++) {
        char *end = text + used;
        const size_t room = (size_t)(SHAPE_TEXT - used);
        const char *comma = i == 0 ? "" : ", ";
        used += dim[i] < 0 ? snprintf(end, room, "%sany", comma)
                           : snprintf(end, room, "%s%lld", comma, (long long)dim[i]);
    }
    if (used < SHAPE_TEXT) {
        snprintf(text + used, (size_t)(SHAPE_TEXT - used), ndim == 1 ? ",)" : ")");
    }
    return text;
}

/* That of an array. Its attribute `shape` could be anything, and of any length. */
static const char *own_shape_text(char text[SHAPE_TEXT], PyObject *object) {
    PyArrayObject *array = (PyArrayObject *)object;
    return shape_text(text, PyArray_NDIM(array), PyArray_DIMS(array));
}

static bool fits(PyArrayObject *array, const vt_array_spec *spec) {
    if (PyArray_NDIM(array) != spec->ndim) return false;
    for (int i = 0; i < spec->ndim; i++) {
        if (spec->dim[i] >= 0 && PyArray_DIM(array, i) != spec->dim[i]) return false;
    }
    return true;
}

static int copy_dims(npy_intp out[VT_MAX_DIMS + 1], int ndim, const int64_t *dim) {
    for (int i = 0; i < ndim; i++) out[i] = (npy_intp)dim[i];
    return ndim;
}

static void raise_shape(PyObject *object, const vt_array_spec *spec) {
    char given[SHAPE_TEXT], expected[SHAPE_TEXT];
    npy_intp dims[VT_MAX_DIMS + 1];
    shape_text(expected, copy_dims(dims, spec->ndim, spec->dim), dims);
    PyErr_Format(PyExc_ValueError, "%s has shape %s, expected %s", spec->name,
                 own_shape_text(given, object), expected);
}

/* An array of the type, or NULL with a TypeError. */
static PyArrayObject *check_type(PyObject *object, const char *name, char type) {
    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s is a %.100s, expected a NumPy array", name,
                     Py_TYPE(object)->tp_name);
        return NULL;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_EquivTypenums(PyArray_TYPE(array), type_number(type)) &&
        !PyArray_ISBYTESWAPPED(array)) {
        return array;
    }
    PyErr_Format(PyExc_TypeError, "%s has dtype %.100S, expected %s", name,
                 (PyObject *)PyArray_DESCR(array), type_name(type));
    return NULL;
}

/* No subclass: one that is made from another calls Python. */
enum { PLAIN = NPY_ARRAY_IN_ARRAY | NPY_ARRAY_ENSUREARRAY };

PyObject *vt_array_expect(PyObject *object, const vt_array_spec *spec) {
    PyArrayObject *array = check_type(object, spec->name, spec->type);
    if (array == NULL) return NULL;
    if (!fits(array, spec)) {
        raise_shape(object, spec);
        return NULL;
    }
    const int copied = spec->type == 'l' ? NPY_ARRAY_ENSURECOPY : 0;
    return PyArray_FROM_OTF(object, type_number(spec->type), PLAIN | copied);
}

PyObject *vt_array_expect_out(PyObject *object, const vt_array_spec *spec) {
    PyArrayObject *array = check_type(object, spec->name, spec->type);
    if (array == NULL) return NULL;
    if (!fits(array, spec)) {
        raise_shape(object, spec);
        return NULL;
    }
    if (!PyArray_ISCARRAY(array)) {
        return PyErr_Format(PyExc_ValueError, "%s is not a C-contiguous array that can be written",
                            spec->name);
    }
    return Py_NewRef(object);
}

PyObject *vt_array_flat(PyObject *object, char type) {
    if (check_type(object, "x", type) == NULL) return NULL;
    return PyArray_FROM_OTF(object, type_number(type), PLAIN);
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

/* ---------------------------------------------------------------- images */

static const int sample_number[VT_SAMPLE_COUNT] = {NPY_UINT8, NPY_UINT16, NPY_FLOAT32};

/* -1 if it is not one. */
static int sample_of(PyArrayObject *array) {
    for (int sample = 0; sample < VT_SAMPLE_COUNT; sample++) {
        if (PyArray_TYPE(array) == sample_number[sample] && !PyArray_ISBYTESWAPPED(array)) {
            return sample;
        }
    }
    return -1;
}

/* Pixels of a row side by side, and rows in their order. */
static bool is_packed(PyArrayObject *array) {
    const npy_intp item = PyArray_ITEMSIZE(array);
    const npy_intp channels = PyArray_NDIM(array) == 3 ? PyArray_DIM(array, 2) : 1;
    const bool side_by_side = PyArray_NDIM(array) == 2 || PyArray_STRIDE(array, 2) == item;
    return PyArray_ISALIGNED(array) && side_by_side &&
           PyArray_STRIDE(array, 1) == channels * item &&
           PyArray_STRIDE(array, 0) >= PyArray_DIM(array, 1) * channels * item;
}

static int raise_no_image(PyObject *object, const char *name) {
    if (!PyArray_Check(object)) {
        PyErr_Format(PyExc_TypeError, "%s is a %.100s, expected a NumPy array", name,
                     Py_TYPE(object)->tp_name);
    } else {
        PyErr_Format(PyExc_TypeError, "%s has dtype %.100S, expected uint8, uint16 or float32",
                     name, (PyObject *)PyArray_DESCR((PyArrayObject *)object));
    }
    return -1;
}

static int raise_no_axes(PyObject *object, const char *name) {
    char text[SHAPE_TEXT];
    PyErr_Format(PyExc_ValueError, "%s has shape %s, expected (H, W) or (H, W, C)", name,
                 own_shape_text(text, object));
    return -1;
}

static void describe(vt_pixels *pixels, PyArrayObject *array) {
    pixels->array = (PyObject *)array;
    pixels->is_matrix = PyArray_NDIM(array) == 2;
    pixels->image = (vt_image){.data = PyArray_DATA(array),
                               .height = PyArray_DIM(array, 0),
                               .width = PyArray_DIM(array, 1),
                               .channels = pixels->is_matrix ? 1 : PyArray_DIM(array, 2),
                               .stride = PyArray_STRIDE(array, 0),
                               .sample = (vt_sample)sample_of(array)};
}

int vt_pixels_expect(vt_pixels *pixels, PyObject *object, const char *name) {
    if (!PyArray_Check(object) || sample_of((PyArrayObject *)object) < 0) {
        return raise_no_image(object, name);
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_NDIM(array) != 2 && PyArray_NDIM(array) != 3) return raise_no_axes(object, name);
    if (is_packed(array)) {
        Py_INCREF(array);
    } else {
        array = (PyArrayObject *)PyArray_FROM_OF(object, PLAIN | NPY_ARRAY_ENSURECOPY);
        if (array == NULL) return -1;
    }
    describe(pixels, array);
    return 0;
}

int vt_pixels_expect_out(vt_pixels *pixels, PyObject *object, const char *name) {
    if (!PyArray_Check(object) || sample_of((PyArrayObject *)object) < 0) {
        return raise_no_image(object, name);
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_NDIM(array) != 3 || !PyArray_ISCARRAY(array)) {
        PyErr_Format(PyExc_ValueError,
                     "%s is not a C-contiguous array of three dimensions that can be written",
                     name);
        return -1;
    }
    describe(pixels, array);
    return 0;
}

PyObject *vt_samples_expect(PyObject *object, int ndim, vt_sample *sample, const char *name) {
    if (!PyArray_Check(object) || sample_of((PyArrayObject *)object) < 0) {
        raise_no_image(object, name);
        return NULL;
    }
    PyArrayObject *array = (PyArrayObject *)object;
    if (PyArray_NDIM(array) != ndim) {
        return PyErr_Format(PyExc_ValueError, "%s has %d dimensions, expected %d", name,
                            PyArray_NDIM(array), ndim);
    }
    *sample = (vt_sample)sample_of(array);
    return PyArray_FROM_OF(object, PLAIN);
}

PyObject *vt_array_like(PyObject *array) {
    return PyArray_NewLikeArray((PyArrayObject *)array, NPY_CORDER, NULL, 0);
}

int vt_pixels_new(vt_pixels *pixels, const vt_image *image, bool is_matrix) {
    npy_intp dims[3] = {image->height, image->width, image->channels};
    const int ndim = is_matrix && image->channels == 1 ? 2 : 3;
    PyObject *array = PyArray_SimpleNew(ndim, dims, sample_number[image->sample]);
    if (array == NULL) return -1;
    describe(pixels, (PyArrayObject *)array);
    return 0;
}
