/* What a table of parameters is inside, and passes over its entries. */
#ifndef VT_PARAMS_PARAMS_H
#define VT_PARAMS_PARAMS_H

#include "base/lock.h"
#include "ops/op.h"

typedef struct vt_pack vt_pack; /* packs.h */

typedef struct vt_entry {
    char *name;
    vt_shape shape;
    vt_dtype dtype; /* of the params, or VT_S8: such an entry is never trained */
    size_t offset;  /* bytes from the start of a buffer; a multiple of 64 */
    int64_t elements;
    _Atomic bool requires_grad;
    _Atomic bool has_gradient; /* false: the gradient's bytes mean nothing yet */

    /* Whether its bytes may rest in a packed copy (packs.h). */
    _Atomic bool exposed; /* no: somebody has their address */
    int readers;          /* no, while plans read them as they are */
    vt_pack *source;      /* they do: they come back from there; NULL: they are in place */
} vt_entry;

struct vt_params {
    vt_dtype dtype;
    int count;
    vt_entry *entries;
    size_t bytes; /* of one buffer */
    void *data;
    void *_Atomic gradient;   /* NULL until the first backward */
    _Atomic uint64_t version; /* rises with every write, so that packed copies are never stale */
    double *sums[2];          /* one per chunk of the entries: room for norms */

    /* Whoever takes several takes `values` first and `packing` last. Only what is atomic may be
     * read without. */
    vt_lock values;    /* shared while `data` is read; alone while it or a buffer is written */
    vt_lock gradients; /* alone for the gradients, their flags, and `sums` */
    vt_lock packing;   /* alone for `packs`, all that is in them, and what rests there */

    vt_pack *packs;     /* those that some plan of inference holds */
    _Atomic bool stays; /* no entry rests any more: the table is trained, or its address known */
};

/* Room for gradients, if there is none yet, for who has the gradients alone. */
vt_status vt_params_make_gradient(vt_params *params, vt_error *error);

/* Entries are processed in chunks of this many elements: small enough to balance threads, and a
 * fixed grid, so that sums do not depend on them. Norms are added up chunk by chunk, so this number
 * decides bits: it belongs to the format, and not to the machine. */
enum { VT_CHUNK = 1 << 16 };

typedef struct vt_chunk {
    int entry;
    int64_t first, count; /* elements of the entry */
    int64_t index;        /* among all chunks of a pass */
} vt_chunk;

/* Call body(context, chunk) for the chunks of all entries that have a gradient and are `chosen`
 * (one flag per entry, or NULL: all), in parallel. Returns how many there are. The caller has the
 * gradients alone. */
typedef void (*vt_chunk_body)(void *context, vt_chunk chunk);
int64_t vt_params_for_chunks(const vt_params *params, const bool *chosen, int threads,
                             vt_chunk_body body, void *context);

/* The first element of a chunk within a buffer of the params' layout. */
static inline void *vt_chunk_at(const vt_params *params, void *buffer, vt_chunk chunk) {
    return vt_at(vt_params_at(params, buffer, chunk.entry), vt_dtype_size(params->dtype),
                 chunk.first);
}

#endif
