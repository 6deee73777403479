/* The functions of the module: softmax, and what there is to know about the core. */
#include "py/array.h"
#include "py/state.h"

/* ---------------------------------------------------------------- softmax */

typedef void (*matrix_function)(vt_dtype dtype, void *y, const void *x, int64_t rows, int64_t cols);

/* A new array like x, filled by `function` from x. */
static PyObject *map_matrix(PyObject *object, matrix_function function) {
    vt_dtype dtype;
    PyObject *x;
    if (vt_parse_reals(object, "x", &dtype, &x) < 0) return NULL;
    const int64_t dims[2] = {vt_array_dim(x, 0), vt_array_dim(x, 1)};
    PyObject *y = vt_array_new(vt_array_type(dtype), 2, dims);
    if (y != NULL) function(dtype, vt_array_data(y), vt_array_data(x), dims[0], dims[1]);
    Py_DECREF(x);
    return y;
}

static PyObject *softmax(PyObject *module, PyObject *x) {
    (void)module;
    return map_matrix(x, vt_softmax);
}

static PyObject *log_softmax(PyObject *module, PyObject *x) {
    (void)module;
    return map_matrix(x, vt_log_softmax);
}

static PyObject *log_softmax_backward(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *dy_object, *y_object, *y, *dx = NULL;
    vt_dtype dtype;
    if (!PyArg_ParseTuple(args, "OO:log_softmax_backward", &dy_object, &y_object)) return NULL;
    if (vt_parse_reals(y_object, "y", &dtype, &y) < 0) return NULL;
    const int64_t dims[2] = {vt_array_dim(y, 0), vt_array_dim(y, 1)};
    const vt_array_spec spec = {"dy", vt_array_type(dtype), 2, {dims[0], dims[1]}};
    PyObject *dy = vt_array_expect(dy_object, &spec);
    if (dy != NULL) dx = vt_array_new(vt_array_type(dtype), 2, dims);
    if (dx != NULL) {
        vt_log_softmax_backward(dtype, vt_array_data(dx), vt_array_data(dy), vt_array_data(y),
                                dims[0], dims[1]);
    }
    Py_XDECREF(dy);
    Py_DECREF(y);
    return dx;
}

/* ---------------------------------------------------------------- checks and random numbers */

static PyObject *count_nonfinite(PyObject *module, PyObject *object) {
    (void)module;
    const vt_dtype dtype = vt_array_is_double(object) ? VT_F64 : VT_F32;
    PyObject *array = vt_array_flat(object, vt_array_type(dtype));
    if (array == NULL) return NULL;
    const int64_t count = vt_count_nonfinite(dtype, vt_array_data(array), vt_array_size(array));
    Py_DECREF(array);
    return PyLong_FromLongLong(count);
}

static PyObject *random_words(PyObject *module, PyObject *args) {
    (void)module;
    unsigned long long seed, step, row;
    unsigned int forward;
    const char *site;
    long long count;
    if (!PyArg_ParseTuple(args, "KKIKsL:random_words", &seed, &step, &forward, &row, &site,
                          &count)) {
        return NULL;
    }
    const int64_t dims[1] = {count};
    PyObject *array = vt_array_new('I', 1, dims);
    if (array == NULL) return NULL;
    vt_random_words(vt_array_data(array), count, (vt_rng_key){seed, step, forward}, row, site);
    return array;
}

/* ---------------------------------------------------------------- what there is */

static PyObject *attribute_dict(const vt_attribute_spec *spec) {
    static const char *const type[] = {"int", "float", "str"};
    return Py_BuildValue("{s:s,s:s,s:O}", "name", spec->name, "type", type[spec->type], "optional",
                         spec->optional ? Py_True : Py_False);
}

static PyObject *param_dict(const vt_param_spec *spec) {
    return Py_BuildValue("{s:s,s:O,s:O}", "name", spec->name, "optional",
                         spec->optional ? Py_True : Py_False, "int8",
                         spec->int8 ? Py_True : Py_False);
}

