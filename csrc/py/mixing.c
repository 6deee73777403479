/* Arrays of pixels overwritten and mixed: image/erase.h. */
#include "image/erase.h"
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
