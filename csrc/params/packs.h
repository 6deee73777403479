/* Packed weights of inference. They belong to the table that they are made from, so that all plans
 * over it share them: a model that runs several programs, for parts of it or for several sizes of
 * images, holds one copy. */
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
    uint64_t version; /* of the values that it was made from; 0: not yet */
};

/* The pack of this key, room for one if there is none. To be given back with vt_pack_release; who
 * does so last frees it. */
vt_status vt_pack_hold(vt_pack **pack, vt_params *params, const vt_pack_key *key, vt_error *error);
void vt_pack_release(vt_params *params, vt_pack *pack);

#endif
