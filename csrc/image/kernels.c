/* The tables of the levels, and which one is in use. */
#include "image/kernels.h"

#include "image/tables.h"

VT_SLOT_TABLES(filled, vt_image_kernels, VT_IMAGE_SLOTS)

static filled tables[VT_LEVELS];

/* Those for AVX-512 need more than that level promises. */
__attribute__((constructor)) static void fill_all(void) {
    const vt_image_kernels *const sources[VT_LEVELS] = {
        &vt_image_kernels_ref, &vt_image_kernels_avx2,
        vt_cpu_has_bytes() ? &vt_image_kernels_avx512 : NULL};
    fill_tables(tables, sources);
}

static const filled *table_in_use(void) { return &tables[vt_table_level(vt_isa_selected())]; }

const vt_image_kernels *vt_image_kernels_now(void) { return &table_in_use()->kernels; }

const vt_image_kernels *vt_image_kernels_level(int isa) {
    if (isa < 0 || isa >= VT_ISA_COUNT || !vt_isa_available((vt_isa)isa)) return NULL;
    return &tables[vt_table_level((vt_isa)isa)].kernels;
}

const char *vt_image_slot_name(int index) {
    static const char *const names[] = {VT_IMAGE_SLOTS(VT_SLOT_NAME)};
    return index < VT_IMAGE_SLOT_COUNT ? names[index] : NULL;
}

const char *vt_image_slot_level(int index) { return vt_isa_name(table_in_use()->level[index]); }
