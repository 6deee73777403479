/* The tables of the levels, and which one is in use. */
#include "base/slots.h"
#include "kernels/tables.h"

VT_SLOT_TABLES(filled, vt_kernels, VT_KERNEL_SLOTS)

static filled tables[VT_DTYPE_COUNT][VT_LEVELS];

__attribute__((constructor)) static void fill_all(void) {
    static const vt_kernels *const sources[VT_DTYPE_COUNT][VT_LEVELS] = {
        [VT_F32] = {&vt_kernels_ref_f32, &vt_kernels_avx2_f32, &vt_kernels_avx512_f32},
        [VT_F64] = {&vt_kernels_ref_f64, NULL, NULL},
    };
    for (int dtype = 0; dtype < VT_DTYPE_COUNT; dtype++) {
        tables[dtype][VT_ISA_REF].kernels.dtype = (vt_dtype)dtype;
        fill_tables(tables[dtype], sources[dtype]);
    }
}

static const filled *table_in_use(vt_dtype dtype) {
    return &tables[dtype][vt_table_level(vt_isa_selected())];
}

const vt_kernels *vt_kernels_get(vt_dtype dtype) { return &table_in_use(dtype)->kernels; }

const vt_kernels *vt_kernels_level(vt_dtype dtype, int isa) {
    if (isa < 0 || isa >= VT_ISA_COUNT || !vt_isa_available((vt_isa)isa)) return NULL;
    return &tables[dtype][vt_table_level((vt_isa)isa)].kernels;
}

const char *vt_kernel_slot_name(int index) {
    static const char *const names[] = {VT_KERNEL_SLOTS(VT_SLOT_NAME)};
    return index < VT_KERNEL_SLOT_COUNT ? names[index] : NULL;
}

const char *vt_kernel_slot_level(vt_dtype dtype, int index) {
    return vt_isa_name(table_in_use(dtype)->level[index]);
}