/* Append a new reference, which may be NULL; -1 with an exception. */
static int append(PyObject *list, PyObject *item) {
    const int result = item == NULL ? -1 : PyList_Append(list, item);
    Py_XDECREF(item);
    return result;
}

static PyObject *op_dict(const vt_op *op) {
    PyObject *params = PyList_New(0), *attributes = PyList_New(0), *dict = NULL;
    int result = params == NULL || attributes == NULL ? -1 : 0;
    for (const vt_param_spec *p = vt_op_params(op); result == 0 && p->name != NULL; p++) {
        result = append(params, param_dict(p));
    }
    for (const vt_attribute_spec *a = vt_op_attributes(op); result == 0 && a->name != NULL; a++) {
        result = append(attributes, attribute_dict(a));
    }
    if (result == 0) {
        dict = Py_BuildValue("{s:s,s:i,s:O,s:O,s:O}", "name", vt_op_name(op), "inputs",
                             vt_op_inputs(op), "params", params, "attributes", attributes,
                             "differentiable", vt_op_differentiable(op) ? Py_True : Py_False);
    }
    Py_XDECREF(params);
    Py_XDECREF(attributes);
    return dict;
}

static PyObject *list_to_tuple(PyObject *list) {
    PyObject *tuple = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(list);
    return tuple;
}

static PyObject *operation_table(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    PyObject *list = PyList_New(0);
    for (int i = 0; list != NULL && vt_op_at(i) != NULL; i++) {
        if (append(list, op_dict(vt_op_at(i))) < 0) Py_CLEAR(list);
    }
    return list_to_tuple(list);
}

static PyObject *available_isas(void) {
    PyObject *list = PyList_New(0);
    for (int isa = 0; list != NULL && isa < VT_ISA_COUNT; isa++) {
        if (!vt_isa_available((vt_isa)isa)) continue;
        if (append(list, PyUnicode_FromString(vt_isa_name((vt_isa)isa))) < 0) Py_CLEAR(list);
    }
    return list_to_tuple(list);
}

/* Slots of a table and the levels of their kernels. */
static PyObject *slots(const char *(*name)(int), const char *(*level)(int)) {
    PyObject *dict = PyDict_New();
    for (int i = 0; dict != NULL && name(i) != NULL; i++) {
        PyObject *text = PyUnicode_FromString(level(i));
        if (text == NULL || PyDict_SetItemString(dict, name(i), text) < 0) Py_CLEAR(dict);
        Py_XDECREF(text);
    }
    return dict;
}

/* A new dict, or NULL; takes over `value` and lets it go on failure. */
static PyObject *put(PyObject *dict, const char *key, PyObject *value) {
    if (dict != NULL && (value == NULL || PyDict_SetItemString(dict, key, value) < 0)) {
        Py_CLEAR(dict);
    }
    Py_XDECREF(value);
    return dict;
}

/* {precision: {size: number}} */
static PyObject *tile_sizes(const vt_machine *m) {
    PyObject *all = PyDict_New();
    for (int p = 0; p < VT_PRECISION_COUNT; p++) {
        PyObject *sizes = PyDict_New();
        for (int s = 0; s < VT_TILE_SIZE_COUNT; s++) {
            sizes =
                put(sizes, vt_tile_size_name((vt_tile_size)s), PyLong_FromLongLong(m->tile[p][s]));
        }
        all = put(all, vt_precision_name((vt_precision)p), sizes);
    }
    return all;
}

static PyObject *machine_dict(void) {
    const vt_machine *m = vt_machine_selected();
    return Py_BuildValue("{s:s,s:(LLL),s:N}", "source", m->source, "caches", (long long)m->cache[0],
                         (long long)m->cache[1], (long long)m->cache[2], "tiles", tile_sizes(m));
}

