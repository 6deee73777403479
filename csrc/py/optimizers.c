/* The functions of the module that change parameters and gradients: optimizers, clipping, averages.
 */
#include <math.h>

#include "py/state.h"

static bool *flags(const vt_params *params, PyObject *tuple) {
    bool *chosen = PyMem_Calloc((size_t)vt_params_count(params) + 1, sizeof *chosen);
    if (chosen == NULL) PyErr_NoMemory();
    for (Py_ssize_t i = 0; chosen != NULL && i < PyTuple_GET_SIZE(tuple); i++) {
        const Py_ssize_t index = PyLong_AsSsize_t(PyTuple_GET_ITEM(tuple, i));
        if (PyErr_Occurred() || vt_check_entry(params, index) < 0) {
            PyMem_Free(chosen);
            return NULL;
        }
        chosen[index] = true;
    }
    return chosen;
}

int vt_parse_chosen(const vt_params *params, PyObject *indices, bool **chosen) {
    *chosen = NULL;
    if (indices == Py_None) return 0;
    PyObject *tuple = PySequence_Tuple(indices);
    if (tuple == NULL) return -1;
    *chosen = flags(params, tuple);
    Py_DECREF(tuple);
    return *chosen == NULL ? -1 : 0;
}

/* ---------------------------------------------------------------- what a step works on */

static vt_params *params_in(PyObject *object) { return ((vt_params_object *)object)->params; }

static int take_buffer(PyObject *object, PyObject *params, void **data) {
    if (((vt_buffer_object *)object)->owner != (vt_params_object *)params) {
        PyErr_SetString(PyExc_ValueError, "a buffer belongs to other parameters");
        return -1;
    }
    *data = ((vt_buffer_object *)object)->data;
    return 0;
}

/* From parsed arguments; buffers may be NULL. Frees nothing on -1, but there is nothing to free. */
static int open_update(vt_update *u, PyObject *params, PyObject *first, PyObject *second,
                       PyObject *indices) {
    u->params = params_in(params);
    if (first != NULL && take_buffer(first, params, &u->state[0]) < 0) return -1;
    if (second != NULL && take_buffer(second, params, &u->state[1]) < 0) return -1;
    bool *chosen;
    if (vt_parse_chosen(u->params, indices, &chosen) < 0) return -1;
    u->chosen = chosen;
    return 0;
}

static void close_update(const vt_update *u) { PyMem_Free((void *)(uintptr_t)u->chosen); }

/* ---------------------------------------------------------------- optimizers */

static PyObject *adamw_step(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"params", "exp_avg", "exp_avg_sq",   "indices", "step",    "lr",
                               "betas",  "eps",     "weight_decay", "l2",      "threads", NULL};
    vt_module_state *state = PyModule_GetState(module);
    PyObject *params, *exp_avg, *exp_avg_sq, *indices;
    long long step;
    vt_adamw a;
    vt_update u = {.params = NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!O!O$Ld(dd)dddi:adamw_step", keywords,
                                     state->params, &params, state->buffer, &exp_avg, state->buffer,
                                     &exp_avg_sq, &indices, &step, &a.lr, &a.beta1, &a.beta2,
                                     &a.eps, &a.weight_decay, &a.l2, &u.threads)) {
        return NULL;
    }
    if (step < 1) return PyErr_Format(PyExc_ValueError, "step is %lld, expected 1 or more", step);
    if (open_update(&u, params, exp_avg, exp_avg_sq, indices) < 0) return NULL;
    a.beta1_power = pow(a.beta1, (double)step);
    a.beta2_power = pow(a.beta2, (double)step);
    Py_BEGIN_ALLOW_THREADS
    vt_adamw_run(&u, &a);
    Py_END_ALLOW_THREADS
    close_update(&u);
    Py_RETURN_NONE;
}

