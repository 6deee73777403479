#include "plan/plan.h"

#include <string.h>

#include "base/memory.h"
#include "plan/schedule.h"

static vt_status open_products(vt_plan *plan, vt_plan_options options, vt_error *error) {
    const vt_program *p = plan->lowered;
    const vt_arithmetic arithmetic = {plan->dtype, plan->training, options.bf16};
    plan->tiling = vt_tiling_make(p, arithmetic, options.tile_rows);
    VT_TRY(VT_NEW(&plan->products, p->node_count, error));
    for (int n = 0; n < p->node_count; n++) {
        const vt_op *op = p->nodes[n].op;
        vt_tiling_fill(&plan->tiling, &plan->products[n], &p->signatures[n]);
        if (op->open == NULL) continue;
        VT_TRY(op->open(&plan->products[n], &p->signatures[n], arithmetic, error));
    }
    return VT_OK;
}

/* Read once: what another thread changes meanwhile must not make a plan of two minds. */
static vt_status note_trained(vt_plan *plan, const vt_params *params, vt_error *error) {
    VT_TRY(VT_NEW(&plan->trained, params->count, error));
    for (int i = 0; i < params->count; i++) plan->trained[i] = params->entries[i].requires_grad;
    return VT_OK;
}

/* The packed weight of one step of packing, from the table: the step writes into what it holds. */
static vt_status hold_pack(vt_plan *plan, const vt_step *step, vt_error *error) {
    const vt_node *node = &plan->lowered->nodes[step->node];
    const vt_products *products = &plan->products[step->node];
    const vt_tiles *tiles = &products->tiles[products->pack_slot[VT_PACK_FORWARD]];
    vt_buffer *buffer = &plan->buffers[step->packed[VT_PACK_FORWARD]];
    vt_pack_key key = {.op = node->op, .bf16 = products->bf16, .bytes = buffer->bytes};
    key.packer = vt_tiles_packer(tiles);
    memcpy(key.params, node->params, sizeof key.params);
    const size_t front = node->op->pack_front == NULL
                             ? 0
                             : node->op->pack_front(&plan->lowered->signatures[step->node]);
    if (vt_tiles_packed_bytes(tiles) > 0) plan->reads[node->params[0]] = false;
    return vt_pack_hold(&buffer->pack, plan->params, &key, tiles, front, error);
}

static vt_status hold_packs(vt_plan *plan, vt_error *error) {
    for (int i = 0; i < plan->step_count && !plan->training; i++) {
        if (plan->steps[i].pass == VT_PACK) VT_TRY(hold_pack(plan, &plan->steps[i], error));
    }
    return VT_OK;
}

static void release_packs(vt_plan *plan) {
    for (int b = 0; b < plan->buffer_count; b++) {
        vt_pack_release(plan->params, plan->buffers[b].pack);
    }
}

/* Tell the table which values are read as they are: of the operations' parameters all but what is
 * packed. */
static vt_status find_reads(vt_plan *plan, vt_error *error) {
    const vt_program *p = plan->lowered;
    VT_TRY(VT_NEW(&plan->reads, p->param_count, error));
    for (int n = 0; n < p->node_count; n++) {
        for (int i = 0; p->nodes[n].op->params[i].name != NULL; i++) {
            if (p->nodes[n].params[i] >= 0) plan->reads[p->nodes[n].params[i]] = true;
        }
    }
    VT_TRY(hold_packs(plan, error));
    for (; plan->told < p->param_count; plan->told++) {
        if (!plan->reads[plan->told]) continue;
        VT_TRY(vt_entry_read(plan->params, plan->told, 1, error));
    }
    return VT_OK;
}

static void forget_reads(vt_plan *plan) {
    for (int i = 0; i < plan->told; i++) {
        if (plan->reads[i]) (void)vt_entry_read(plan->params, i, -1, NULL);
    }
}

static vt_status fill(vt_plan *plan, const vt_program *program, vt_params *params,
                      vt_plan_options options, vt_error *error) {
    if (options.bf16 && plan->dtype != VT_F32) {
        return vt_fail(error, VT_VALUE, "products of bfloat16 are for parameters of float32");
    }
    if (options.tile_rows < 0 || options.tile_rows > VT_MOST_TILE_SIZE) {
        return vt_fail(error, VT_VALUE, "tile_rows is %lld, expected 1 to %d",
                       (long long)options.tile_rows, VT_MOST_TILE_SIZE);
    }
    VT_TRY(vt_program_check_params(program, params, error));
    VT_TRY(vt_program_lower(&plan->lowered, program, options.training, options.fuse, error));
    VT_TRY(open_products(plan, options, error));
    VT_TRY(note_trained(plan, params, error));
    VT_TRY(vt_plan_schedule(plan, options, error));
    VT_TRY(vt_plan_store(plan, error));
    plan->params = params;
    return find_reads(plan, error);
}

vt_status vt_plan_open(vt_plan **out, const vt_program *program, vt_params *params,
                       vt_plan_options options, vt_error *error) {
    *out = NULL;
    void *block;
    VT_TRY(vt_alloc(&block, sizeof(vt_plan), error));
    vt_plan *plan = block;
    plan->dtype = params->dtype;
    plan->training = options.training;
    plan->kernels = vt_kernels_get(params->dtype);
    const vt_status status = fill(plan, program, params, options, error);
    if (status == VT_OK) {
        *out = plan;
    } else {
        vt_plan_close(plan);
    }
    return status;
}

void vt_plan_close(vt_plan *plan) {
    if (plan == NULL) return;
    forget_reads(plan);
    release_packs(plan);
    if (plan->products != NULL) {
        for (int n = 0; n < plan->lowered->node_count; n++) vt_products_close(&plan->products[n]);
    }
    vt_free(plan->products);
    vt_free(plan->steps);
    vt_free(plan->lanes);
    vt_free(plan->phases);
    vt_free(plan->buffers);
    vt_free(plan->inputs);
    vt_free(plan->outputs);
    vt_free(plan->output_gradients);
    vt_free(plan->input_gradients);
    vt_free(plan->trained);
    vt_free(plan->covered);
    vt_free(plan->reads);
    vt_program_close(plan->lowered);
    vt_free(plan);
}
