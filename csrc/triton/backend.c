/* A backend of Triton's server that runs files of vitc.export.program: libtriton_vitc.so.
 *
 * A model is the file <repository>/<version>/model.vitc. All instances share its weights and the
 * plan, also what that has packed; each has a run of its own, as large as the largest batch that it
 * was given. Calls on one instance never overlap, those on different ones do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "triton/interface.h"
#include "vitc.h"

#define VT_EXPORTED __attribute__((visibility("default")))
#define TRITON_TRY(call) \
    do { \
        TRITONSERVER_Error *failed = (call); \
        if (failed != NULL) return failed; \
    } while (0)

typedef struct model {
    vt_program *program;
    vt_params *params;
    vt_notes *notes;
    vt_plan *plan;
    int threads;   /* of each instance; 0: they share the processors */
    int instances; /* that there are; read and written atomically */
} model;

typedef struct instance {
    model *model;
    vt_run *run;
    float *images, *answers; /* of a batch, with room for the capacity of the run */
} instance;

static TRITONSERVER_Error *told(vt_status status, const vt_error *error) {
    if (status == VT_OK) return NULL;
    const int kind = status == VT_VALUE ? TRITON_INVALID_ARG : TRITON_INTERNAL;
    return TRITONSERVER_ErrorNew(kind, error->message);
}

/* ---------------------------------------------------------------- the model */

static void close_model(model *m) {
    vt_plan_close(m->plan);
    vt_notes_close(m->notes);
    vt_params_close(m->params);
    vt_program_close(m->program);
    vt_free(m);
}

static vt_status read_file(void **memory, size_t *bytes, const char *path, vt_error *error) {
    *memory = NULL;
    *bytes = 0;
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) return vt_fail(error, VT_OS, "%s cannot be opened", path);
    vt_status status = VT_OK;
    long size = fseek(stream, 0, SEEK_END) == 0 ? ftell(stream) : -1;
    if (size < 0 || fseek(stream, 0, SEEK_SET) != 0) {
        status = vt_fail(error, VT_OS, "%s cannot be read", path);
    }
    if (status == VT_OK) status = vt_alloc(memory, (size_t)size, error);
    if (status == VT_OK && fread(*memory, 1, (size_t)size, stream) != (size_t)size) {
        vt_free(*memory);
        status = vt_fail(error, VT_OS, "%s cannot be read", path);
    }
    fclose(stream);
    *bytes = (size_t)size;
    return status;
}

static const char *note(const model *m, const char *key) {
    for (int i = 0; i < vt_notes_count(m->notes); i++) {
        if (strcmp(vt_notes_key(m->notes, i), key) == 0) return vt_notes_value(m->notes, i);
    }
    return "";
}

static vt_status open_file(model *m, const char *path, vt_error *error) {
    void *memory;
    size_t bytes;
    VT_TRY(read_file(&memory, &bytes, path, error));
    vt_status status = vt_file_open(&m->program, &m->params, &m->notes, memory, bytes, error);
    vt_free(memory);
    if (status != VT_OK) {
        const vt_error reason = *error;
        return vt_fail(error, status, "%.256s: %.200s", path, reason.message);
    }
    const bool bf16 = strcmp(note(m, "precision"), "bf16") == 0 && vt_matmul_has_bf16();
    const vt_plan_options options = {.fuse = true, .bf16 = bf16};
    VT_TRY(vt_plan_open(&m->plan, m->program, m->params, options, error));
    if (vt_plan_inputs(m->plan) != 1 || vt_plan_outputs(m->plan) != 1 ||
        vt_plan_dtype(m->plan) != VT_F32) {
        return vt_fail(error, VT_VALUE, "%s is not a model of one input and output of float32",
                       path);
    }
    return VT_OK;
}

/* The parameter `threads` of the configuration, 0 where it is not there. Triton writes it as
 * "threads":{"string_value":"4"}, and no text inside of JSON has quotes without a backslash. */
