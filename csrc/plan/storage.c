/* The place of every buffer: from its life (first to last use) follows what may share memory. */
#include "plan/schedule.h"

#include "base/memory.h"
#include "plan/offsets.h"
#include "plan/stretches.h"

/* How a buffer is used, over all steps. */
typedef struct usage {
    int first_step, last_step;
    int lane;          /* the only lane that uses it; SEVERAL; VT_NOTHING before the first use */
    int exposed_phase; /* the last phase in which tiles see more of it than their own strip */
    bool taken;        /* its memory was handed on in place */
} usage;

enum { SEVERAL = -2 };

typedef struct storage {
    vt_plan *plan;
    usage *usage;
} storage;

/* ---------------------------------------------------------------- uses */

/* Notes a use. Those by the caller come before all steps, so either end of a life may move. */
static void use(storage *s, int buffer, int phase, int lane, int step, bool exposed) {
    if (buffer == VT_NOTHING) return;
    vt_buffer *b = &s->plan->buffers[buffer];
    usage *u = &s->usage[buffer];
    if (u->lane == VT_NOTHING) {
        b->first_phase = phase;
        u->first_step = step;
        u->lane = lane;
    }
    if (u->lane != lane) u->lane = SEVERAL;
    if (phase < b->first_phase) b->first_phase = phase;
    if (phase > b->last_phase) b->last_phase = phase;
    if (step > u->last_step) u->last_step = step;
    if (exposed && phase > u->exposed_phase) u->exposed_phase = phase;
}

/* The tasks of a stretch by columns read all that its product reads until the last of them ends: it
 * is used up to the step behind, and no step within takes its memory over. */
static void use_through_stretch(storage *s, int index, int lane) {
    const vt_plan *p = s->plan;
    const int end = vt_plan_columns_end(p, &p->lanes[lane], index);
    for (int i = 0; i < VT_MAX_INPUTS && end > index + 1; i++) {
        use(s, p->steps[index].in[i], p->lanes[lane].phase, lane, end, false);
    }
}

static void use_step(storage *s, int index, int lane) {
    const vt_plan *p = s->plan;
    const vt_step *step = &p->steps[index];
    const int phase = p->lanes[lane].phase;
    /* Parts and panels see whole images; a strip sees other rows only where its step gathers. */
    const bool gathers = vt_step_gathers(p, step);
    const bool all = p->lanes[lane].kind != VT_LANE_STRIPS;
    for (int i = 0; i < VT_MAX_INPUTS; i++) {
        use(s, step->in[i], phase, lane, index, all || (gathers && step->pass == VT_FORWARD));
        use(s, step->base[i], phase, lane, index, all);
        use(s, step->din[i], phase, lane, index, all);
    }
    use(s, step->dout, phase, lane, index, all || (gathers && step->pass == VT_BACKWARD));
    use(s, step->out, phase, lane, index, all);
    /* Sums of units and packed weights are read whole. */
    use(s, step->partial, phase, lane, index, true);
    for (int i = 0; i < VT_MAX_PACKS; i++) use(s, step->packed[i], phase, lane, index, true);
}

/* What the caller writes and reads, between the phases. It counts as several lanes, since the
 * caller needs all images at once and a local strip is gone after its tile. */
static void use_by_caller(storage *s, const int *buffers, int count, int phase) {
    for (int i = 0; i < count; i++) use(s, buffers[i], phase, SEVERAL, 0, true);
}

static void find_uses(storage *s) {
    const vt_plan *p = s->plan;
    const int inputs = p->lowered->input_count, outputs = p->lowered->output_count;
    use_by_caller(s, p->inputs, inputs, 0);
    use_by_caller(s, p->outputs, outputs, p->first_backward);
    use_by_caller(s, p->output_gradients, outputs, p->first_backward);
    use_by_caller(s, p->input_gradients, inputs, p->phase_count);
    for (int l = 0; l < p->lane_count; l++) {
        const vt_lane *lane = &p->lanes[l];
        for (int i = 0; i < lane->step_count; i++) {
            use_step(s, lane->first_step + i, l);
            if (lane->kind == VT_LANE_STRIPS) use_through_stretch(s, lane->first_step + i, l);
        }
    }
}

/* ---------------------------------------------------------------- places, and in place */

/* If one lane alone uses a buffer, and each tile its own strip, a thread needs no more than one
 * strip of it. */
static bool is_local(const storage *s, int buffer) {
    const usage *u = &s->usage[buffer];
    return u->lane >= 0 && u->exposed_phase < 0;
}

static void find_places(storage *s) {
    for (int b = 0; b < s->plan->buffer_count; b++) {
        if (s->plan->buffers[b].place == VT_FIXED) continue;
        s->plan->buffers[b].place = is_local(s, b) ? VT_LOCAL : VT_ARENA;
    }
}