static const char *float_slot_level(int index) { return vt_kernel_slot_level(VT_F32, index); }

static PyObject *config(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
#ifdef _OPENMP
    PyObject *openmp = Py_True;
#else
    PyObject *openmp = Py_False;
#endif
    return Py_BuildValue("{s:s,s:s,s:N,s:s,s:s,s:O,s:O,s:i,s:N,s:N,s:N}", "isa",
                         vt_isa_name(vt_isa_selected()), "best_isa", vt_isa_name(vt_isa_best()),
                         "isas", available_isas(), "features", vt_cpu_features(), "onednn",
                         vt_linalg_version(), "bf16", vt_matmul_has_bf16() ? Py_True : Py_False,
                         "openmp", openmp, "threads", vt_default_threads(), "kernels",
                         slots(vt_kernel_slot_name, float_slot_level), "image_kernels",
                         slots(vt_image_slot_name, vt_image_slot_level), "machine", machine_dict());
}

static PyObject *default_threads(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    return PyLong_FromLong(vt_default_threads());
}

static PyObject *forked(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    return PyBool_FromLong(vt_forks() > 0);
}

static PyObject *memory(PyObject *module, PyObject *unused) {
    (void)module, (void)unused;
    const vt_memory_stats m = vt_memory_read();
    return Py_BuildValue("{s:L,s:L,s:L,s:L}", "bytes", (long long)m.bytes, "peak",
                         (long long)m.peak, "blocks", (long long)m.blocks, "allocations",
                         (long long)m.allocations);
}

static PyObject *fail_allocation(PyObject *module, PyObject *argument) {
    (void)module;
    const long long n = PyLong_AsLongLong(argument);
    if (n == -1 && PyErr_Occurred()) return NULL;
    vt_memory_fail_at(n);
    Py_RETURN_NONE;
}

/* ---------------------------------------------------------------- peaks */

static vt_module_state *state_of(PyObject *module) { return PyModule_GetState(module); }

static PyObject *rate_or_error(PyObject *module, vt_status status, double rate,
                               const vt_error *error) {
    return status == VT_OK ? PyFloat_FromDouble(rate) : vt_raise(state_of(module), status, error);
}

static PyObject *peak_products(PyObject *module, PyObject *args) {
    const char *name;
    int threads, precision = 0;
    double seconds, rate = 0;
    if (!PyArg_ParseTuple(args, "sid:peak_products", &name, &threads, &seconds)) return NULL;
    while (precision < VT_PRECISION_COUNT &&
           strcmp(name, vt_precision_name((vt_precision)precision)) != 0) {
        precision++;
    }
    if (precision == VT_PRECISION_COUNT) {
        PyErr_Format(PyExc_ValueError, "precision '%.100s' is unknown", name);
        return NULL;
    }
    vt_error error;
    vt_status status;
    Py_BEGIN_ALLOW_THREADS
    status = vt_peak_products((vt_precision)precision, threads, seconds, &rate, &error);
    Py_END_ALLOW_THREADS
    return rate_or_error(module, status, rate, &error);
}

static PyObject *peak_memory(PyObject *module, PyObject *args) {
    int threads;
    double seconds, rate = 0;
    if (!PyArg_ParseTuple(args, "id:peak_memory", &threads, &seconds)) return NULL;
    vt_error error;
    vt_status status;
    Py_BEGIN_ALLOW_THREADS
    status = vt_peak_memory(threads, seconds, &rate, &error);
    Py_END_ALLOW_THREADS
    return rate_or_error(module, status, rate, &error);
}

