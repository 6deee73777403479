#include "run/phases.h"

#include "base/memory.h"
#include "base/parallel.h"
#include "run/task.h"

typedef struct phase_work {
    vt_run *run;
    const vt_phase *phase;
    vt_failure failure;
} phase_work;

/* Rows of the strips of a lane in this pass: a tile, unless all threads together are done sooner if
 * each task is a single unit, and by more than what a product on a low tile loses, about a
 * twentieth. */
static int64_t strip_rows(const vt_run *run, const vt_lane *lane) {
    const vt_cut *cut = &lane->strips;
    const int64_t units = vt_ceil_div(cut->rows, cut->unit);
    const int64_t rounds = vt_ceil_div(run->images * lane->tiles, run->threads);
    const int64_t unit_rounds = vt_ceil_div(run->images * units, run->threads);
    /* One round of tiles lasts as long as units / tiles rounds of units; 21 to 20 is that loss. */
    return 20 * rounds * units <= 21 * unit_rounds * lane->tiles ? cut->tile : cut->unit;
}

/* How many tiles of one image, or of the run for panels. */
static int64_t lane_tiles(const vt_run *run, const vt_lane *lane) {
    if (lane->kind != VT_LANE_STRIPS) return lane->tiles;
    return vt_ceil_div(lane->strips.rows, strip_rows(run, lane));
}

/* A panel goes through all images itself, so their number does not multiply it. */
static int64_t lane_tasks(const vt_run *run, const vt_lane *lane) {
    const int64_t tiles = lane_tiles(run, lane);
    return lane->kind == VT_LANE_PANELS ? tiles : tiles * run->images;
}

static vt_task start_task(vt_run *run, const vt_lane *lane, int64_t number, int thread) {
    vt_task w = vt_task_start(run, thread, thread);
    /* The tiles of one image are neighbours, then comes the next image. */
    const int64_t tiles = lane_tiles(run, lane);
    w.strips = lane->kind == VT_LANE_STRIPS;
    w.unit = lane->strips.unit;
    w.part = lane->kind == VT_LANE_PANELS ? number : number % tiles;
    w.image = lane->kind == VT_LANE_PANELS ? 0 : number / tiles;
    if (w.strips) {
        const int64_t height = strip_rows(run, lane);
        w.row = w.first_row = w.part * height;
        const int64_t left = lane->strips.rows - w.row;
        w.rows = left < height ? left : height; /* the last strip may be lower */
    }
    return w;
}

static void run_task(void *context, vt_worker worker) {
    phase_work *p = context;
    const vt_plan *plan = p->run->plan;
    const vt_lane *lane = &plan->lanes[p->phase->first_lane];
    /* Tasks are numbered through all lanes of the phase: find the lane, and the task in it. */
    int64_t number = worker.task;
    while (number >= lane_tasks(p->run, lane)) number -= lane_tasks(p->run, lane++);
    const vt_task w = start_task(p->run, lane, number, worker.thread);
    /* One tile goes through all steps of the lane while it is in the cache. */
    vt_error error;
    vt_status status = VT_OK;
    int64_t time = vt_profile_start(p->run->profile);
    for (int i = lane->first_step; i < lane->first_step + lane->step_count; i++) {
        if (status == VT_OK) status = vt_task_step(&w, &plan->steps[i], &error);
        time = vt_profile_step(p->run->profile, worker.thread, i, time);
    }
    vt_note_failure(&p->failure, status, &error);
}

/* The end of the parallel loop is the barrier behind the phase. */
static vt_status run_tasks(vt_run *run, const vt_phase *phase, vt_error *error) {
    int64_t tasks = 0;
    for (int l = 0; l < phase->lane_count; l++) {
        tasks += lane_tasks(run, &run->plan->lanes[phase->first_lane + l]);
    }
    phase_work shared = {run, phase, {ATOMIC_FLAG_INIT, VT_OK, error}};
    vt_parallel_for(tasks, run->threads, run_task, &shared);
    return shared.failure.status;
}

vt_status vt_run_phases(vt_run *run, int first, int end, vt_error *error) {
    /* oneDNN does not survive a failing malloc, so its working memory is asked for before. */
    VT_TRY(vt_memory_room((size_t)run->threads * VT_WORK_SPACE, error));
    vt_status status = VT_OK;
    vt_calm_begin(); /* around all loops: it takes as long as opening one */
    for (int i = first; i < end && status == VT_OK; i++) {
        const vt_phase *phase = &run->plan->phases[i];
        const int64_t start = vt_profile_start(run->profile);
        status = (vt_columns_pay(run, phase) ? vt_run_columns : run_tasks)(run, phase, error);
        vt_profile_phase(run->profile, i, start);
    }
    vt_calm_end();
    return status;
}
