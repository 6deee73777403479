/* Arrays of pixels overwritten and mixed. */
#include "py/array.h"
#include "py/state.h"

/* ---------------------------------------------------------------- erasing */

/* The pixels of an array that can be written in place: (C, H, W), or (H, W, C). */
static int planes_of(vt_planes *planes, PyObject *array, bool channels_last) {
    vt_pixels pixels;
    if (vt_pixels_expect_out(&pixels, array, "the array") < 0) return -1;
    const vt_image *image = &pixels.image;
    const int64_t a = image->height, b = image->width, c = image->channels;
    *planes = channels_last ? (vt_planes){image->data, c, a, b, 1, b * c, c, image->sample}
                            : (vt_planes){image->data, a, b, c, b * c, c, 1, image->sample};
    return 0;
}

typedef struct erase_call {
    vt_planes planes;
    PyObject *boxes, *mean, *sigma;
    vt_filling filling;
} erase_call;

static PyObject *run_erase(PyObject *module, erase_call *call) {
    vt_error error;
    vt_status status;
    call->filling.mean = vt_array_data(call->mean);
    call->filling.sigma = vt_array_data(call->sigma);
    Py_BEGIN_ALLOW_THREADS
    status = vt_erase(&call->planes, vt_array_data(call->boxes), vt_array_dim(call->boxes, 0),
                      &call->filling, &error);
    Py_END_ALLOW_THREADS
    if (status != VT_OK) return vt_raise(PyModule_GetState(module), status, &error);
    Py_RETURN_NONE;
}

PyObject *vt_py_erase(PyObject *module, PyObject *args, PyObject *kwargs) {
    static char *keywords[] = {"array", "boxes",    "mean",          "sigma",
                               "key",   "by_value", "channels_last", NULL};
    PyObject *array, *boxes, *mean, *sigma, *result = NULL;
    int by_value = 1, channels_last = 0;
    double key[2] = {0, 0};
    vt_error error;
    if (!PyArg_ParseTupleAndKeywords(args, kwargs, "OOOO|$(dd)pp:erase", keywords, &array, &boxes,
                                     &mean, &sigma, &key[0], &key[1], &by_value, &channels_last)) {
        return NULL;
    }
    erase_call call = {.filling = {.by_value = by_value}};
    const vt_status status = vt_image_key(call.filling.key, key, &error);
    if (status != VT_OK) return vt_raise(PyModule_GetState(module), status, &error);
    if (planes_of(&call.planes, array, channels_last) < 0) return NULL;
    const vt_array_spec rows = {"boxes", 'l', 2, {-1, 4}};
    const vt_array_spec means = {"mean", 'f', 1, {call.planes.channels}};
    const vt_array_spec sigmas = {"sigma", 'f', 1, {call.planes.channels}};
    call.boxes = vt_array_expect(boxes, &rows);
    call.mean = call.boxes == NULL ? NULL : vt_array_expect(mean, &means);
    call.sigma = call.mean == NULL ? NULL : vt_array_expect(sigma, &sigmas);
    if (call.sigma != NULL) result = run_erase(module, &call);
    Py_XDECREF(call.boxes);
    Py_XDECREF(call.mean);
    Py_XDECREF(call.sigma);
    return result;
}

/* ---------------------------------------------------------------- images */

enum { MOST_IMAGES = 64 };

typedef struct image_list {
    vt_pixels pixels[MOST_IMAGES];
    vt_image image[MOST_IMAGES];
    int count;
} image_list;

static void release(image_list *list) {
    for (int i = 0; i < list->count; i++) Py_DECREF(list->pixels[i].array);
}

static int append(image_list *list, PyObject *object) {
    vt_pixels *pixels = &list->pixels[list->count];
    if (vt_pixels_expect(pixels, object, "an image") < 0) return -1;
    list->image[list->count++] = pixels->image;
    return 0;
}