static TRITONSERVER_Error *configured_threads(TRITONBACKEND_Model *handle, int *threads) {
    static const char key[] = "\"threads\":{\"string_value\":\"";
    TRITONSERVER_Message *config;
    const char *text;
    size_t bytes;
    *threads = 0;
    TRITON_TRY(TRITONBACKEND_ModelConfig(handle, 1, &config));
    TRITONSERVER_Error *failed = TRITONSERVER_MessageSerializeToJson(config, &text, &bytes);
    for (size_t i = 0; failed == NULL && i + sizeof key <= bytes; i++) {
        if (memcmp(text + i, key, sizeof key - 1) != 0) continue;
        for (i += sizeof key - 1; i < bytes && text[i] >= '0' && text[i] <= '9'; i++) {
            if (*threads < 1000) *threads = *threads * 10 + (text[i] - '0');
        }
        break;
    }
    TRITONSERVER_Error *other = TRITONSERVER_MessageDelete(config);
    if (other != NULL) TRITONSERVER_ErrorDelete(other);
    return failed;
}

VT_EXPORTED TRITONSERVER_Error *TRITONBACKEND_Initialize(TRITONBACKEND_Backend *backend);
VT_EXPORTED TRITONSERVER_Error *TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model *handle);
VT_EXPORTED TRITONSERVER_Error *TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model *handle);
VT_EXPORTED TRITONSERVER_Error *TRITONBACKEND_ModelInstanceInitialize(
    TRITONBACKEND_ModelInstance *handle);
VT_EXPORTED TRITONSERVER_Error *TRITONBACKEND_ModelInstanceFinalize(
    TRITONBACKEND_ModelInstance *handle);
VT_EXPORTED TRITONSERVER_Error *TRITONBACKEND_ModelInstanceExecute(
    TRITONBACKEND_ModelInstance *handle, TRITONBACKEND_Request **requests, uint32_t count);

TRITONSERVER_Error *TRITONBACKEND_Initialize(TRITONBACKEND_Backend *backend) {
    (void)backend;
    uint32_t major, minor;
    vt_error error;
    TRITON_TRY(TRITONBACKEND_ApiVersion(&major, &minor));
    if (major != TRITON_API_MAJOR || minor < TRITON_API_MINOR) {
        return TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED,
                                     "vitc needs a server whose backends have version 1.10 or a "
                                     "later 1.x");
    }
    return told(vt_isa_select(getenv("VITC_ISA"), &error), &error);
}

TRITONSERVER_Error *TRITONBACKEND_ModelInitialize(TRITONBACKEND_Model *handle) {
    int kind;
    const char *place;
    uint64_t version;
    char path[4096];
    vt_error error;
    model *m;
    TRITON_TRY(TRITONBACKEND_ModelRepository(handle, &kind, &place));
    TRITON_TRY(TRITONBACKEND_ModelVersion(handle, &version));
    const int length =
        snprintf(path, sizeof path, "%s/%llu/model.vitc", place, (unsigned long long)version);
    if (kind != TRITON_FILESYSTEM || length < 0 || (size_t)length >= sizeof path) {
        return TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "the model is in no folder of vitc");
    }
    vt_status status = VT_NEW(&m, 1, &error);
    if (status != VT_OK) return told(status, &error);
    status = open_file(m, path, &error);
    TRITONSERVER_Error *failed = told(status, &error);
    if (failed == NULL) failed = configured_threads(handle, &m->threads);
    if (failed == NULL) failed = TRITONBACKEND_ModelSetState(handle, m);
    if (failed != NULL) close_model(m);
    return failed;
}

TRITONSERVER_Error *TRITONBACKEND_ModelFinalize(TRITONBACKEND_Model *handle) {
    void *state;
    TRITON_TRY(TRITONBACKEND_ModelState(handle, &state));
    if (state != NULL) close_model(state);
    return NULL;
}

/* ---------------------------------------------------------------- instances */

TRITONSERVER_Error *TRITONBACKEND_ModelInstanceInitialize(TRITONBACKEND_ModelInstance *handle) {
    TRITONBACKEND_Model *owner;
    void *state;
    vt_error error;
    instance *own;
    TRITON_TRY(TRITONBACKEND_ModelInstanceModel(handle, &owner));
    TRITON_TRY(TRITONBACKEND_ModelState(owner, &state));
    const vt_status status = VT_NEW(&own, 1, &error);
    if (status != VT_OK) return told(status, &error);
    own->model = state;
    TRITONSERVER_Error *failed = TRITONBACKEND_ModelInstanceSetState(handle, own);
    if (failed != NULL) {
        vt_free(own);
        return failed;
    }
    __atomic_add_fetch(&own->model->instances, 1, __ATOMIC_RELAXED);
    return NULL;
}

static void close_run(instance *own) {
    vt_run_close(own->run);
    vt_free(own->images);
    vt_free(own->answers);
    own->run = NULL;
    own->images = own->answers = NULL;
}

