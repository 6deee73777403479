/* The functions of the module that compute losses: one call gives value, weight and gradient. */
#include "py/array.h"
#include "py/state.h"

int vt_parse_reals(PyObject *array, const char *name, vt_dtype *dtype, PyObject **checked) {
    *dtype = vt_array_is_double(array) ? VT_F64 : VT_F32;
    const vt_array_spec spec = {name, vt_array_type(*dtype), 2, {-1, -1}};
    *checked = vt_array_expect(array, &spec);
    return *checked == NULL ? -1 : 0;
}

/* ---------------------------------------------------------------- cross entropy */

/* The arrays of a call, to be released together. */
typedef struct loss_arrays {
    PyObject *logits, *target, *class_weights, *sample_weights, *dlogits;
} loss_arrays;

static void release(loss_arrays *a) {
    Py_XDECREF(a->logits);
    Py_XDECREF(a->target);
    Py_XDECREF(a->class_weights);
    Py_XDECREF(a->sample_weights);
    Py_XDECREF(a->dlogits);
}

/* An optional vector; NULL in *data where it is None. -1 with an exception. */
static int optional_vector(PyObject *object, const char *name, char type, int64_t size,
                           PyObject **array, const void **data) {
    if (object == Py_None) return 0;
    const vt_array_spec spec = {name, type, 1, {size}};
    *array = vt_array_expect(object, &spec);
    if (*array == NULL) return -1;
    *data = vt_array_data(*array);
    return 0;
}

static int parse_target(PyObject *target, vt_cross_entropy *loss, PyObject **array) {
    const char type = vt_array_type(loss->dtype);
    const vt_array_spec labels = {"target", 'l', 1, {loss->rows}};
    const vt_array_spec probabilities = {"target", type, 2, {loss->rows, loss->classes}};
    const bool is_matrix = vt_array_is_matrix(target);
    *array = vt_array_expect(target, is_matrix ? &probabilities : &labels);
    if (*array == NULL) return -1;
    if (is_matrix) {
        loss->probabilities = vt_array_data(*array);
    } else {
        loss->labels = vt_array_data(*array);
    }
    return 0;
}

static PyObject *run_cross_entropy(PyObject *module, vt_cross_entropy *loss, loss_arrays *arrays) {
    const int64_t dims[2] = {loss->rows, loss->classes};
    arrays->dlogits = vt_array_new(vt_array_type(loss->dtype), 2, dims);
    if (arrays->dlogits == NULL) return NULL;
    double value, weight;
    vt_error error;
    vt_status status;
    Py_BEGIN_ALLOW_THREADS
    status = vt_cross_entropy_run(loss, &value, &weight, vt_array_data(arrays->dlogits), &error);
    Py_END_ALLOW_THREADS
    if (status != VT_OK) return vt_raise(PyModule_GetState(module), status, &error);
    return Py_BuildValue("(ddO)", value, weight, arrays->dlogits);
}

static PyObject *cross_entropy(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"logits",          "target",       "class_weights", "sample_weights",
                               "label_smoothing", "ignore_index", "gamma",         NULL};
    PyObject *logits, *target, *class_weights = Py_None, *sample_weights = Py_None, *result = NULL;
    vt_cross_entropy loss = {.ignore_index = -100};
    long long ignore_index = -100;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OO|OOdLd:cross_entropy", keywords, &logits,
                                     &target, &class_weights, &sample_weights,
                                     &loss.label_smoothing, &ignore_index, &loss.gamma)) {
        return NULL;
    }
    if (!(loss.label_smoothing >= 0 && loss.label_smoothing <= 1)) {
        return PyErr_Format(PyExc_ValueError, "label_smoothing is not a number from 0 to 1");
    }
    if (!(loss.gamma >= 0)) return PyErr_Format(PyExc_ValueError, "gamma is not 0 or more");
    loss.ignore_index = ignore_index;
    loss_arrays a = {0};
    if (vt_parse_reals(logits, "logits", &loss.dtype, &a.logits) == 0) {
        loss.logits = vt_array_data(a.logits);
        loss.rows = vt_array_dim(a.logits, 0);
        loss.classes = vt_array_dim(a.logits, 1);
        const char type = vt_array_type(loss.dtype);
        if (parse_target(target, &loss, &a.target) == 0 &&
            optional_vector(class_weights, "class_weights", type, loss.classes, &a.class_weights,
                            &loss.class_weights) == 0 &&
            optional_vector(sample_weights, "sample_weights", type, loss.rows, &a.sample_weights,
                            &loss.sample_weights) == 0) {
            result = run_cross_entropy(module, &loss, &a);
        }
    }
    release(&a);
    return result;
}

/* ---------------------------------------------------------------- sums over a row */

enum { INPUT, TARGET, CLASS_WEIGHTS, POSITIVE_WEIGHTS, SAMPLE_WEIGHTS, GRADIENT, ROW_ARRAYS };

