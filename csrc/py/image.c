/* Images: one function for all operations of image/, displacing, and the writing of planes. */
#include <math.h>

#include "py/array.h"
#include "py/state.h"

/* ---------------------------------------------------------------- operations */

/* The arguments behind the image as finite numbers; -1 with an exception. */
static int parse_numbers(PyObject *const *args, Py_ssize_t count, double *value, const char *name) {
    if (count > VT_IMAGE_NUMBERS) {
        PyErr_Format(PyExc_ValueError, "%s got %zd numbers, expected %d at most", name, count,
                     VT_IMAGE_NUMBERS);
        return -1;
    }
    for (Py_ssize_t i = 0; i < count; i++) {
        value[i] = PyFloat_AsDouble(args[i]);
        if (value[i] == -1.0 && PyErr_Occurred()) return -1;
        if (value[i] - value[i] == 0) continue;
        const char *infinite = value[i] > 0 ? "inf" : "-inf";
        PyErr_Format(PyExc_ValueError, "%s: argument %zd is %s, expected a finite number", name,
                     i + 1, isnan(value[i]) ? "nan" : infinite);
        return -1;
    }
    return 0;
}

static PyObject *run_operation(PyObject *module, const vt_image_op *op, vt_pixels *in,
                               vt_numbers numbers) {
    vt_module_state *state = PyModule_GetState(module);
    vt_error error;
    vt_image form = in->image;
    vt_status status = vt_image_check(&in->image, "the image", &error);
    if (status == VT_OK) status = vt_image_check_numbers(op, &in->image, numbers, &error);
    if (status == VT_OK && op->form != NULL) status = op->form(&form, &in->image, numbers, &error);
    if (status != VT_OK) return vt_raise(state, status, &error);
    vt_pixels out;
    if (vt_pixels_new(&out, &form, in->is_matrix) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS
    status = op->run(&out.image, &in->image, numbers, &error);
    Py_END_ALLOW_THREADS
    if (status == VT_OK) return out.array;
    Py_DECREF(out.array);
    return vt_raise(state, status, &error);
}

PyObject *vt_py_image(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count < 2 || !PyUnicode_Check(args[0])) {
        return PyErr_Format(PyExc_TypeError, "image() takes a name, an image and numbers");
    }
    const char *name = PyUnicode_AsUTF8(args[0]);
    if (name == NULL) return NULL;
    const vt_image_op *op = vt_image_find(name);
    if (op == NULL) {
        return PyErr_Format(PyExc_ValueError, "there is no operation on images named '%.100s'",
                            name);
    }
    double value[VT_IMAGE_NUMBERS];
    if (parse_numbers(args + 2, count - 2, value, name) < 0) return NULL;
    vt_pixels in;
    if (vt_pixels_expect(&in, args[1], "the image") < 0) return NULL;
    PyObject *out = run_operation(module, op, &in, (vt_numbers){value, (int)(count - 2)});
    Py_DECREF(in.array);
    return out;
}

PyObject *vt_py_look_up(PyObject *module, PyObject *args) {
    (void)module;
    PyObject *image, *object;
    vt_pixels in, out;
    if (!PyArg_ParseTuple(args, "OO:look_up", &image, &object)) return NULL;
    if (vt_pixels_expect(&in, image, "the image") < 0) return NULL;
    const bool bytes = in.image.sample == VT_SAMPLE_U8;
    const vt_array_spec spec = {"the table", bytes ? 'B' : 'H', 1, {bytes ? 256 : 65536}};
    PyObject *table = NULL;
    if (in.image.sample == VT_SAMPLE_F32) {
        PyErr_SetString(PyExc_TypeError, "the image has dtype float32, expected uint8 or uint16");
    } else {
        table = vt_array_expect(object, &spec);
    }
    if (table != NULL && vt_pixels_new(&out, &in.image, in.is_matrix) == 0) {
        Py_BEGIN_ALLOW_THREADS
        vt_image_look_up(&out.image, &in.image, vt_array_data(table));
        Py_END_ALLOW_THREADS
    } else {
        out.array = NULL;
    }
    Py_DECREF(in.array);
    Py_XDECREF(table);
    return out.array;
}

/* ---------------------------------------------------------------- displacing */

static PyObject *run_displace(PyObject *module, vt_pixels *in, PyObject *field, bool bilinear,
                              const double *fill) {
    vt_error error;
    vt_pixels out;
    if (vt_pixels_new(&out, &in->image, in->is_matrix) < 0) return NULL;
    vt_status status;
    Py_BEGIN_ALLOW_THREADS
    status =
        vt_image_displace(&out.image, &in->image, vt_array_data(field), bilinear, fill, &error);
    Py_END_ALLOW_THREADS
    if (status == VT_OK) return out.array;
    Py_DECREF(out.array);
    return vt_raise(PyModule_GetState(module), status, &error);
}