PyMethodDef vt_module_methods[] = {
    {"softmax", softmax, METH_O, "softmax($module, x, /)\n--\n\nOf each row of a matrix."},
    {"log_softmax", log_softmax, METH_O,
     "log_softmax($module, x, /)\n--\n\nOf each row of a matrix."},
    {"log_softmax_backward", log_softmax_backward, METH_VARARGS,
     "log_softmax_backward($module, dy, y, /)\n--\n\nGradient of the input, y being the output."},
    {"count_nonfinite", count_nonfinite, METH_O,
     "count_nonfinite($module, x, /)\n--\n\nHow many elements are infinite or NaN."},
    {"random_words", random_words, METH_VARARGS,
     "random_words($module, seed, step, forward, row, site, n, /)\n--\n\n"
     "The first n random words of one image at one site."},
    {"image", (PyCFunction)(void (*)(void))vt_py_image, METH_FASTCALL,
     "image($module, name, image, /, *numbers)\n--\n\nA new image: an operation on another."},
    {"look_up", vt_py_look_up, METH_VARARGS,
     "look_up($module, image, table, /)\n--\n\nEach level of an image through a table of all."},
    {"displace", (PyCFunction)(void (*)(void))vt_py_displace, METH_FASTCALL,
     "displace($module, image, displacement, bilinear, /, *fill)\n--\n\n"
     "A new image; each pixel is one of the image, or interpolated between some."},
    {"write_image", VT_KEYWORDS(vt_py_write_image),
     "write_image($module, /, image, mean, std, *, flip=False, bf16=False, out=None, other=None,\n"
     "            other_flip=False, lam=1.0, box=(0, 0, 0, 0), channels_first=False)\n--\n\n"
     "The image as standardised planes (C, H, W)."},
    {"erase", VT_KEYWORDS(vt_py_erase),
     "erase($module, /, array, boxes, mean, sigma, *, key=(0, 0), by_value=True,\n"
     "      channels_last=False)\n--\n\nOverwrites rectangles."},
    {"mix_images", vt_py_mix_images, METH_VARARGS,
     "mix_images($module, images, weights, /)\n--\n\nThe sum of images, each times its weight."},
    {"blend", vt_py_blend, METH_VARARGS,
     "blend($module, image, other, ratio, /)\n--\n\nimage + ratio (other - image)."},
    {"shade", vt_py_shade, METH_VARARGS,
     "shade($module, image, field, /)\n--\n\nThe levels of each pixel times its own factor."},
    {"mix_batch", vt_py_mix_batch, METH_VARARGS,
     "mix_batch($module, batch, partners, lam, boxes, /)\n--\n\n"
     "Images of a batch (B, C, H, W) mixed with each other."},
    {"write_file", vt_py_write_file, METH_VARARGS,
     "write_file($module, program, params, notes, /)\n--\n\n"
     "A program, its parameters and notes (key, value, key, ...) as bytes."},
    {"read_file", vt_py_read_file, METH_O,
     "read_file($module, data, /)\n--\n\nWhat write_file was given, the notes as a dict."},
    {"operation_table", operation_table, METH_NOARGS,
     "operation_table($module, /)\n--\n\nThe schema of every operation."},
    {"config", config, METH_NOARGS, "config($module, /)\n--\n\nHow the core was built and runs."},
    {"default_threads", default_threads, METH_NOARGS,
     "default_threads($module, /)\n--\n\nProcessors that this process may use."},
    {"forked", forked, METH_NOARGS,
     "forked($module, /)\n--\n\nTrue in a child forked after the core was loaded."},
    {"peak_products", peak_products, METH_VARARGS,
     "peak_products($module, precision, threads, seconds, /)\n--\n\n"
     "Operations per second of products in the caches, measured now."},
    {"peak_memory", peak_memory, METH_VARARGS,
     "peak_memory($module, threads, seconds, /)\n--\n\n"
     "Bytes per second that are read from memory, measured now."},
    {"memory", memory, METH_NOARGS, "memory($module, /)\n--\n\nCounters of the core's allocator."},
    {"fail_allocation", fail_allocation, METH_O,
     "fail_allocation($module, n, /)\n--\n\nTests: let the n-th allocation from now fail, once."},
    {NULL, NULL, 0, NULL},
};
