#include "plan/offsets.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/memory.h"

/* Placed blocks are kept in the order of their offsets, cut into shelves. A shelf is passed in one
 * step if none of its blocks lives at the time in question, or if all do and leave no gap that is
 * large enough: so the search is short in a plan for inference, whose blocks live one after the
 * other, and in one for training, whose blocks live one inside the other. */
enum { SHELF = 256 };

typedef struct shelf {
    int count;
    int first_start, last_start, first_end, last_end; /* of its blocks */
    size_t end;                                       /* of the block that reaches farthest */
    size_t gap;                                       /* the largest among its blocks */
    vt_block *blocks;                                 /* SHELF of them */
} shelf;

typedef struct shelves {
    int count;
    shelf *list;
} shelves;

static void survey(shelf *s) {
    const vt_block *b = s->blocks;
    s->first_start = s->last_start = b->start;
    s->first_end = s->last_end = b->end;
    s->end = b->offset + b->bytes;
    s->gap = 0;
    for (int i = 1; i < s->count; i++) {
        b = &s->blocks[i];
        if (b->start < s->first_start) s->first_start = b->start;
        if (b->start > s->last_start) s->last_start = b->start;
        if (b->end < s->first_end) s->first_end = b->end;
        if (b->end > s->last_end) s->last_end = b->end;
        if (b->offset > s->end && b->offset - s->end > s->gap) s->gap = b->offset - s->end;
        if (b->offset + b->bytes > s->end) s->end = b->offset + b->bytes;
    }
}

static bool none_meets(const shelf *s, const vt_block *b) {
    return s->last_end < b->start || b->end < s->first_start;
}

static bool all_meet(const shelf *s, const vt_block *b) {
    return s->last_start <= b->end && b->start <= s->first_end;
}

/* Moves the block behind those of a shelf that it meets, until it fits before one: then true. */
static bool fits(const shelf *s, vt_block *b) {
    if (none_meets(s, b)) return false;
    if (b->offset + b->bytes > s->blocks[0].offset && b->bytes > s->gap && all_meet(s, b)) {
        if (s->end > b->offset) b->offset = s->end;
        return false;
    }
    for (int i = 0; i < s->count; i++) {
        const vt_block *other = &s->blocks[i];
        if (other->end < b->start || b->end < other->start) continue;
        if (b->offset + b->bytes <= other->offset) return true;
        if (other->offset + other->bytes > b->offset) b->offset = other->offset + other->bytes;
    }
    return false;
}

/* An empty shelf, which no block meets. */
static vt_status open_shelf(shelf *s, vt_error *error) {
    *s = (shelf){.last_end = -1};
    return VT_NEW(&s->blocks, SHELF, error);
}

/* A full shelf hands the upper half of its blocks to a new one. */
static vt_status split(shelves *all, int index, vt_error *error) {
    shelf upper;
    VT_TRY(open_shelf(&upper, error));
    shelf *lower = &all->list[index];
    upper.count = SHELF / 2;
    lower->count -= upper.count;
    memcpy(upper.blocks, lower->blocks + lower->count, sizeof(vt_block[SHELF / 2]));
    survey(lower);
    survey(&upper);
    memmove(lower + 2, lower + 1, (size_t)(all->count++ - index - 1) * sizeof *lower);
    lower[1] = upper;
    return VT_OK;
}

/* Behind all blocks of the same or a lower offset. */
static vt_status insert(shelves *all, vt_block b, vt_error *error) {
    int index = all->count - 1;
    while (index > 0 && all->list[index].blocks[0].offset > b.offset) index--;
    if (all->list[index].count == SHELF) {
        VT_TRY(split(all, index, error));
        if (all->list[index + 1].blocks[0].offset <= b.offset) index++;
    }
    shelf *s = &all->list[index];
    int at = s->count++;
    for (; at > 0 && s->blocks[at - 1].offset > b.offset; at--) s->blocks[at] = s->blocks[at - 1];
    s->blocks[at] = b;
    survey(s);
    return VT_OK;
}

static vt_status place_all(shelves *all, vt_block *blocks, int count, vt_error *error) {
    for (int i = 0; i < count; i++) {
        vt_block *b = &blocks[i];
        b->offset = 0;
        for (int k = 0; k < all->count; k++) {
            if (fits(&all->list[k], b)) break;
        }
        VT_TRY(insert(all, *b, error));
    }
    return VT_OK;
}

static int larger_first(const void *a, const void *b) {
    const vt_block *x = a, *y = b;
    if (x->bytes != y->bytes) return x->bytes < y->bytes ? 1 : -1;
    return (x->id > y->id) - (x->id < y->id);
}

vt_status vt_offsets_find(vt_block *blocks, int count, size_t *total, vt_error *error) {
    *total = 0;
    if (count == 0) return VT_OK;
    qsort(blocks, (size_t)count, sizeof *blocks, larger_first);
    shelves all = {.count = 1};
    /* All but the first have been filled to one half at least. */
    const size_t most = (size_t)count / (SHELF / 2) + 2;
    VT_TRY(VT_NEW(&all.list, most, error));
    vt_status status = open_shelf(&all.list[0], error);
    if (status == VT_OK) status = place_all(&all, blocks, count, error);
    for (int i = 0; i < count && status == VT_OK; i++) {
        const size_t end = blocks[i].offset + blocks[i].bytes;
        if (end > *total) *total = end;
    }
    for (int i = 0; i < all.count; i++) vt_free(all.list[i].blocks);
    vt_free(all.list);
    return status;
}
