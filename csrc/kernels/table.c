/* Lays the tables of the instruction sets over the plain C one, and picks. */
#include "base/cpu.h"
#include "kernels/tables.h"

/* From the lowest level up; NULL: no own kernels. */
static const vt_kernels *const source[VT_DTYPE_COUNT][VT_ISA_NATIVE] = {
    [VT_F32] = {&vt_kernels_ref_f32, &vt_kernels_avx2_f32, &vt_kernels_avx512_f32},
    [VT_F64] = {&vt_kernels_ref_f64, NULL, NULL},
};

/* Filled when the library is loaded, and constant from then on. */
static vt_kernels table[VT_DTYPE_COUNT][VT_ISA_NATIVE];
static vt_isa slot_level[VT_DTYPE_COUNT][VT_ISA_NATIVE][VT_KERNEL_SLOT_COUNT];

/* Replace the slots for which `from` has a kernel. */
static void lay_over(vt_kernels *to, vt_isa *level, const vt_kernels *from, vt_isa isa) {
    int slot = 0;
#define VT_REPLACE_SLOT(name, result, arguments) \
    if (from->name != NULL) to->name = from->name, level[slot] = isa; \
    slot++;
    VT_KERNEL_SLOTS(VT_REPLACE_SLOT)
#undef VT_REPLACE_SLOT
}

__attribute__((constructor)) static void fill_tables(void) {
    for (int dtype = 0; dtype < VT_DTYPE_COUNT; dtype++) {
        for (int isa = 0; isa < VT_ISA_NATIVE; isa++) {
            table[dtype][isa].dtype = (vt_dtype)dtype;
            for (int below = 0; below <= isa; below++) {
                const vt_kernels *from = source[dtype][below];
                if (from == NULL) continue;
                lay_over(&table[dtype][isa], slot_level[dtype][isa], from, (vt_isa)below);
            }
        }
    }
}

/* The level whose table stands for `isa`. */
static vt_isa own_level(vt_isa isa) { return isa == VT_ISA_NATIVE ? vt_isa_best() : isa; }

const vt_kernels *vt_kernels_level(vt_dtype dtype, int isa) {
    if (isa < 0 || isa >= VT_ISA_COUNT || !vt_isa_available((vt_isa)isa)) return NULL;
    return &table[dtype][own_level((vt_isa)isa)];
}

const vt_kernels *vt_kernels_get(vt_dtype dtype) {
    return &table[dtype][own_level(vt_isa_selected())];
}

const char *vt_kernel_slot_name(int index) {
    static const char *const names[] = {
#define VT_NAME_SLOT(name, result, arguments) #name,
        VT_KERNEL_SLOTS(VT_NAME_SLOT)
#undef VT_NAME_SLOT
    };
    return names[index];
}

const char *vt_kernel_slot_level(vt_dtype dtype, int index) {
    return vt_isa_name(slot_level[dtype][own_level(vt_isa_selected())][index]);
}
