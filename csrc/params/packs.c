#include "params/packs.h"

#include <string.h>

#include "base/memory.h"

static bool same(const vt_pack_key *x, const vt_pack_key *y) {
    return x->op == y->op && memcmp(x->params, y->params, sizeof x->params) == 0 &&
           x->packer == y->packer && x->bf16 == y->bf16 && x->bytes == y->bytes;
}

/* ---------------------------------------------------------------- what is shared */

static void destroy(vt_pack *pack) {
    vt_matmul_close(pack->matmul);
    vt_free(pack->data);
    vt_free(pack);
}

static vt_status make(vt_pack **out, const vt_pack_key *key, const vt_tiles *tiles, size_t front,
                      vt_error *error) {
    vt_pack *pack;
    VT_TRY(VT_NEW(&pack, 1, error));
    pack->key = *key;
    pack->front = front;
    const vt_status status = vt_alloc(&pack->data, key->bytes, error);
    if (status != VT_OK) {
        destroy(pack);
        return status;
    }
    if (vt_tiles_packed_bytes(tiles) > 0) pack->matmul = vt_tiles_share(tiles);
    *out = pack;
    return VT_OK;
}

static vt_pack *find(const vt_params *params, const vt_pack_key *key) {
    vt_pack *pack = params->packs;
    while (pack != NULL && !same(&pack->key, key)) pack = pack->next;
    return pack;
}

static vt_status find_or_make(vt_pack **out, vt_params *params, const vt_pack_key *key,
                              const vt_tiles *tiles, size_t front, vt_error *error) {
    *out = find(params, key);
    if (*out != NULL) return VT_OK;
    VT_TRY(make(out, key, tiles, front, error));
    (*out)->next = params->packs;
    params->packs = *out;
    return VT_OK;
}

vt_status vt_pack_hold(vt_pack **pack, vt_params *params, const vt_pack_key *key,
                       const vt_tiles *tiles, size_t front, vt_error *error) {
    vt_lock_alone(&params->packing);
    const vt_status status = find_or_make(pack, params, key, tiles, front, error);
    if (status == VT_OK) (*pack)->users++;
    vt_unlock(&params->packing);
    return status;
}

static vt_entry *weight_of(vt_params *params, const vt_pack *pack) {
    return &params->entries[pack->key.params[0]];
}

/* What rests in a pack needs it: if it cannot come back just now, the pack stays. */
static bool may_go(vt_params *params, const vt_pack *pack) {
    if (pack->users > 0) return false;
    if (weight_of(params, pack)->source != pack) return true;
    return vt_entry_wake(params, pack->key.params[0], NULL) == VT_OK;
}

void vt_pack_release(vt_params *params, vt_pack *pack) {
    if (pack == NULL) return;
    vt_lock_alone(&params->packing);
    pack->users--;
    const bool last = may_go(params, pack);
    for (vt_pack **link = &params->packs; last && *link != NULL; link = &(*link)->next) {
        if (*link != pack) continue;
        *link = pack->next;
        break;
    }
    vt_unlock(&params->packing);
    if (last) destroy(pack);
}

void vt_packs_close(vt_params *params) {
    while (params->packs != NULL) {
        vt_pack *pack = params->packs;
        params->packs = pack->next;
        destroy(pack);
    }
}

/* ---------------------------------------------------------------- what rests */

enum { LEAST = 16 << 10 }; /* bytes of a weight whose pages are worth the trouble */

static size_t entry_bytes(const vt_entry *entry) {
    return (size_t)entry->elements * vt_dtype_size(entry->dtype);
}

static void *values_of(const vt_params *params, int index) {
    return vt_params_at(params, params->data, index);
}

static vt_status unpack(const vt_pack *pack, void *values, vt_error *error) {
    return vt_matmul_unpack(pack->matmul, values, (const char *)pack->data + pack->front, error);
}

vt_status vt_entry_wake(vt_params *params, int index, vt_error *error) {
    vt_entry *entry = &params->entries[index];
    if (entry->source == NULL) return VT_OK;
    VT_TRY(unpack(entry->source, values_of(params, index), error));
    entry->source = NULL;
    return VT_OK;
}

vt_status vt_params_wake(vt_params *params, vt_error *error) {
    for (int i = 0; i < params->count; i++) VT_TRY(vt_entry_wake(params, i, error));
    return VT_OK;
}

/* Whether a weight comes back to the bit. */
static bool comes_back(const vt_params *params, const vt_pack *pack) {
    const int index = pack->key.params[0];
    const size_t bytes = entry_bytes(&params->entries[index]);
    void *copy;
    if (vt_alloc(&copy, bytes, NULL) != VT_OK) return false;
    const bool good =
        unpack(pack, copy, NULL) == VT_OK && memcmp(copy, values_of(params, index), bytes) == 0;
    vt_free(copy);
    return good;
}

void vt_pack_rest(vt_params *params, vt_pack *pack) {
    vt_entry *entry = weight_of(params, pack);
    if (pack->matmul == NULL || entry->readers > 0 || entry_bytes(entry) < LEAST) return;
    if (entry->exposed || params->stays || !comes_back(params, pack)) return;
    if (vt_memory_drop(values_of(params, pack->key.params[0]), entry_bytes(entry))) {
        entry->source = pack;
    }
}

vt_status vt_entry_read(vt_params *params, int index, int count, vt_error *error) {
    vt_lock_alone(&params->packing);
    const vt_status status = count > 0 ? vt_entry_wake(params, index, error) : VT_OK;
    if (status == VT_OK) params->entries[index].readers += count;
    vt_unlock(&params->packing);
    return status;
}

/* The flag first: who lets an entry rest looks at it while he has the lock. */
vt_status vt_params_stay(vt_params *params, vt_error *error) {
    params->stays = true;
    vt_lock_alone(&params->packing);
    const vt_status status = vt_params_wake(params, error);
    vt_unlock(&params->packing);
    return status;
}

vt_status vt_params_expose(vt_params *params, int index, void **values, vt_error *error) {
    vt_entry *entry = &params->entries[index];
    *values = values_of(params, index);
    if (entry->exposed) return VT_OK;
    vt_lock_alone(&params->packing);
    const vt_status status = vt_entry_wake(params, index, error);
    if (status == VT_OK) entry->exposed = true;
    vt_unlock(&params->packing);
    return status;
}

size_t vt_params_resting_bytes(vt_params *params) {
    size_t bytes = 0;
    vt_lock_alone(&params->packing);
    for (int i = 0; i < params->count; i++) {
        const vt_entry *entry = &params->entries[i];
        if (entry->source != NULL) bytes += entry_bytes(entry);
    }
    vt_unlock(&params->packing);
    return bytes;
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
