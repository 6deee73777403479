#include "params/packs.h"

#include <string.h>

#include "base/memory.h"

static bool same(const vt_pack_key *x, const vt_pack_key *y) {
    return x->op == y->op && memcmp(x->params, y->params, sizeof x->params) == 0 &&
           x->packer == y->packer && x->bf16 == y->bf16 && x->bytes == y->bytes;
}

static vt_status make(vt_pack **out, const vt_pack_key *key, vt_error *error) {
    vt_pack *pack;
    VT_TRY(VT_NEW(&pack, 1, error));
    pack->key = *key;
    const vt_status status = vt_alloc(&pack->data, key->bytes, error);
    if (status == VT_OK) {
        *out = pack;
    } else {
        vt_free(pack);
    }
    return status;
}

static vt_status find_or_make(vt_pack **out, vt_params *params, const vt_pack_key *key,
                              vt_error *error) {
    for (vt_pack *pack = params->packs; pack != NULL; pack = pack->next) {
        if (!same(&pack->key, key)) continue;
        *out = pack;
        return VT_OK;
    }
    VT_TRY(make(out, key, error));
    (*out)->next = params->packs;
    params->packs = *out;
    return VT_OK;
}

vt_status vt_pack_hold(vt_pack **pack, vt_params *params, const vt_pack_key *key, vt_error *error) {
    *pack = NULL;
    vt_lock_alone(&params->packing);
    const vt_status status = find_or_make(pack, params, key, error);
    if (status == VT_OK) (*pack)->users++;
    vt_unlock(&params->packing);
    return status;
}

void vt_pack_release(vt_params *params, vt_pack *pack) {
    if (pack == NULL) return;
    vt_lock_alone(&params->packing);
    const bool last = --pack->users == 0;
    for (vt_pack **link = &params->packs; last && *link != NULL; link = &(*link)->next) {
        if (*link != pack) continue;
        *link = pack->next;
        break;
    }
    vt_unlock(&params->packing);
    if (!last) return;
    vt_free(pack->data);
    vt_free(pack);
}

size_t vt_params_packed_bytes(vt_params *params) {
    size_t bytes = 0;
    vt_lock_alone(&params->packing);
    for (const vt_pack *pack = params->packs; pack != NULL; pack = pack->next) {
        bytes += pack->key.bytes;
    }
    vt_unlock(&params->packing);
    return bytes;
}