static PyObject *radam_step(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"params", "exp_avg",    "exp_avg_sq", "indices", "lr",
                               "betas",  "correction", "rectifier",  "eps",     "weight_decay",
                               "l2",     "threads",    NULL};
    vt_module_state *state = PyModule_GetState(module);
    PyObject *params, *exp_avg, *exp_avg_sq, *indices;
    vt_radam r;
    vt_update u = {.params = NULL};
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "O!O!O!O$d(dd)dddddi:radam_step", keywords, state->params, &params,
            state->buffer, &exp_avg, state->buffer, &exp_avg_sq, &indices, &r.lr, &r.beta1,
            &r.beta2, &r.correction, &r.rectifier, &r.eps, &r.weight_decay, &r.l2, &u.threads)) {
        return NULL;
    }
    if (open_update(&u, params, exp_avg, exp_avg_sq, indices) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS
    vt_radam_run(&u, &r);
    Py_END_ALLOW_THREADS
    close_update(&u);
    Py_RETURN_NONE;
}

static PyObject *sgd_step(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"params",    "momentum_buffer", "indices",  "lr",    "momentum",
                               "dampening", "weight_decay",    "nesterov", "first", "threads",
                               NULL};
    vt_module_state *state = PyModule_GetState(module);
    PyObject *params, *buffer, *indices;
    int nesterov, first;
    vt_sgd s;
    vt_update u = {.params = NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!OO$ddddppi:sgd_step", keywords, state->params,
                                     &params, &buffer, &indices, &s.lr, &s.momentum, &s.dampening,
                                     &s.weight_decay, &nesterov, &first, &u.threads)) {
        return NULL;
    }
    if (buffer != Py_None && !Py_IS_TYPE(buffer, state->buffer)) {
        return PyErr_Format(PyExc_TypeError, "momentum_buffer must be a Buffer or None");
    }
    if (open_update(&u, params, buffer == Py_None ? NULL : buffer, NULL, indices) < 0) return NULL;
    s.nesterov = nesterov != 0;
    s.first = first != 0;
    Py_BEGIN_ALLOW_THREADS
    vt_sgd_run(&u, &s);
    Py_END_ALLOW_THREADS
    close_update(&u);
    Py_RETURN_NONE;
}

static PyObject *lion_step(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"params", "exp_avg",      "indices", "lr",
                               "betas",  "weight_decay", "threads", NULL};
    vt_module_state *state = PyModule_GetState(module);
    PyObject *params, *exp_avg, *indices;
    vt_lion l;
    vt_update u = {.params = NULL};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "O!O!O$d(dd)di:lion_step", keywords,
                                     state->params, &params, state->buffer, &exp_avg, &indices,
                                     &l.lr, &l.beta1, &l.beta2, &l.weight_decay, &u.threads)) {
        return NULL;
    }
    if (open_update(&u, params, exp_avg, NULL, indices) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS
    vt_lion_run(&u, &l);
    Py_END_ALLOW_THREADS
    close_update(&u);
    Py_RETURN_NONE;
}

