/* Packed weights of inference. They belong to the table that they are made from, so that all plans
 * over it share them: a model that runs several programs, for parts of it or for several sizes of
 * images, holds one copy.
 *
 * A weight that was packed is there twice. Nobody reads its own bytes any more, as a rule: then
 * they *rest*, which means that their memory is given back, and come back from the packed copy when
 * somebody asks. That is exact: it is tried each time before they go. Bytes stay if their address
 * was told to anybody, if a plan reads them as they are, and if the table is trained. */
#ifndef VT_PARAMS_PACKS_H
#define VT_PARAMS_PACKS_H

#include "params/params.h"

/* What decides the bytes of a packed weight, besides the values. */
typedef struct vt_pack_key {
    const vt_op *op;           /* who packs, */
    int params[VT_MAX_PARAMS]; /* from which entries, */
    const void *packer;        /* and for which products: vt_tiles_packer */
    bool bf16;
    size_t bytes;
} vt_pack_key;

struct vt_pack {
    vt_pack_key key;
    vt_pack *next;
    int users; /* plans */
    void *data;
    uint64_t version;  /* of the values that it was made from; 0: not yet */
    vt_matmul *matmul; /* unpacks the weight, which is the first parameter; NULL: nothing does */
    size_t front;      /* where that is in `data` */
};

/* The pack of this key, room for one if there is none. To be given back with vt_pack_release; who
 * does so last frees it. tiles: what it is packed for, `front` bytes from its beginning. */
vt_status vt_pack_hold(vt_pack **pack, vt_params *params, const vt_pack_key *key,
                       const vt_tiles *tiles, size_t front, vt_error *error);
void vt_pack_release(vt_params *params, vt_pack *pack);

/* Frees what is left. */
void vt_packs_close(vt_params *params);

/* A plan reads the entry's own bytes from now on, or (count -1) does so no more. */
vt_status vt_entry_read(vt_params *params, int index, int count, vt_error *error);

/* For who has params->packing alone: bring the entry's bytes back, if they rest; and let those
 * of what was packed just now rest, if they may. */
vt_status vt_entry_wake(vt_params *params, int index, vt_error *error);
vt_status vt_params_wake(vt_params *params, vt_error *error); /* of all of them */
void vt_pack_rest(vt_params *params, vt_pack *pack);

/* All bytes come back, and stay. */
vt_status vt_params_stay(vt_params *params, vt_error *error);

#endif