/* The fill and the displacement, for an image that is one. */
static PyObject *displace_image(PyObject *module, vt_pixels *in, PyObject *displacement,
                                bool bilinear, PyObject *const *fill, Py_ssize_t count) {
    vt_error error;
    const vt_image *image = &in->image;
    const vt_status status = vt_image_check(image, "the image", &error);
    if (status != VT_OK) return vt_raise(PyModule_GetState(module), status, &error);
    double value[VT_IMAGE_NUMBERS];
    if (count != image->channels) {
        return PyErr_Format(PyExc_TypeError, "displace takes %lld numbers as fill, got %zd",
                            (long long)image->channels, count);
    }
    if (parse_numbers(fill, count, value, "displace") < 0) return NULL;
    const vt_array_spec spec = {"displacement", 'f', 3, {2, image->height, image->width}};
    PyObject *field = vt_array_expect(displacement, &spec);
    if (field == NULL) return NULL;
    PyObject *out = run_displace(module, in, field, bilinear, value);
    Py_DECREF(field);
    return out;
}

PyObject *vt_py_displace(PyObject *module, PyObject *const *args, Py_ssize_t count) {
    if (count < 3) {
        return PyErr_Format(PyExc_TypeError,
                            "displace() takes an image, a displacement, a bool and numbers");
    }
    const int bilinear = PyObject_IsTrue(args[2]);
    vt_pixels in;
    if (bilinear < 0 || vt_pixels_expect(&in, args[0], "the image") < 0) return NULL;
    PyObject *out = displace_image(module, &in, args[1], bilinear, args + 3, count - 3);
    Py_DECREF(in.array);
    return out;
}

/* ---------------------------------------------------------------- writing */

typedef struct write_call {
    vt_pixels one, other;
    PyObject *mean, *std, *out;
    bool flip, channels_first, bf16;
    vt_write_mix mix;
} write_call;

/* The pixels of an array (H, W, C), or (C, H, W). */
static int expect_picture(vt_pixels *pixels, PyObject *object, bool channels_first,
                          const char *name) {
    if (vt_pixels_expect(pixels, object, name) < 0) return -1;
    if (!channels_first) return 0;
    const vt_image given = pixels->image;
    if (pixels->is_matrix) {
        Py_CLEAR(pixels->array);
        PyErr_Format(PyExc_ValueError, "%s has two dimensions, expected (C, H, W)", name);
        return -1;
    }
    pixels->image.channels = given.height;
    pixels->image.height = given.width;
    pixels->image.width = given.channels;
    return 0;
}

/* A vector of one number per channel. */
static PyObject *per_channel(PyObject *object, const char *name, int64_t channels) {
    const vt_array_spec spec = {name, 'f', 1, {channels}};
    return vt_array_expect(object, &spec);
}

/* The result: `out` itself, or a new array. */
static PyObject *target(PyObject *out, const vt_image *image, bool bf16) {
    const vt_array_spec spec = {
        "out", bf16 ? 'H' : 'f', 3, {image->channels, image->height, image->width}};
    return out == Py_None ? vt_array_new(spec.type, 3, spec.dim) : vt_array_expect_out(out, &spec);
}

static PyObject *run_write(PyObject *module, write_call *call) {
    vt_error error;
    vt_status status = vt_image_check(&call->one.image, "the image", &error);
    if (status == VT_OK) {
        const vt_write_source one = {&call->one.image, call->flip, call->channels_first};
        Py_BEGIN_ALLOW_THREADS
        status =
            vt_image_write(vt_array_data(call->out), call->bf16, one, vt_array_data(call->mean),
                           vt_array_data(call->std), &call->mix, &error);
        Py_END_ALLOW_THREADS
    }
    if (status != VT_OK) return vt_raise(PyModule_GetState(module), status, &error);
    return Py_NewRef(call->out);
}

static PyObject *write_images(PyObject *module, PyObject *image, PyObject *other, PyObject *mean,
                              PyObject *std, PyObject *out, write_call *call) {
    PyObject *result = NULL;
    const bool first = call->channels_first;
    if (expect_picture(&call->one, image, first, "the image") < 0) return NULL;
    if (other == Py_None || expect_picture(&call->other, other, first, "the other image") == 0) {
        call->mix.other.image = other == Py_None ? NULL : &call->other.image;
        call->mean = per_channel(mean, "mean", call->one.image.channels);
        call->std = call->mean == NULL ? NULL : per_channel(std, "std", call->one.image.channels);
        call->out = call->std == NULL ? NULL : target(out, &call->one.image, call->bf16);
        if (call->out != NULL) result = run_write(module, call);
    }
    Py_XDECREF(call->one.array);
    Py_XDECREF(call->other.array);
    Py_XDECREF(call->mean);
    Py_XDECREF(call->std);
    Py_XDECREF(call->out);
    return result;
}

PyObject *vt_py_write_image(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"image", "mean",       "std", "flip", "bf16",           "out",
                               "other", "other_flip", "lam", "box",  "channels_first", NULL};
    PyObject *image, *mean, *std, *out = Py_None, *other = Py_None;
    int flip = 0, bf16 = 0, other_flip = 0, channels_first = 0;
    long long box[4] = {0, 0, 0, 0};
    double lam = 1;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOO|$ppOOpd(LLLL)p:write_image", keywords,
                                     &image, &mean, &std, &flip, &bf16, &out, &other, &other_flip,
                                     &lam, &box[0], &box[1], &box[2], &box[3], &channels_first)) {
        return NULL;
    }
    write_call call = {.flip = flip, .channels_first = channels_first, .bf16 = bf16};
    call.mix =
        (vt_write_mix){{NULL, other_flip, channels_first}, lam, {box[0], box[1], box[2], box[3]}};
    return write_images(module, image, other, mean, std, out, &call);
}
