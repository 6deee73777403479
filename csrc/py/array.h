/* NumPy arrays in and out. The only file that calls the NumPy C API is array.c. */
#ifndef VT_PY_ARRAY_H
#define VT_PY_ARRAY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include <stdbool.h>

#include "ops/op.h"

/* To be called once, before anything else here. -1 with an exception set. */
int vt_array_import(void);

/* What an argument must be: NumPy type letter ('f' float32, 'd' float64, 'l' int64), dimensions
 * (-1: any size), and its name for messages. */
typedef struct vt_array_spec {
    const char *name;
    char type;
    int ndim;
    int64_t dim[VT_MAX_DIMS + 1];
} vt_array_spec;

char vt_array_type(vt_dtype dtype);

/* A new reference to a C-contiguous array that fits the spec (a copy if `object` is not
 * contiguous). TypeError for another dtype or something that is no array, ValueError for another
 * shape. */
PyObject *vt_array_expect(PyObject *object, const vt_array_spec *spec);

void *vt_array_data(PyObject *array);
int64_t vt_array_dim(PyObject *array, int axis);
int64_t vt_array_size(PyObject *array);
bool vt_array_is_double(PyObject *object); /* an array of float64 */
bool vt_array_is_matrix(PyObject *object); /* an array of two dimensions */

/* Like vt_array_expect for any shape. */
PyObject *vt_array_flat(PyObject *object, char type);

/* A new array; its content is whatever was there. */
PyObject *vt_array_new(char type, int ndim, const int64_t *dim);

/* A read-only view of memory that `owner` keeps alive. */
PyObject *vt_array_view(PyObject *owner, void *data, char type, const vt_shape *shape);

#endif
