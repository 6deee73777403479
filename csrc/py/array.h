/* NumPy arrays in and out. The only file that calls the NumPy C API is array.c. */
#ifndef VT_PY_ARRAY_H
#define VT_PY_ARRAY_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "vitc.h"

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
 * contiguous). TypeError for another dtype or something that is not an array, ValueError for
 * another shape.
 *
 * Other threads may write to the caller's array while it is in use here, and change its shape
 * whenever Python runs. So numbers that are indices (of type 'l') are always copied, before they
 * are checked; and sizes are read once, or come from the spec. */
PyObject *vt_array_expect(PyObject *object, const vt_array_spec *spec);

void *vt_array_data(PyObject *array);
int64_t vt_array_dim(PyObject *array, int axis);
int64_t vt_array_size(PyObject *array);
bool vt_array_is_double(PyObject *object); /* an array of float64 */
bool vt_array_is_matrix(PyObject *object); /* an array of two dimensions */

/* `object` itself if it fits the spec and can be written to in place, as a new reference; else an
 * exception. */
PyObject *vt_array_expect_out(PyObject *object, const vt_array_spec *spec);

/* An image (height, width, channels) or (height, width) of uint8, uint16 or float32. */
typedef struct vt_pixels {
    PyObject *array; /* a reference */
    vt_image image;
    bool is_matrix; /* without an axis for channels, of which there is one */
} vt_pixels;

/* The pixels of an array, copied only if those of a row are not adjacent. -1 with a
 * TypeError or ValueError. */
int vt_pixels_expect(vt_pixels *pixels, PyObject *object, const char *name);

/* The same for an array (height, width, channels) that is C-contiguous and can be written to; the
 * reference is borrowed. */
int vt_pixels_expect_out(vt_pixels *pixels, PyObject *object, const char *name);

/* A C-contiguous array of n dimensions and of a type that images have, copied if it is not
 * contiguous, as a new reference. NULL with a TypeError or ValueError. */
PyObject *vt_samples_expect(PyObject *object, int ndim, vt_sample *sample, const char *name);

/* A new array of the shape and type of another. */
PyObject *vt_array_like(PyObject *array);

/* A new image of the form of `image`; a matrix stays one while it has one channel. -1 with an
 * exception. */
int vt_pixels_new(vt_pixels *pixels, const vt_image *image, bool is_matrix);

/* Like vt_array_expect for any shape. */
PyObject *vt_array_flat(PyObject *object, char type);

/* A new array; its content is whatever was there. */
PyObject *vt_array_new(char type, int ndim, const int64_t *dim);

/* A read-only view of memory that `owner` keeps alive. */
PyObject *vt_array_view(PyObject *owner, void *data, char type, const vt_shape *shape);

#endif
