#include "ops/distances.h"

/* Rows of the table behind those of the grid. */
enum { FROM_PREFIX, TO_PREFIX, OWN_PREFIX };

static double load(const void *from, size_t element, int64_t at) {
    return element == sizeof(float) ? (double)((const float *)from)[at]
                                    : ((const double *)from)[at];
}

static void store(void *to, size_t element, int64_t at, double value) {
    if (element == sizeof(float)) {
        ((float *)to)[at] = (float)value;
    } else {
        ((double *)to)[at] = value;
    }
}

/* Distances along a row of the grid. */
static int64_t across(const vt_distances *d) { return 2 * d->width - 1; }

/* Rows of the table before those of the prefix. */
static int64_t distances(const vt_distances *d) { return (2 * d->height - 1) * across(d); }

/* Tokens before the patches: 0 or 1 */
static int64_t prefix(const vt_distances *d) { return d->tokens - d->height * d->width; }

/* Whether the table has rows for it. */
static bool of_prefix(const vt_distances *d) { return d->rows > distances(d); }

/* Where row k of the table is in `bias`: in reverse, so that the keys of a row of patches lie in
 * order. */
static int64_t stored_at(const vt_distances *d, int64_t k) {
    return k < distances(d) ? distances(d) - 1 - k : k;
}

void vt_distances_gather(const vt_distances *d, const void *table, int64_t head) {
    for (int64_t k = 0; k < d->rows; k++) {
        store(d->bias, d->element, stored_at(d, k), load(table, d->element, k * d->heads + head));
    }
}

/* Where the bias of the first key begins for the query of this number on the grid. */
static int64_t first_bias(const vt_distances *d, int64_t query) {
    return (d->height - 1 - query / d->width) * across(d) + d->width - 1 - query % d->width;
}

/* Of a query or key that is the prefix. */
static double prefix_bias(const vt_distances *d, int which) {
    return of_prefix(d) ? load(d->bias, d->element, distances(d) + which) : 0;
}

void vt_distances_add(const vt_distances *d, int64_t query, void *p) {
    const int64_t patches = prefix(d);
    const bool patch = query >= patches;
    const double to_prefix = prefix_bias(d, patch ? TO_PREFIX : OWN_PREFIX);
    for (int64_t k = 0; k < patches; k++) {
        store(p, d->element, k, d->scale * load(p, d->element, k) + to_prefix);
    }
    if (patch) {
        const int64_t at = first_bias(d, query - patches);
        d->kernels->combine(vt_at(p, d->element, patches), d->width,
                            vt_const_at(d->bias, d->element, at), across(d), d->scale, 1.0,
                            d->height, d->width);
        return;
    }
    const double from_prefix = prefix_bias(d, FROM_PREFIX);
    for (int64_t k = patches; k < d->tokens; k++) {
        store(p, d->element, k, d->scale * load(p, d->element, k) + from_prefix);
    }
}

static void add_to(void *sums, size_t element, int64_t at, double value) {
    store(sums, element, at, load(sums, element, at) + value);
}

void vt_distances_backward(const vt_distances *d, int64_t query, const void *ds) {
    const double factor = 1.0 / d->scale;
    const int64_t patches = prefix(d);
    const bool patch = query >= patches;
    if (patch) {
        const int64_t at = first_bias(d, query - patches);
        d->kernels->combine(vt_at(d->dbias, d->element, at), across(d),
                            vt_const_at(ds, d->element, patches), d->width, 1.0, factor, d->height,
                            d->width);
    }
    for (int64_t k = 0; of_prefix(d) && k < (patch ? patches : d->tokens); k++) {
        const int which = patch ? TO_PREFIX : k < patches ? OWN_PREFIX : FROM_PREFIX;
        add_to(d->dbias, d->element, distances(d) + which, factor * load(ds, d->element, k));
    }
}

void vt_distances_scatter(const vt_distances *d, void *dtable, const void *base, int64_t head) {
    for (int64_t k = 0; k < d->rows; k++) {
        const int64_t to = k * d->heads + head;
        const double before = base == NULL ? 0 : load(base, d->element, to);
        store(dtable, d->element, to, before + load(d->dbias, d->element, stored_at(d, k)));
    }
}
