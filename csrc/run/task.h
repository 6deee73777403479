/* One step of a plan on one tile: where its pointers go, and the call. Internal to run/. */
#ifndef VT_RUN_TASK_H
#define VT_RUN_TASK_H

#include "run/run.h"

/* A tile at work. */
typedef struct vt_task {
    const vt_run *run;
    vt_tile common; /* what all tiles share */
    int64_t image, row, rows, part;
    int64_t first_row; /* of the strip; `row` is a later one if a step takes the strip in pieces */
    int64_t col, cols; /* of a stretch by columns; cols 0: all of them */
    int64_t then;      /* and where the same thread goes on */
    char *strip, *own; /* memory of the strip, and of the thread */
    int64_t unit;      /* rows of a unit of the lane */
    int thread;
    bool strips;
} vt_task;

/* All fields but those of rows and columns. */
vt_task vt_task_start(const vt_run *run, int64_t strip, int thread);

/* One step of it, forward with its preparation. */
vt_status vt_task_step(const vt_task *task, const vt_step *step, vt_error *error);

/* The parts of a forward step: its operand, from rows of its input; and its output, from that. */
vt_status vt_task_prepare(const vt_task *task, const vt_step *step, vt_error *error);
vt_status vt_task_forward(const vt_task *task, const vt_step *step, vt_error *error);

/* An image's place in the arena, and bytes from one image to the next. */
char *vt_run_arena(const vt_run *run, int buffer);
size_t vt_run_stride(const vt_run *run, int buffer);

#endif