TRITONSERVER_Error *TRITONBACKEND_ModelInstanceFinalize(TRITONBACKEND_ModelInstance *handle) {
    void *state;
    TRITON_TRY(TRITONBACKEND_ModelInstanceState(handle, &state));
    instance *own = state;
    if (own == NULL) return NULL;
    __atomic_sub_fetch(&own->model->instances, 1, __ATOMIC_RELAXED);
    close_run(own);
    vt_free(own);
    return NULL;
}

static size_t image_elements(const model *m) {
    return (size_t)vt_shape_elements(vt_plan_input_shape(m->plan, 0));
}

static size_t answer_elements(const model *m) {
    return (size_t)vt_shape_elements(vt_plan_output_shape(m->plan, 0));
}

/* A run with room for the images, on this instance's share of the processors. */
static vt_status make_room(instance *own, int64_t images, vt_error *error) {
    const model *m = own->model;
    const int instances = __atomic_load_n(&m->instances, __ATOMIC_RELAXED);
    const int share = vt_default_threads() / (instances > 0 ? instances : 1);
    const int threads = m->threads > 0 ? m->threads : share > 0 ? share : 1;
    if (own->run != NULL && vt_run_capacity(own->run) >= images &&
        vt_run_threads(own->run) == threads) {
        return VT_OK;
    }
    close_run(own);
    VT_TRY(vt_run_open(&own->run, m->plan, m->params, images, threads, error));
    vt_status status = VT_NEW(&own->images, (size_t)images * image_elements(m), error);
    if (status == VT_OK) {
        status = VT_NEW(&own->answers, (size_t)images * answer_elements(m), error);
    }
    if (status != VT_OK) close_run(own);
    return status;
}

/* ---------------------------------------------------------------- requests */

/* What is done with one request. images: 0 where it is refused, for the reason in `failed`. */
typedef struct task {
    TRITONBACKEND_Request *request;
    TRITONBACKEND_Input *input;
    TRITONSERVER_Error *failed;
    int64_t images;
} task;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t)time.tv_sec * 1000000000u + (uint64_t)time.tv_nsec;
}

/* How many images a request holds. */
static TRITONSERVER_Error *look(task *t, const model *m) {
    const char *name;
    const int64_t *shape;
    uint32_t dims, buffers;
    uint64_t bytes;
    int datatype;
    TRITON_TRY(TRITONBACKEND_RequestInputByIndex(t->request, 0, &t->input));
    TRITON_TRY(
        TRITONBACKEND_InputProperties(t->input, &name, &datatype, &shape, &dims, &bytes, &buffers));
    const uint64_t image = image_elements(m) * sizeof(float);
    if (datatype != TRITON_FP32 || dims < 1 || bytes == 0 || bytes % image != 0 || shape[0] < 1 ||
        (uint64_t)shape[0] != bytes / image) {
        return TRITONSERVER_ErrorNew(
            TRITON_INVALID_ARG,
            "the input does not hold images of the model in FP32: config.pbtxt describes another");
    }
    t->images = shape[0];
    return NULL;
}

/* Its images, in one piece. */
static TRITONSERVER_Error *gather(const task *t, char *target, uint64_t bytes) {
    uint64_t done = 0;
    for (uint32_t i = 0; done < bytes; i++) {
        const void *buffer;
        uint64_t part;
        int memory = TRITON_CPU;
        int64_t memory_id = 0;
        TRITON_TRY(TRITONBACKEND_InputBuffer(t->input, i, &buffer, &part, &memory, &memory_id));
        if (memory == TRITON_GPU || part > bytes - done) {
            return TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "the images are not in main memory");
        }
        memcpy(target + done, buffer, part);
        done += part;
    }
    return NULL;
}

static TRITONSERVER_Error *fill(TRITONBACKEND_Response *response, const task *t, const model *m,
                                const float *answers) {
    uint32_t wanted;
    TRITON_TRY(TRITONBACKEND_RequestOutputCount(t->request, &wanted));
    if (wanted == 0) return NULL;
    const int64_t shape[2] = {t->images, (int64_t)answer_elements(m)};
    const uint64_t bytes = (uint64_t)(shape[0] * shape[1]) * sizeof(float);
    TRITONBACKEND_Output *output;
    void *buffer;
    int memory = TRITON_CPU;
    int64_t memory_id = 0;
    TRITON_TRY(TRITONBACKEND_ResponseOutput(response, &output, "output", TRITON_FP32, shape, 2));
    TRITON_TRY(TRITONBACKEND_OutputBuffer(output, &buffer, bytes, &memory, &memory_id));
    if (memory == TRITON_GPU) {
        return TRITONSERVER_ErrorNew(TRITON_UNSUPPORTED, "the answer is wanted in a GPU's memory");
    }
    memcpy(buffer, answers, bytes);
    return NULL;
}

