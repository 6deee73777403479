/* The extension module vitc._vitc: types, functions, and the way from a status to an exception. */
#include <stdlib.h>

#include "py/array.h"
#include "py/state.h"

PyObject *vt_raise(vt_module_state *state, vt_status status, const vt_error *error) {
    PyObject *type = state->error;
    switch (status) {
        case VT_VALUE: type = PyExc_ValueError; break;
        case VT_TYPE: type = PyExc_TypeError; break;
        case VT_MEMORY: type = PyExc_MemoryError; break;
        case VT_OS: type = PyExc_OSError; break;
        case VT_OK:
        case VT_MISUSE:
        case VT_INTERNAL: break;
    }
    PyErr_SetString(type, error->message);
    return NULL;
}

void vt_free_object(PyObject *self) {
    PyTypeObject *type = Py_TYPE(self);
    freefunc release = (freefunc)PyType_GetSlot(type, Py_tp_free);
    release(self);
    Py_DECREF(type);
}

int vt_parse_shape(PyObject *object, vt_shape *shape) {
    const Py_ssize_t count = PySequence_Size(object);
    if (count < 0) return -1;
    if (count < 1 || count > VT_MAX_DIMS) {
        PyErr_Format(PyExc_ValueError, "a shape has %zd sizes, expected 1 to %d", count,
                     VT_MAX_DIMS);
        return -1;
    }
    shape->ndim = (int)count;
    for (Py_ssize_t i = 0; i < count; i++) {
        PyObject *size = PySequence_GetItem(object, i);
        if (size == NULL) return -1;
        shape->dim[i] = PyLong_AsLongLong(size);
        Py_DECREF(size);
        if (PyErr_Occurred() != NULL) return -1;
    }
    return 0;
}

PyObject *vt_shape_tuple(const vt_shape *shape) {
    PyObject *tuple = PyTuple_New(shape->ndim);
    for (int i = 0; tuple != NULL && i < shape->ndim; i++) {
        PyObject *size = PyLong_FromLongLong(shape->dim[i]);
        if (size == NULL) {
            Py_CLEAR(tuple);
            break;
        }
        PyTuple_SET_ITEM(tuple, i, size);
    }
    return tuple;
}

int vt_parse_dtype(const char *name, vt_dtype *dtype) {
    for (int i = 0; i < VT_REAL_COUNT; i++) {
        if (strcmp(name, vt_dtype_name((vt_dtype)i)) != 0) continue;
        *dtype = (vt_dtype)i;
        return 0;
    }
    PyErr_Format(PyExc_ValueError, "dtype is '%.100s', expected 'float32' or 'float64'", name);
    return -1;
}

int vt_check_entry(const vt_params *params, Py_ssize_t index) {
    const int count = vt_params_count(params);
    if (index >= 0 && index < count) return 0;
    PyErr_Format(PyExc_IndexError, "entry %zd of a table with %d parameters", index, count);
    return -1;
}

/* ---------------------------------------------------------------- the module */

static int add_type(PyObject *module, PyType_Spec *spec, PyTypeObject **type) {
    *type = (PyTypeObject *)PyType_FromModuleAndSpec(module, spec, NULL);
    return *type == NULL ? -1 : PyModule_AddType(module, *type);
}

static int module_exec(PyObject *module) {
    vt_module_state *state = PyModule_GetState(module);
    if (vt_array_import() < 0) return -1;
    if (PyModule_AddFunctions(module, vt_loss_methods) < 0) return -1;
    if (PyModule_AddFunctions(module, vt_optimizer_methods) < 0) return -1;
    state->error = PyErr_NewExceptionWithDoc(
        "vitc.VitcError", "The library was misused in a way that no built-in exception describes.",
        NULL, NULL);
    if (state->error == NULL || PyModule_AddObjectRef(module, "VitcError", state->error) < 0) {
        return -1;
    }
    vt_error error;
    vt_status status = vt_isa_select(getenv("VITC_ISA"), &error);
    if (status == VT_OK) status = vt_machine_select(getenv("VITC_MACHINE"), &error);
    if (status != VT_OK) {
        vt_raise(state, status, &error);
        return -1;
    }
    if (add_type(module, &vt_buffer_spec, &state->buffer) < 0) return -1;
    if (add_type(module, &vt_params_spec, &state->params) < 0) return -1;
    if (add_type(module, &vt_program_spec, &state->program) < 0) return -1;
    if (add_type(module, &vt_plan_spec, &state->plan) < 0) return -1;
    return add_type(module, &vt_run_spec, &state->run);
}

static int module_traverse(PyObject *module, visitproc visit, void *arg) {
    vt_module_state *state = PyModule_GetState(module);
    Py_VISIT(state->buffer);
    Py_VISIT(state->params);
    Py_VISIT(state->program);
    Py_VISIT(state->plan);
    Py_VISIT(state->run);
    Py_VISIT(state->error);
    return 0;
}

static int module_clear(PyObject *module) {
    vt_module_state *state = PyModule_GetState(module);
    Py_CLEAR(state->buffer);
    Py_CLEAR(state->params);
    Py_CLEAR(state->program);
    Py_CLEAR(state->plan);
    Py_CLEAR(state->run);
    Py_CLEAR(state->error);
    return 0;
}

static PyModuleDef_Slot module_slots[] = {
    {Py_mod_exec, module_exec},
#if PY_VERSION_HEX >= 0x030C0000
    {Py_mod_multiple_interpreters, Py_MOD_MULTIPLE_INTERPRETERS_NOT_SUPPORTED},
#endif
#if PY_VERSION_HEX >= 0x030D0000
    {Py_mod_gil, Py_MOD_GIL_USED}, /* a free-threaded Python switches it on again, and says so */
#endif
    {0, NULL},
};

PyModuleDef vt_module = {
    PyModuleDef_HEAD_INIT,
    .m_name = "vitc._vitc",
    .m_doc = "The C core of vitc. Private: use `vitc`.",
    .m_size = sizeof(vt_module_state),
    .m_methods = vt_module_methods,
    .m_slots = module_slots,
    .m_traverse = module_traverse,
    .m_clear = module_clear,
};

PyMODINIT_FUNC PyInit__vitc(void) { return PyModuleDef_Init(&vt_module); }