/* Let the buffer `to`, written by `step`, take over the memory of `from`, which nobody reads later.
 */
static bool take_over(storage *s, int to, int from, int step, int phase) {
    if (to == VT_NOTHING || from == VT_NOTHING) return false;
    const vt_buffer *a = &s->plan->buffers[from];
    vt_buffer *b = &s->plan->buffers[to];
    usage *u = &s->usage[from];
    /* Nobody reads it after this step, no other tile reads these rows now, and no other buffer has
     * taken it already. */
    const bool last_use = a->last_phase == phase && u->last_step == step;
    if (!last_use || u->exposed_phase >= phase || u->taken) return false;
    if (a->rows != b->rows || a->cols != b->cols || a->place != b->place) return false;
    if (a->narrow != b->narrow) return false;
    b->root = a->root; /* of a chain of them, the first */
    u->taken = true;
    return true;
}

/* Whether the gradients of later inputs, which the step writes after that of input k, still read
 * the buffer. */
static bool read_later(const vt_step *step, int k, int buffer) {
    for (int later = k + 1; later < VT_MAX_INPUTS; later++) {
        if (step->din[later] == VT_NOTHING) continue;
        if (step->base[later] == buffer || step->dout == buffer) return true;
    }
    return false;
}

static bool take_over_gradient(storage *s, const vt_step *step, int k, int from, int index,
                               int phase) {
    return !read_later(step, k, from) && take_over(s, step->din[k], from, index, phase);
}

static void find_in_place(storage *s) {
    vt_plan *p = s->plan;
    for (int l = 0; l < p->lane_count; l++) {
        if (p->lanes[l].kind != VT_LANE_STRIPS) continue; /* elsewhere all uses are exposed */
        for (int i = 0; i < p->lanes[l].step_count; i++) {
            const int index = p->lanes[l].first_step + i, phase = p->lanes[l].phase;
            const vt_step *step = &p->steps[index];
            const bool in_place = p->lowered->nodes[step->node].op->in_place;
            /* Forward: out takes over the first input that ends here. */
            for (int k = 0; k < VT_MAX_INPUTS; k++) {
                if (in_place && take_over(s, step->out, step->in[k], index, phase)) break;
            }
            /* Backward: a gradient may always grow where it is; dout, only if the operation allows
             * it. */
            for (int k = 0; k < VT_MAX_INPUTS; k++) {
                if (take_over_gradient(s, step, k, step->base[k], index, phase)) continue;
                if (in_place) take_over_gradient(s, step, k, step->dout, index, phase);
            }
        }
    }
    /* A root lives as long as all that share its memory. */
    for (int b = 0; b < p->buffer_count; b++) {
        vt_buffer *root = &p->buffers[p->buffers[b].root];
        usage *u = &s->usage[p->buffers[b].root];
        if (p->buffers[b].last_phase > root->last_phase)
            root->last_phase = p->buffers[b].last_phase;
        if (s->usage[b].last_step > u->last_step) u->last_step = s->usage[b].last_step;
    }
}

/* What is written and read for the last time within a stretch by columns is nobody's but that of
 * the thread whose columns it is. */
static void find_passing(storage *s, int first, int end) {
    vt_plan *p = s->plan;
    for (int step = first; step < end; step++) {
        vt_buffer *out = &p->buffers[p->steps[step].out];
        const usage *u = &s->usage[out->root];
        const bool within = u->first_step >= first && u->last_step < end;
        out->passing = out->place == VT_LOCAL && within;
    }
}

/* What is read within a stretch lives up to its end: while one task reads, another one is already
 * at a later step, and what that writes may have rows of another length. */
static void stretch_lives(storage *s, int first, int end) {
    const vt_plan *p = s->plan;
    for (int step = first; step < end; step++) {
        for (int i = 0; i < VT_MAX_INPUTS; i++) {
            if (p->steps[step].in[i] == VT_NOTHING) continue;
            usage *u = &s->usage[p->buffers[p->steps[step].in[i]].root];
            if (end > u->last_step) u->last_step = end;
        }
    }
}

static bool has_columns(const vt_plan *plan, const vt_lane *lane) {
    if (lane->kind != VT_LANE_STRIPS) return false;
    for (int i = lane->first_step; i < lane->first_step + lane->step_count; i++) {
        if (vt_plan_stretch(plan, lane, i, true).by_columns) return true;
    }
    return false;
}

