#include "image/kernels.h"

#include "base/cpu.h"

static vt_isa level_now(void) {
    const vt_isa isa = vt_isa_selected();
    const vt_isa most = isa == VT_ISA_NATIVE ? vt_isa_best() : isa;
    return most == VT_ISA_AVX512 && !vt_cpu_has_bytes() ? VT_ISA_AVX2 : most;
}

const char *vt_image_kernels_level(void) { return vt_isa_name(level_now()); }

const vt_image_kernels *vt_image_kernels_now(void) {
    switch (level_now()) {
        case VT_ISA_AVX512: return &vt_image_kernels_avx512;
        case VT_ISA_AVX2: return &vt_image_kernels_avx2;
        default: return &vt_image_kernels_ref;
    }
}