/* A result of the form of the first image, from `run`. */
static PyObject *combine(PyObject *module, image_list *list, const float *weight,
                         vt_status (*run)(const vt_image *out, const vt_image *in, int count,
                                          const float *weight, vt_error *error)) {
    vt_error error;
    vt_pixels out;
    vt_status status = vt_image_check(list->image, "the image", &error);
    if (status != VT_OK) return vt_raise(PyModule_GetState(module), status, &error);
    if (vt_pixels_new(&out, list->image, list->pixels[0].is_matrix) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS
    status = run(&out.image, list->image, list->count, weight, &error);
    Py_END_ALLOW_THREADS
    if (status == VT_OK) return out.array;
    Py_DECREF(out.array);
    return vt_raise(PyModule_GetState(module), status, &error);
}

static PyObject *mix_list(PyObject *module, PyObject *images, PyObject *weights) {
    image_list list = {.count = 0};
    PyObject *out = NULL;
    const Py_ssize_t count = PyTuple_GET_SIZE(images);
    if (count < 1 || count > MOST_IMAGES) {
        return PyErr_Format(PyExc_ValueError, "%zd images to be mixed, expected 1 to %d", count,
                            MOST_IMAGES);
    }
    const vt_array_spec spec = {"weights", 'f', 1, {count}};
    PyObject *weight = vt_array_expect(weights, &spec);
    if (weight == NULL) return NULL;
    for (Py_ssize_t i = 0; i < count; i++) {
        if (append(&list, PyTuple_GET_ITEM(images, i)) < 0) break;
    }
    if (list.count == count) out = combine(module, &list, vt_array_data(weight), vt_image_mix);
    release(&list);
    Py_DECREF(weight);
    return out;
}

PyObject *vt_py_mix_images(PyObject *module, PyObject *args) {
    PyObject *images, *weights;
    if (!PyArg_ParseTuple(args, "OO:mix_images", &images, &weights)) return NULL;
    PyObject *tuple = PySequence_Tuple(images); /* a list might change meanwhile */
    if (tuple == NULL) return NULL;
    PyObject *out = mix_list(module, tuple, weights);
    Py_DECREF(tuple);
    return out;
}

static vt_status blend_two(const vt_image *out, const vt_image *in, int count, const float *ratio,
                           vt_error *error) {
    (void)count;
    return vt_image_blend(out, &in[0], &in[1], *ratio, error);
}

PyObject *vt_py_blend(PyObject *module, PyObject *args) {
    PyObject *one, *other, *out = NULL;
    float ratio;
    image_list list = {.count = 0};
    if (!PyArg_ParseTuple(args, "OOf:blend", &one, &other, &ratio)) return NULL;
    if (append(&list, one) == 0 && append(&list, other) == 0) {
        out = combine(module, &list, &ratio, blend_two);
    }
    release(&list);
    return out;
}

static PyObject *run_shade(PyObject *module, const vt_pixels *in, PyObject *field) {
    vt_error error;
    vt_pixels out;
    vt_status status = vt_image_check(&in->image, "the image", &error);
    if (status != VT_OK) return vt_raise(PyModule_GetState(module), status, &error);
    if (vt_pixels_new(&out, &in->image, in->is_matrix) < 0) return NULL;
    Py_BEGIN_ALLOW_THREADS
    status = vt_image_shade(&out.image, &in->image, vt_array_data(field), &error);
    Py_END_ALLOW_THREADS
    if (status == VT_OK) return out.array;
    Py_DECREF(out.array);
    return vt_raise(PyModule_GetState(module), status, &error);
}

PyObject *vt_py_shade(PyObject *module, PyObject *args) {
    PyObject *image, *object, *result = NULL;
    vt_pixels in;
    if (!PyArg_ParseTuple(args, "OO:shade", &image, &object)) return NULL;
    if (vt_pixels_expect(&in, image, "the image") < 0) return NULL;
    const vt_array_spec spec = {"field", 'f', 2, {in.image.height, in.image.width}};
    PyObject *field = vt_array_expect(object, &spec);
    if (field != NULL) result = run_shade(module, &in, field);
    Py_DECREF(in.array);
    Py_XDECREF(field);
    return result;
}

/* ---------------------------------------------------------------- batches */

static vt_batch batch_of(PyObject *array, vt_sample sample) {
    return (vt_batch){vt_array_data(array),   vt_array_dim(array, 0), vt_array_dim(array, 1),
                      vt_array_dim(array, 2), vt_array_dim(array, 3), sample};
}

static PyObject *run_mix_batch(PyObject *module, PyObject *array, const vt_batch *in,
                               const vt_partners *partners) {
    vt_error error;
    vt_status status;
    PyObject *result = vt_array_like(array);
    if (result == NULL) return NULL;
    vt_batch out = *in;
    out.data = vt_array_data(result);
    Py_BEGIN_ALLOW_THREADS
    status = vt_batch_mix(&out, in, partners, &error);
    Py_END_ALLOW_THREADS
    if (status == VT_OK) return result;
    Py_DECREF(result);
    return vt_raise(PyModule_GetState(module), status, &error);
}

PyObject *vt_py_mix_batch(PyObject *module, PyObject *args) {
    PyObject *batch, *partners, *lam, *boxes, *result = NULL;
    vt_sample sample;
    if (!PyArg_ParseTuple(args, "OOOO:mix_batch", &batch, &partners, &lam, &boxes)) return NULL;
    PyObject *array = vt_samples_expect(batch, 4, &sample, "the batch");
    if (array == NULL) return NULL;
    const vt_batch in = batch_of(array, sample);
    const int64_t count = in.images;
    const vt_array_spec index_spec = {"partners", 'l', 1, {count}};
    const vt_array_spec lam_spec = {"lam", 'd', 1, {count}};
    const vt_array_spec box_spec = {"boxes", 'l', 2, {count, 4}};
    partners = vt_array_expect(partners, &index_spec);
    lam = partners == NULL ? NULL : vt_array_expect(lam, &lam_spec);
    boxes = lam == NULL ? NULL : vt_array_expect(boxes, &box_spec);
    if (boxes != NULL) {
        const vt_partners them = {vt_array_data(partners), vt_array_data(lam),
                                  vt_array_data(boxes)};
        result = run_mix_batch(module, array, &in, &them);
    }
    Py_DECREF(array);
    Py_XDECREF(partners);
    Py_XDECREF(lam);
    Py_XDECREF(boxes);
    return result;
}
