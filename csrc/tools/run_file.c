/* Runs a model that vitc.export.program wrote, through vitc.h alone:
 *
 *     run_file FILE [THREADS] < images > outputs
 *
 * Both are numbers of the file's dtype without a header: images x elements of the first input, and
 * images x elements of each output, output after output. VITC_ISA chooses the instruction set. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "vitc.h"

static int fail(const char *what) {
    fprintf(stderr, "run_file: %s\n", what);
    return 1;
}

/* All bytes of a stream, to be freed with free; NULL where that fails. */
static char *read_all(FILE *stream, size_t *bytes) {
    size_t room = 1 << 20;
    char *memory = malloc(room);
    *bytes = 0;
    while (memory != NULL) {
        *bytes += fread(memory + *bytes, 1, room - *bytes, stream);
        if (*bytes < room) break;
        char *larger = realloc(memory, room *= 2);
        if (larger == NULL) free(memory);
        memory = larger;
    }
    if (memory != NULL && !ferror(stream)) return memory;
    free(memory);
    return NULL;
}

typedef struct model {
    vt_program *program;
    vt_params *params;
    vt_notes *notes;
    vt_plan *plan;
    vt_run *run;
} model;

static void close_model(model *m) {
    vt_run_close(m->run);
    vt_plan_close(m->plan);
    vt_notes_close(m->notes);
    vt_params_close(m->params);
    vt_program_close(m->program);
}

static const char *note(const model *m, const char *key) {
    for (int i = 0; i < vt_notes_count(m->notes); i++) {
        if (strcmp(vt_notes_key(m->notes, i), key) == 0) return vt_notes_value(m->notes, i);
    }
    return "";
}

static vt_status open_model(model *m, const char *path, vt_error *error) {
    size_t bytes;
    FILE *stream = fopen(path, "rb");
    if (stream == NULL) return vt_fail(error, VT_OS, "%s cannot be opened", path);
    char *memory = read_all(stream, &bytes);
    fclose(stream);
    if (memory == NULL) return vt_fail(error, VT_OS, "%s cannot be read", path);
    vt_status status = vt_file_open(&m->program, &m->params, &m->notes, memory, bytes, error);
    free(memory);
    if (status != VT_OK) return status;
    const bool bf16 = strcmp(note(m, "precision"), "bf16") == 0 && vt_matmul_has_bf16();
    const vt_plan_options options = {.fuse = true, .bf16 = bf16};
    return vt_plan_open(&m->plan, m->program, m->params, options, error);
}

static vt_status run_images(model *m, const char *images, size_t bytes, int threads,
                            vt_error *error) {
    const size_t element = vt_dtype_size(vt_plan_dtype(m->plan));
    const size_t image = (size_t)vt_shape_elements(vt_plan_input_shape(m->plan, 0)) * element;
    if (vt_plan_inputs(m->plan) != 1 || bytes % image != 0) {
        return vt_fail(error, VT_VALUE, "%zu bytes are not images of %zu bytes for one input",
                       bytes, image);
    }
    const int64_t count = (int64_t)(bytes / image);
    const void *input = images;
    VT_TRY(vt_run_open(&m->run, m->plan, m->params, count, threads, error));
    VT_TRY(vt_run_forward(m->run, count, &input, (vt_rng_key){0, 0, 0}, 0, error));
    for (int i = 0; i < vt_plan_outputs(m->plan); i++) {
        const size_t elements = (size_t)vt_shape_elements(vt_plan_output_shape(m->plan, i));
        char *output = malloc(elements * element * (size_t)count);
        if (output == NULL) return vt_fail(error, VT_MEMORY, "no memory for the outputs");
        vt_run_output(m->run, i, output);
        const size_t written = fwrite(output, elements * element, (size_t)count, stdout);
        free(output);
        if (written != (size_t)count) return vt_fail(error, VT_OS, "the outputs cannot be written");
    }
    return VT_OK;
}

int main(int count, char **arguments) {
    vt_error error;
    if (count < 2 || count > 3) return fail("usage: run_file FILE [THREADS] < images > outputs");
    const int threads = count == 3 ? atoi(arguments[2]) : vt_default_threads();
    model m = {NULL, NULL, NULL, NULL, NULL};
    vt_status status = vt_isa_select(getenv("VITC_ISA"), &error);
    if (status == VT_OK) status = open_model(&m, arguments[1], &error);
    if (status == VT_OK) {
        size_t bytes;
        char *images = read_all(stdin, &bytes);
        status = images == NULL ? vt_fail(&error, VT_OS, "the images cannot be read")
                                : run_images(&m, images, bytes, threads, &error);
        free(images);
    }
    close_model(&m);
    return status == VT_OK ? 0 : fail(error.message);
}
