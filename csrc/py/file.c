/* Programs with their parameters as bytes, and back. */
#include <string.h>

#include "py/state.h"

/* ---------------------------------------------------------------- writing */

/* The UTF-8 of a text without NUL, or NULL with an exception. */
static const char *parse_note(PyObject *object) {
    Py_ssize_t length;
    if (!PyUnicode_Check(object)) {
        PyErr_Format(PyExc_TypeError, "a note is a %.100s, expected a str",
                     Py_TYPE(object)->tp_name);
        return NULL;
    }
    const char *text = PyUnicode_AsUTF8AndSize(object, &length);
    if (text == NULL || strlen(text) == (size_t)length) return text;
    PyErr_SetString(PyExc_ValueError, "a note holds a NUL character");
    return NULL;
}

static int parse_notes(PyObject *tuple, const char **notes) {
    for (Py_ssize_t i = 0; i < PyTuple_GET_SIZE(tuple); i++) {
        notes[i] = parse_note(PyTuple_GET_ITEM(tuple, i));
        if (notes[i] == NULL) return -1;
    }
    return 0;
}

static PyObject *write_bytes(PyObject *module, const vt_program *program, vt_params *params,
                             const char *const *notes, int count) {
    void *memory;
    size_t bytes;
    vt_error error;
    vt_status status;
    Py_BEGIN_ALLOW_THREADS
    status = vt_file_write(&memory, &bytes, program, params, notes, count, &error);
    Py_END_ALLOW_THREADS
    if (status != VT_OK) return vt_raise(PyModule_GetState(module), status, &error);
    PyObject *result = PyBytes_FromStringAndSize(memory, (Py_ssize_t)bytes);
    vt_free(memory);
    return result;
}

PyObject *vt_py_write_file(PyObject *module, PyObject *args) {
    vt_module_state *state = PyModule_GetState(module);
    PyObject *program, *params, *tuple, *result = NULL;
    if (!PyArg_ParseTuple(args, "O!O!O!:write_file", state->program, &program, state->params,
                          &params, &PyTuple_Type, &tuple)) {
        return NULL;
    }
    const Py_ssize_t count = PyTuple_GET_SIZE(tuple);
    if (count % 2 != 0) {
        return PyErr_Format(PyExc_ValueError, "got %zd notes, expected pairs of key and value",
                            count);
    }
    const char **notes = PyMem_Calloc((size_t)count + 1, sizeof *notes);
    if (notes == NULL) return PyErr_NoMemory();
    if (parse_notes(tuple, notes) == 0) {
        result = write_bytes(module, ((vt_program_object *)program)->program,
                             ((vt_params_object *)params)->params, notes, (int)(count / 2));
    }
    PyMem_Free(notes);
    return result;
}

/* ---------------------------------------------------------------- reading */

static PyObject *notes_dict(const vt_notes *notes) {
    PyObject *dict = PyDict_New();
    for (int i = 0; dict != NULL && i < vt_notes_count(notes); i++) {
        PyObject *value = PyUnicode_FromString(vt_notes_value(notes, i));
        PyObject *key = PyUnicode_FromString(vt_notes_key(notes, i));
        if (value == NULL || key == NULL || PyDict_SetItem(dict, key, value) < 0) Py_CLEAR(dict);
        Py_XDECREF(value);
        Py_XDECREF(key);
    }
    return dict;
}

PyObject *vt_py_read_file(PyObject *module, PyObject *object) {
    vt_module_state *state = PyModule_GetState(module);
    if (!PyBytes_Check(object)) {
        return PyErr_Format(PyExc_TypeError, "expected bytes, got a %.100s",
                            Py_TYPE(object)->tp_name);
    }
    vt_program_object *program = (vt_program_object *)PyType_GenericAlloc(state->program, 0);
    vt_params_object *params = (vt_params_object *)PyType_GenericAlloc(state->params, 0);
    vt_notes *notes = NULL;
    PyObject *result = NULL;
    if (program != NULL && params != NULL) {
        const char *memory = PyBytes_AsString(object);
        const size_t bytes = (size_t)PyBytes_Size(object);
        vt_error error;
        vt_status status;
        Py_BEGIN_ALLOW_THREADS
        status = vt_file_open(&program->program, &params->params, &notes, memory, bytes, &error);
        Py_END_ALLOW_THREADS
        if (status == VT_OK) {
            PyObject *dict = notes_dict(notes);
            if (dict != NULL) result = Py_BuildValue("(OON)", program, params, dict);
        } else {
            vt_raise(state, status, &error);
        }
    }
    vt_notes_close(notes);
    Py_XDECREF(program);
    Py_XDECREF(params);
    return result;
}
