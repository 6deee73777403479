/* From the plain list to what the executor runs. Each rule keeps the outputs; "lowered equals
 * plain" is a test. */
#include "base/memory.h"
#include "ops/operations.h"
#include "program/program.h"

/* Rows [first, end) of a value. */
typedef struct range {
    int64_t first, end;
} range;

typedef struct lowering {
    const vt_program *from;
    bool training, fuse;
    int *same_as;   /* per value of `from`: an earlier value that equals it, or itself */
    range *rows;    /* per value: the rows that somebody reads; empty: nobody */
    int *number;    /* per value: its number in the new program */
    vt_node *nodes; /* of the new program */
    int count;
} lowering;

static range unite(range a, range b) {
    if (a.end == a.first) return b;
    if (b.end == b.first) return a;
    return (range){a.first < b.first ? a.first : b.first, a.end > b.end ? a.end : b.end};
}

static range all_rows(const vt_program *p, int value) {
    return (range){0, vt_shape_rows(vt_program_shape(p, value))};
}

static bool is_select(const vt_node *node) { return node->op->first_row != NULL; }
static bool is_row_wise(const vt_node *node) {
    return node->op->space == VT_STRIPS && !node->op->gathers;
}

/* The rows of its inputs that a node must see to make `wanted` rows of its output. */
static range rows_needed(const lowering *l, const vt_node *node, int input, range wanted) {
    if (is_row_wise(node)) return wanted;
    if (!is_select(node)) return all_rows(l->from, input);
    const int64_t start = node->op->first_row(node);
    return (range){start + wanted.first, start + wanted.end};
}

/* The rows that a node computes when `wanted` are read. */
static range rows_computed(const lowering *l, const vt_node *node, int value, range wanted) {
    if (is_row_wise(node) || is_select(node)) return wanted;
    if (node->op->narrow != NULL) return (range){0, wanted.end};
    return all_rows(l->from, value);
}

static void find_equals(lowering *l) {
    const vt_program *p = l->from;
    for (int v = 0; v < p->input_count; v++) l->same_as[v] = v;
    for (int n = 0; n < p->node_count; n++) {
        const vt_node *node = &p->nodes[n];
        const int value = p->input_count + n;
        const bool identity = node->op->training_only && !l->training;
        l->same_as[value] = identity ? l->same_as[node->inputs[0]] : value;
    }
}

static void find_rows(lowering *l) {
    const vt_program *p = l->from;
    for (int i = 0; i < p->output_count; i++) {
        const int value = l->same_as[p->outputs[i]];
        l->rows[value] = all_rows(p, value);
    }
    const int values = p->input_count + (l->fuse ? 0 : p->node_count);
    for (int v = 0; v < values; v++) l->rows[v] = all_rows(p, v);
    for (int n = p->node_count - 1; n >= 0; n--) {
        const vt_node *node = &p->nodes[n];
        const int value = p->input_count + n;
        range *rows = &l->rows[value];
        if (l->same_as[value] != value || rows->end == rows->first) continue;
        *rows = rows_computed(l, node, value, *rows);
        for (int i = 0; i < node->op->inputs; i++) {
            const int input = l->same_as[node->inputs[i]];
            l->rows[input] = unite(l->rows[input], rows_needed(l, node, input, *rows));
        }
    }
}

static int add_node(lowering *l, vt_node node) {
    l->nodes[l->count] = node;
    return l->from->input_count + l->count++;
}

/* The number of a value that holds exactly `rows` of the old value `input`. */
static int with_rows(lowering *l, int input, range rows) {
    const range has = l->rows[input];
    if (has.first == rows.first && has.end == rows.end) return l->number[input];
    return add_node(
        l, vt_select_rows(l->number[input], rows.first - has.first, rows.end - rows.first));
}

static void rewrite(lowering *l, int n) {
    const vt_program *p = l->from;
    const int value = p->input_count + n;
    const range rows = l->rows[value];
    vt_node node = p->nodes[n];
    for (int i = 0; i < node.op->inputs; i++) {
        const int input = l->same_as[node.inputs[i]];
        node.inputs[i] = with_rows(l, input, rows_needed(l, &p->nodes[n], input, rows));
    }
    if (is_select(&node)) {
        l->number[value] = node.inputs[0];
        return;
    }
    if (node.op->keep_all != NULL && !l->training) node.op->keep_all(&node);
    if (node.op->skip_rows != NULL) node.op->skip_rows(&node, rows.first);
    if (node.op->narrow != NULL && rows.end < vt_shape_rows(&node.shape)) {
        node.op->narrow(&node, rows.end);
    }
    l->number[value] = add_node(l, node);
}

static vt_status build(lowering *l, vt_program **lowered, int *outputs, vt_error *error) {
    const vt_program *p = l->from;
    find_equals(l);
    find_rows(l);
    for (int v = 0; v < p->input_count; v++) l->number[v] = v;
    for (int n = 0; n < p->node_count; n++) {
        const int value = p->input_count + n;
        if (l->same_as[value] == value && l->rows[value].end > l->rows[value].first) rewrite(l, n);
    }
    for (int i = 0; i < p->output_count; i++) {
        const int value = l->same_as[p->outputs[i]];
        outputs[i] = with_rows(l, value, all_rows(p, value));
    }
    vt_listing listing = vt_program_listing(p);
    listing.nodes = l->nodes;
    listing.node_count = l->count;
    listing.outputs = outputs;
    return vt_program_open(lowered, &listing, error);
}

static vt_status allocate(lowering *l, int **outputs, vt_error *error) {
    const vt_program *p = l->from;
    const size_t values = (size_t)(p->input_count + p->node_count);
    /* Each node may bring one select per input, each output one more. */
    const size_t nodes = (size_t)(p->node_count * (1 + VT_MAX_INPUTS) + p->output_count);
    VT_TRY(VT_NEW(&l->same_as, values, error));
    VT_TRY(VT_NEW(&l->rows, values, error));
    VT_TRY(VT_NEW(&l->number, values, error));
    VT_TRY(VT_NEW(&l->nodes, nodes, error));
    return VT_NEW(outputs, p->output_count, error);
}

vt_status vt_program_lower(vt_program **lowered, const vt_program *program, bool training,
                           bool fuse, vt_error *error) {
    *lowered = NULL;
    lowering l = {.from = program, .training = training, .fuse = fuse};
    int *outputs = NULL;
    vt_status status = allocate(&l, &outputs, error);
    if (status == VT_OK) status = build(&l, lowered, outputs, error);
    vt_free(l.same_as);
    vt_free(l.rows);
    vt_free(l.number);
    vt_free(l.nodes);
    vt_free(outputs);
    return status;
}