/* What the server says of its own calls is only ever given up here. */
static void forget(TRITONSERVER_Error *error) {
    if (error != NULL) TRITONSERVER_ErrorDelete(error);
}

/* Answers a request, whatever became of it; true if it went well. */
static bool respond(task *t, const model *m, const float *answers) {
    TRITONBACKEND_Response *response = NULL;
    TRITONSERVER_Error *unmade = TRITONBACKEND_ResponseNew(&response, t->request);
    if (unmade != NULL) {
        forget(unmade);
        forget(t->failed);
        return false;
    }
    if (t->failed == NULL) t->failed = fill(response, t, m, answers);
    const bool well = t->failed == NULL;
    forget(TRITONBACKEND_ResponseSend(response, TRITON_FINAL, t->failed));
    forget(t->failed);
    return well;
}

/* One forward pass of all images that were taken. */
static vt_status compute(instance *own, int64_t images, vt_error *error) {
    const void *input = own->images;
    VT_TRY(vt_run_forward(own->run, images, &input, (vt_rng_key){0, 0, 0}, 0, error));
    vt_run_output(own->run, 0, own->answers);
    return VT_OK;
}

/* Collects the images of all requests; how many there are. */
static int64_t collect(instance *own, task *tasks, uint32_t count) {
    const model *m = own->model;
    const size_t image = image_elements(m) * sizeof(float);
    vt_error error;
    int64_t images = 0, taken = 0;
    for (uint32_t i = 0; i < count; i++) {
        tasks[i].failed = look(&tasks[i], m);
        if (tasks[i].failed != NULL) tasks[i].images = 0;
        images += tasks[i].images;
    }
    const vt_status status = images > 0 ? make_room(own, images, &error) : VT_OK;
    for (uint32_t i = 0; i < count; i++) {
        if (tasks[i].failed != NULL) continue;
        const uint64_t bytes = (uint64_t)tasks[i].images * image;
        char *target = (char *)own->images + (size_t)taken * image;
        tasks[i].failed = status == VT_OK ? gather(&tasks[i], target, bytes) : told(status, &error);
        if (tasks[i].failed != NULL) tasks[i].images = 0;
        taken += tasks[i].images;
    }
    return taken;
}

TRITONSERVER_Error *TRITONBACKEND_ModelInstanceExecute(TRITONBACKEND_ModelInstance *handle,
                                                       TRITONBACKEND_Request **requests,
                                                       uint32_t count) {
    const uint64_t start = now();
    void *state;
    vt_error error;
    task *tasks;
    TRITON_TRY(TRITONBACKEND_ModelInstanceState(handle, &state));
    instance *own = state;
    vt_status status = VT_NEW(&tasks, count, &error); /* until here all requests are the server's */
    if (status != VT_OK) return told(status, &error);
    for (uint32_t i = 0; i < count; i++) tasks[i].request = requests[i];
    const int64_t images = collect(own, tasks, count);
    const uint64_t compute_start = now();
    if (images > 0) status = compute(own, images, &error);
    const uint64_t compute_end = now();
    int64_t done = 0;
    for (uint32_t i = 0; i < count; i++) {
        task *t = &tasks[i];
        const float *answers =
            own->answers == NULL ? NULL : own->answers + (size_t)done * answer_elements(own->model);
        if (t->failed == NULL) t->failed = told(status, &error);
        done += t->images;
        const bool well = respond(t, own->model, answers);
        forget(TRITONBACKEND_ModelInstanceReportStatistics(handle, t->request, well, start,
                                                           compute_start, compute_end, now()));
    }
    if (images > 0) {
        forget(TRITONBACKEND_ModelInstanceReportBatchStatistics(handle, (uint64_t)images, start,
                                                                compute_start, compute_end, now()));
    }
    for (uint32_t i = 0; i < count; i++) {
        forget(TRITONBACKEND_RequestRelease(requests[i], TRITON_RELEASE_ALL));
    }
    vt_free(tasks);
    return NULL;
}
