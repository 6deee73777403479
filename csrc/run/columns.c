/* A lane of strips, run by all threads together: wave after wave of as many strips as there are
 * threads, since each needs the memory of one; in a wave, stretch after stretch. */
#include "plan/stretches.h"

#include "base/parallel.h"
#include "plan/cost.h"
#include "run/phases.h"
#include "run/task.h"

/* Of the packed weight, about: while the strips of a wave pass one after the other, the columns of
 * a task stay in a second-level cache. */
enum { GROUP_BYTES = 256 << 10, TASKS_PER_THREAD = 4 };

/* What all tasks of a stretch know. */
typedef struct stretch_work {
    vt_run *run;
    const vt_lane *lane;
    vt_stretch stretch;
    int64_t first, count; /* strips of the wave, numbered through all images */
    int64_t cols, group;  /* by columns: in all, and of a task */
    int64_t pieces;       /* by columns: tasks that share a group; by rows: those of a strip */
    vt_failure failure;
} stretch_work;

static int64_t smaller(int64_t x, int64_t y) { return x < y ? x : y; }
static int64_t larger(int64_t x, int64_t y) { return x > y ? x : y; }

/* ---------------------------------------------------------------- a strip, and pieces of it */

/* Strip `number` of the wave. */
static vt_task strip_task(const stretch_work *s, int64_t number, int thread) {
    const int64_t tiles = s->lane->tiles, strip = s->first + number;
    vt_task w = vt_task_start(s->run, number, thread);
    w.strips = true;
    w.unit = s->lane->strips.unit;
    w.image = strip / tiles;
    w.part = strip % tiles;
    w.row = w.first_row = w.part * s->lane->strips.tile;
    w.rows = smaller(s->lane->strips.tile, s->lane->strips.rows - w.row);
    return w;
}

static int64_t units_of(const stretch_work *s, int64_t rows) {
    return vt_ceil_div(rows, s->lane->strips.unit);
}

/* ---------------------------------------------------------------- by columns */

static vt_status run_steps(const stretch_work *s, const vt_task *w, vt_error *error) {
    vt_profile *profile = s->run->profile;
    int64_t time = vt_profile_start(profile);
    for (int i = s->stretch.first; i < s->stretch.end; i++) {
        VT_TRY(vt_task_forward(w, &s->run->plan->steps[i], error));
        time = vt_profile_step(profile, w->thread, i, time);
    }
    return VT_OK;
}

/* The units [first, end) of a strip: at once if these are all. */
static vt_status run_units(const stretch_work *s, vt_task w, int64_t first, int64_t end,
                           vt_error *error) {
    const int64_t unit = s->lane->strips.unit, begin = w.row, rows = w.rows;
    if (first == 0 && end == units_of(s, rows)) return run_steps(s, &w, error);
    for (int64_t u = first; u < end; u++) {
        w.row = begin + u * unit;
        w.rows = smaller(unit, rows - u * unit);
        VT_TRY(run_steps(s, &w, error));
    }
    return VT_OK;
}

/* Piece number `piece` of the units of all strips of the wave, for some columns. */
static vt_status run_piece(const stretch_work *s, int64_t piece, vt_task columns, int thread,
                           vt_error *error) {
    int64_t all = 0, before = 0;
    for (int64_t i = 0; i < s->count; i++) all += units_of(s, strip_task(s, i, thread).rows);
    const int64_t first = all * piece / s->pieces, end = all * (piece + 1) / s->pieces;
    for (int64_t i = 0; i < s->count && before < end; i++) {
        vt_task w = strip_task(s, i, thread);
        const int64_t units = units_of(s, w.rows);
        w.col = columns.col, w.cols = columns.cols, w.then = columns.then;
        const int64_t from = larger(0, first - before), to = smaller(units, end - before);
        if (from < to) VT_TRY(run_units(s, w, from, to, error));
        before += units;
    }
    return VT_OK;
}

static void run_group(void *context, vt_worker worker) {
    stretch_work *s = context;
    const int64_t group = worker.task / s->pieces, piece = worker.task % s->pieces;
    const int64_t ahead = larger(1, s->run->threads / s->pieces);
    vt_task columns = {.col = group * s->group};
    columns.cols = smaller(s->group, s->cols - columns.col);
    columns.then = columns.col + ahead * s->group;
    vt_error error;
    const vt_status status = run_piece(s, piece, columns, worker.thread, &error);
    vt_note_failure(&s->failure, status, &error);
}

/* Columns of a task: few enough that all threads end at about the same time. */
static int64_t group_of(const stretch_work *s) {
    const vt_plan *plan = s->run->plan;
    const vt_step *product = &plan->steps[s->stretch.first];
    const int64_t weight = (int64_t)plan->products[product->node].pack_bytes[VT_PACK_FORWARD];
    const int64_t panels = vt_ceil_div(s->cols, VT_PANEL_COLUMNS);
    const int64_t fitting = larger(1, GROUP_BYTES / larger(1, weight / panels));
    const int64_t fair = larger(1, panels / (TASKS_PER_THREAD * s->run->threads));
    return VT_PANEL_COLUMNS * smaller(fitting, fair);
}