static void stretch_all_lives(storage *s) {
    const vt_plan *p = s->plan;
    for (int l = 0; l < p->lane_count; l++) {
        const vt_lane *lane = &p->lanes[l];
        if (!has_columns(p, lane)) continue;
        for (int i = lane->first_step; i < lane->first_step + lane->step_count;) {
            const vt_stretch stretch = vt_plan_stretch(p, lane, i, true);
            if (stretch.by_columns) find_passing(s, i, stretch.end);
            stretch_lives(s, i, stretch.end);
            i = stretch.end;
        }
    }
}

/* ---------------------------------------------------------------- offsets */

/* The offsets of all roots of one kind; `total` is the end of the last. */
static vt_status find_offsets(storage *s, vt_place place, size_t *total, vt_error *error) {
    vt_plan *p = s->plan;
    void *memory;
    VT_TRY(vt_alloc_array(&memory, (size_t)p->buffer_count, sizeof(vt_block), error));
    vt_block *blocks = memory;
    int count = 0;
    for (int b = 0; b < p->buffer_count; b++) {
        const vt_buffer *buffer = &p->buffers[b];
        if (buffer->place != place || buffer->root != b) continue;
        const usage *u = &s->usage[b];
        /* Strips of a thread live from step to step, all others from phase to phase. */
        const bool local = place == VT_LOCAL;
        blocks[count++] = (vt_block){.id = b,
                                     .start = local ? u->first_step : buffer->first_phase,
                                     .end = local ? u->last_step : buffer->last_phase,
                                     .bytes = buffer->bytes};
    }
    const vt_status status = vt_offsets_find(blocks, count, total, error);
    for (int i = 0; i < count && status == VT_OK; i++) {
        p->buffers[blocks[i].id].offset = blocks[i].offset;
    }
    vt_free(memory);
    return status;
}

static void find_bytes(vt_plan *p) {
    for (int b = 0; b < p->buffer_count; b++) {
        vt_buffer *buffer = &p->buffers[b];
        /* A fixed buffer is counted in bytes: its layout is that of the product. */
        const size_t element = buffer->place == VT_FIXED ? 1 : vt_buffer_element(p, b);
        const int64_t strip_rows = vt_tiling_strips(&p->tiling, buffer->rows).tile;
        const int64_t rows = buffer->place == VT_LOCAL ? strip_rows : buffer->rows;
        buffer->bytes = vt_align((size_t)(rows * buffer->cols) * element);
        if (!buffer->narrow) continue;
        /* Its readers may want the strip widened: room for the largest. */
        const size_t strip = (size_t)(strip_rows * buffer->cols);
        const size_t wide = vt_align(strip * vt_dtype_size(p->dtype));
        if (wide > p->wide_bytes) p->wide_bytes = wide;
    }
}

/* Packed weights of inference stay, and have a place of their own. */
static void add_packs(vt_plan *p) {
    for (int b = 0; b < p->buffer_count; b++) {
        if (p->buffers[b].place == VT_FIXED) p->fixed_bytes += p->buffers[b].bytes;
    }
}

static vt_status find_all_offsets(storage *s, vt_error *error) {
    vt_plan *p = s->plan;
    VT_TRY(find_offsets(s, VT_ARENA, &p->image_bytes, error));
    VT_TRY(find_offsets(s, VT_LOCAL, &p->local_bytes, error));
    if (p->training) {
        VT_TRY(find_offsets(s, VT_FIXED, &p->fixed_bytes, error));
    } else {
        add_packs(p);
    }
    /* Only roots have got offsets; the others are where their root is. */
    for (int b = 0; b < p->buffer_count; b++) {
        p->buffers[b].offset = p->buffers[p->buffers[b].root].offset;
    }
    for (int n = 0; n < p->lowered->node_count; n++) {
        if (p->products[n].scratch_bytes > p->scratch_bytes)
            p->scratch_bytes = p->products[n].scratch_bytes;
        if (p->products[n].operand_bytes > p->operand_bytes)
            p->operand_bytes = p->products[n].operand_bytes;
    }
    return VT_OK;
}

vt_status vt_plan_store(vt_plan *plan, vt_error *error) {
    void *block;
    VT_TRY(vt_alloc_array(&block, (size_t)plan->buffer_count, sizeof(usage), error));
    storage s = {plan, block};
    for (int b = 0; b < plan->buffer_count; b++) {
        s.usage[b].lane = VT_NOTHING;
        s.usage[b].exposed_phase = -1;
    }
    /* Lives first, then places, which decide who may take over whose memory; sizes depend on the
     * place, and offsets on all of these. */
    find_uses(&s);
    find_places(&s);
    find_in_place(&s);
    stretch_all_lives(&s);
    find_bytes(plan);
    const vt_status status = find_all_offsets(&s, error);
    vt_free(block);
    return status;
}
