/* What the files of the extension share: the state of the module, and the one place where an error
 * of the core becomes an exception. */
#ifndef VT_PY_STATE_H
#define VT_PY_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "vitc.h"

typedef struct vt_module_state {
    PyTypeObject *buffer, *params, *program, *plan, *run;
    PyObject *error; /* VitcError */
} vt_module_state;

/* The module's definition, and the tables of its methods: of functions.c (with those of file.c,
 * image.c and mixing.c), losses.c and optimizers.c. */
extern PyModuleDef vt_module;
extern PyMethodDef vt_module_methods[], vt_loss_methods[], vt_optimizer_methods[];

/* A method with keywords, for a table of methods. */
#define VT_KEYWORDS(function) (PyCFunction)(void (*)(void)) function, METH_VARARGS | METH_KEYWORDS

static inline vt_module_state *vt_state_of_type(PyTypeObject *type) {
    return PyModule_GetState(PyType_GetModuleByDef(type, &vt_module));
}

/* Set the exception for a status; always returns NULL. */
PyObject *vt_raise(vt_module_state *state, vt_status status, const vt_error *error);

/* Methods of file.c, image.c and mixing.c, for the table in functions.c. */
PyObject *vt_py_write_file(PyObject *module, PyObject *args);
PyObject *vt_py_read_file(PyObject *module, PyObject *bytes);
PyObject *vt_py_image(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *vt_py_look_up(PyObject *module, PyObject *args);
PyObject *vt_py_displace(PyObject *module, PyObject *const *args, Py_ssize_t count);
PyObject *vt_py_write_image(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *vt_py_erase(PyObject *module, PyObject *args, PyObject *kwargs);
PyObject *vt_py_mix_images(PyObject *module, PyObject *args);
PyObject *vt_py_blend(PyObject *module, PyObject *args);
PyObject *vt_py_shade(PyObject *module, PyObject *args);
PyObject *vt_py_mix_batch(PyObject *module, PyObject *args);

/* ---------------------------------------------------------------- objects */

typedef struct vt_params_object {
    PyObject_HEAD
    vt_params *params;
} vt_params_object;

typedef struct vt_buffer_object {
    PyObject_HEAD
    vt_params_object *owner; /* whose layout it has */
    void *data;
} vt_buffer_object;

typedef struct vt_program_object {
    PyObject_HEAD
    vt_program *program;
} vt_program_object;

typedef struct vt_plan_object {
    PyObject_HEAD
    vt_params_object *params;
    vt_plan *plan;
} vt_plan_object;

typedef struct vt_run_object {
    PyObject_HEAD
    vt_plan_object *plan;
    vt_run *run;
    int busy; /* 1 + vt_forks() while a thread is in forward or backward, perhaps without the GIL */
} vt_run_object;

extern PyType_Spec vt_params_spec, vt_buffer_spec, vt_program_spec, vt_plan_spec, vt_run_spec;

/* ---------------------------------------------------------------- small parsers */

/* A tuple of sizes into a shape; ValueError for none or too many, -1 on error. */
int vt_parse_shape(PyObject *object, vt_shape *shape);

/* A tuple of Python ints. */
PyObject *vt_shape_tuple(const vt_shape *shape);

/* "float32" or "float64"; -1 with a ValueError. */
int vt_parse_dtype(const char *name, vt_dtype *dtype);

/* The index of an entry of the parameters, or IndexError and -1. */
int vt_check_entry(const vt_params *params, Py_ssize_t index);

/* A matrix of float32 or float64, which sets the dtype of the other arguments, as a new reference;
 * -1 with an exception. */
int vt_parse_reals(PyObject *array, const char *name, vt_dtype *dtype, PyObject **checked);

/* One flag per entry from a sequence of indices, to be freed with PyMem_Free; NULL for None. -1
 * with an exception. */
int vt_parse_chosen(const vt_params *params, PyObject *indices, bool **chosen);

/* Free an instance of one of the heap types, after its own parts are gone. */
void vt_free_object(PyObject *self);

#endif