static void run_by_columns(stretch_work *s) {
    s->cols = s->run->plan->buffers[s->run->plan->steps[s->stretch.first].out].cols;
    s->group = group_of(s);
    const int64_t groups = vt_ceil_div(s->cols, s->group);
    const int64_t units = s->count * units_of(s, s->lane->strips.tile);
    /* With too few columns for all threads, rows are shared too. */
    s->pieces = smaller(larger(1, s->run->threads / groups), units);
    vt_parallel_for(groups * s->pieces, s->run->threads, run_group, s);
}

/* ---------------------------------------------------------------- by rows */

static vt_status run_rows(const stretch_work *s, const vt_task *w, vt_error *error) {
    const vt_step *steps = s->run->plan->steps;
    const int prepares = s->stretch.prepares;
    int64_t time = vt_profile_start(s->run->profile);
    for (int i = s->stretch.first; i < s->stretch.end; i++) {
        VT_TRY(vt_task_step(w, &steps[i], error));
        time = vt_profile_step(s->run->profile, w->thread, i, time);
    }
    if (prepares == VT_NOTHING) return VT_OK;
    VT_TRY(vt_task_prepare(w, &steps[prepares], error));
    (void)vt_profile_step(s->run->profile, w->thread, prepares, time);
    return VT_OK;
}

/* A unit of a strip. */
static void run_some_rows(void *context, vt_worker worker) {
    stretch_work *s = context;
    vt_task w = strip_task(s, worker.task / s->pieces, worker.thread);
    const int64_t unit = s->lane->strips.unit, piece = worker.task % s->pieces, rows = w.rows;
    if (piece * unit >= rows) return; /* the last strip has fewer units */
    w.row += piece * unit;
    w.rows = smaller(unit, rows - piece * unit);
    vt_error error;
    const vt_status status = run_rows(s, &w, &error);
    vt_note_failure(&s->failure, status, &error);
}

static void run_by_rows(stretch_work *s) {
    s->pieces = units_of(s, s->lane->strips.tile);
    vt_parallel_for(s->count * s->pieces, s->run->threads, run_some_rows, s);
}

/* ---------------------------------------------------------------- all together */

static vt_status run_wave(vt_run *run, const vt_lane *lane, int64_t first, int64_t count,
                          vt_error *error) {
    const int end = lane->first_step + lane->step_count;
    bool prepared = false;
    for (int step = lane->first_step; step < end;) {
        stretch_work s = {.run = run,
                          .lane = lane,
                          .stretch = vt_plan_stretch(run->plan, lane, step, prepared),
                          .first = first,
                          .count = count,
                          .failure = {ATOMIC_FLAG_INIT, VT_OK, error}};
        (s.stretch.by_columns ? run_by_columns : run_by_rows)(&s);
        if (s.failure.status != VT_OK) return s.failure.status;
        prepared = s.stretch.prepares != VT_NOTHING;
        step = s.stretch.end;
    }
    return VT_OK;
}

/* Waves of equal size. */
vt_status vt_run_columns(vt_run *run, const vt_phase *phase, vt_error *error) {
    const vt_lane *lane = &run->plan->lanes[phase->first_lane];
    const int64_t strips = run->images * lane->tiles;
    const int64_t waves = vt_ceil_div(strips, run->threads);
    for (int64_t i = 0; i < waves; i++) {
        const int64_t first = strips * i / waves, end = strips * (i + 1) / waves;
        VT_TRY(run_wave(run, lane, first, end - first, error));
    }
    return VT_OK;
}

/* ---------------------------------------------------------------- whether it pays */

/* What the products of a lane do; false if none goes by columns. */
static bool add_up(const vt_run *run, const vt_lane *lane, vt_lane_work *work) {
    const vt_plan *plan = run->plan;
    bool prepared = false, any = false;
    for (int step = lane->first_step; step < lane->first_step + lane->step_count;) {
        const vt_stretch s = vt_plan_stretch(plan, lane, step, prepared);
        work->stretches++;
        if (s.by_columns) {
            const int node = plan->steps[s.first].node;
            work->weights += (double)plan->products[node].pack_bytes[VT_PACK_FORWARD];
            work->operations +=
                plan->lowered->nodes[node].op->flops(&plan->lowered->signatures[node]);
            any = true;
        }
        prepared = s.prepares != VT_NOTHING;
        step = s.end;
    }
    return any;
}

bool vt_columns_pay(const vt_run *run, const vt_phase *phase) {
    const vt_lane *lane = &run->plan->lanes[phase->first_lane];
    if (run->threads == 1 || phase->lane_count != 1 || lane->kind != VT_LANE_STRIPS) return false;
    vt_lane_work work = {.images = run->images,
                         .tiles = lane->tiles,
                         .units = vt_ceil_div(lane->strips.rows, lane->strips.unit),
                         .threads = run->threads,
                         .precision = run->plan->tiling.precision};
    if (!add_up(run, lane, &work)) return false;
    const int64_t *pace = vt_machine_selected()->pace;
    return vt_cost_columns(pace, &work) < vt_cost_strips(pace, &work);
}