static PyObject *lamb_step(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {
        "params",         "exp_avg",     "exp_avg_sq", "indices", "lr",
        "betas",          "corrections", "eps",        "clip",    "weight_decay",
        "gradient_share", "adapts",      "trust_clip", "threads", NULL};
    vt_module_state *state = PyModule_GetState(module);
    PyObject *params, *exp_avg, *exp_avg_sq, *indices;
    int adapts, trust_clip;
    vt_lamb l;
    vt_update u = {.params = NULL};
    if (!PyArg_ParseTupleAndKeywords(
            args, kwargs, "O!O!O!O$d(dd)(dd)ddddppi:lamb_step", keywords, state->params, &params,
            state->buffer, &exp_avg, state->buffer, &exp_avg_sq, &indices, &l.lr, &l.beta1,
            &l.beta2, &l.correction1, &l.correction2, &l.eps, &l.clip, &l.weight_decay,
            &l.gradient_share, &adapts, &trust_clip, &u.threads)) {
        return NULL;
    }
    if (open_update(&u, params, exp_avg, exp_avg_sq, indices) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS
    vt_lamb_run(&u, &l, adapts != 0, trust_clip != 0);
    Py_END_ALLOW_THREADS
    close_update(&u);
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- clipping and averages */

static PyObject *clip_value(PyObject *module, PyObject *args) {
    vt_module_state *state = PyModule_GetState(module);
    PyObject *params, *indices;
    double limit;
    bool *chosen;
    if (!PyArg_ParseTuple(args, "O!Od:clip_value", state->params, &params, &indices, &limit)) {
        return NULL;
    }
    if (vt_parse_chosen(params_in(params), indices, &chosen) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS
    vt_clip_value(params_in(params), chosen, limit, vt_default_threads());
    Py_END_ALLOW_THREADS
    PyMem_Free(chosen);
    Py_RETURN_NONE;
}

static PyObject *clip_adaptive(PyObject *module, PyObject *args) {
    vt_module_state *state = PyModule_GetState(module);
    PyObject *params, *indices;
    double factor, eps;
    bool *chosen;
    if (!PyArg_ParseTuple(args, "O!Odd:clip_adaptive", state->params, &params, &indices, &factor,
                          &eps)) {
        return NULL;
    }
    if (vt_parse_chosen(params_in(params), indices, &chosen) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS
    vt_clip_adaptive(params_in(params), chosen, factor, eps, vt_default_threads());
    Py_END_ALLOW_THREADS
    PyMem_Free(chosen);
    Py_RETURN_NONE;
}

static PyObject *average(PyObject *module, PyObject *args) {
    vt_module_state *state = PyModule_GetState(module);
    PyObject *mean, *params;
    double share;
    if (!PyArg_ParseTuple(args, "O!O!d:average", state->params, &mean, state->params, &params,
                          &share)) {
        return NULL;
    }
    if (!vt_params_alike(params_in(mean), params_in(params))) {
        return PyErr_Format(PyExc_ValueError, "the two tables differ in their entries");
    }
    vt_error error;
    vt_status status;
    Py_BEGIN_ALLOW_THREADS
    status = vt_average(params_in(mean), params_in(params), share, vt_default_threads(), &error);
    Py_END_ALLOW_THREADS
    if (status != VT_OK) return vt_raise(state, status, &error);
    Py_RETURN_NONE;
}

PyMethodDef vt_optimizer_methods[] = {
    {"adamw_step", VT_KEYWORDS(adamw_step),
     "adamw_step($module, /, params, exp_avg, exp_avg_sq, indices, *, step, lr, betas, eps,\n"
     "           weight_decay, l2, threads)\n--\n\nOne step of Adam or AdamW on some entries."},
    {"radam_step", VT_KEYWORDS(radam_step),
     "radam_step($module, /, params, exp_avg, exp_avg_sq, indices, *, lr, betas, correction,\n"
     "           rectifier, eps, weight_decay, l2, threads)\n--\n\nOne step of RAdam on some "
     "entries."},
    {"sgd_step", VT_KEYWORDS(sgd_step),
     "sgd_step($module, /, params, momentum_buffer, indices, *, lr, momentum, dampening,\n"
     "         weight_decay, nesterov, first, threads)\n--\n\nOne step of SGD on some entries."},
    {"lion_step", VT_KEYWORDS(lion_step),
     "lion_step($module, /, params, exp_avg, indices, *, lr, betas, weight_decay, threads)\n--\n\n"
     "One step of Lion on some entries."},
    {"lamb_step", VT_KEYWORDS(lamb_step),
     "lamb_step($module, /, params, exp_avg, exp_avg_sq, indices, *, lr, betas, corrections, eps,\n"
     "          clip, weight_decay, gradient_share, adapts, trust_clip, threads)\n--\n\n"
     "One step of LAMB on some entries."},
    {"clip_value", clip_value, METH_VARARGS,
     "clip_value($module, params, indices, limit, /)\n--\n\nCut the elements of gradients."},
    {"clip_adaptive", clip_adaptive, METH_VARARGS,
     "clip_adaptive($module, params, indices, factor, eps, /)\n--\n\n"
     "Cut the norms of gradients to a share of those of their parameters."},
    {"average", average, METH_VARARGS,
     "average($module, average, params, share, /)\n--\n\n"
     "Move all values of one table towards those of another."},
    {NULL, NULL, 0, NULL},
};