/* The arrays of a call and what they point to; -1 with an exception. */
static int parse_row_loss(PyObject *const given[GRADIENT], vt_row_loss *l, PyObject **array) {
    if (vt_parse_reals(given[INPUT], "input", &l->dtype, &array[INPUT]) < 0) return -1;
    l->input = vt_array_data(array[INPUT]);
    l->rows = vt_array_dim(array[INPUT], 0);
    l->cols = vt_array_dim(array[INPUT], 1);
    const char type = vt_array_type(l->dtype);
    const vt_array_spec target = {"target", type, 2, {l->rows, l->cols}};
    array[TARGET] = vt_array_expect(given[TARGET], &target);
    if (array[TARGET] == NULL) return -1;
    l->target = vt_array_data(array[TARGET]);
    if (optional_vector(given[CLASS_WEIGHTS], "class_weights", type, l->cols, &array[CLASS_WEIGHTS],
                        &l->class_weights) < 0) {
        return -1;
    }
    if (optional_vector(given[POSITIVE_WEIGHTS], "positive_weights", type, l->cols,
                        &array[POSITIVE_WEIGHTS], &l->positive_weights) < 0) {
        return -1;
    }
    return optional_vector(given[SAMPLE_WEIGHTS], "sample_weights", type, l->rows,
                           &array[SAMPLE_WEIGHTS], &l->sample_weights);
}

static PyObject *run_row_loss(const vt_row_loss *l, PyObject **array) {
    const int64_t dims[2] = {l->rows, l->cols};
    array[GRADIENT] = vt_array_new(vt_array_type(l->dtype), 2, dims);
    if (array[GRADIENT] == NULL) return NULL;
    double value, weight;
    Py_BEGIN_ALLOW_THREADS
    vt_row_loss_run(l, &value, &weight, vt_array_data(array[GRADIENT]));
    Py_END_ALLOW_THREADS
    return Py_BuildValue("(ddO)", value, weight, array[GRADIENT]);
}

static PyObject *row_loss(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {
        "kind",       "input",         "target",           "factor",         "alpha", "gamma",
        "log_target", "class_weights", "positive_weights", "sample_weights", NULL};
    (void)module;
    const char *kind;
    int log_target;
    PyObject *given[GRADIENT] = {NULL, NULL, Py_None, Py_None, Py_None};
    PyObject *array[ROW_ARRAYS] = {NULL}, *result = NULL;
    vt_row_loss l = {.kind = VT_LOSS_COUNT};
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "sOO$dddpOOO:row_loss", keywords, &kind,
                                     &given[INPUT], &given[TARGET], &l.factor, &l.alpha, &l.gamma,
                                     &log_target, &given[CLASS_WEIGHTS], &given[POSITIVE_WEIGHTS],
                                     &given[SAMPLE_WEIGHTS])) {
        return NULL;
    }
    l.kind = vt_loss_find(kind);
    l.log_target = log_target != 0;
    if (l.kind == VT_LOSS_COUNT) return PyErr_Format(PyExc_ValueError, "no loss '%.100s'", kind);
    if (parse_row_loss(given, &l, array) == 0) result = run_row_loss(&l, array);
    for (int i = 0; i < ROW_ARRAYS; i++) Py_XDECREF(array[i]);
    return result;
}

/* ---------------------------------------------------------------- over views */

static PyObject *jensen_shannon(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *object, *logits, *result = NULL;
    long long splits;
    vt_dtype dtype;
    if (!PyArg_ParseTuple(args, "OL:jensen_shannon", &object, &splits)) return NULL;
    if (vt_parse_reals(object, "logits", &dtype, &logits) < 0) return NULL;
    const int64_t dims[2] = {vt_array_dim(logits, 0), vt_array_dim(logits, 1)};
    if (splits < 2 || splits > VT_MAX_SPLITS || dims[0] % splits != 0) {
        PyErr_Format(PyExc_ValueError, "%lld rows cannot be split into %lld views, 2 to %d",
                     (long long)dims[0], splits, VT_MAX_SPLITS);
        Py_DECREF(logits);
        return NULL;
    }
    PyObject *dlogits = vt_array_new(vt_array_type(dtype), 2, dims);
    if (dlogits != NULL) {
        double value;
        Py_BEGIN_ALLOW_THREADS
        value = vt_jensen_shannon_run(dtype, vt_array_data(logits), splits, dims[0] / splits,
                                      dims[1], vt_array_data(dlogits));
        Py_END_ALLOW_THREADS
        result = Py_BuildValue("(dN)", value, dlogits);
    }
    Py_DECREF(logits);
    return result;
}

PyMethodDef vt_loss_methods[] = {
    {"cross_entropy", VT_KEYWORDS(cross_entropy),
     "cross_entropy($module, /, logits, target, class_weights=None, sample_weights=None,\n"
     "              label_smoothing=0.0, ignore_index=-100, gamma=0.0)\n--\n\n"
     "(sum of the losses, sum of the weights, gradient of the first by the logits)."},
    {"row_loss", VT_KEYWORDS(row_loss),
     "row_loss($module, kind, input, target, *, factor, alpha, gamma, log_target, class_weights,\n"
     "         positive_weights, sample_weights)\n--\n\n"
     "(sum of the losses, sum of the sample weights, gradient of the first by the input)."},
    {"jensen_shannon", jensen_shannon, METH_VARARGS,
     "jensen_shannon($module, logits, splits, /)\n--\n\n"
     "(sum of the divergences of the views of a sample, its gradient by the logits)."},
    {NULL, NULL, 0, NULL},
};
