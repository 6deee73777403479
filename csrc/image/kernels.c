#include "image/kernels.h"

#include "base/cpu.h"

const vt_image_kernels *vt_image_kernels_now(void) {
    const vt_isa isa = vt_isa_selected();
    const vt_isa most = isa == VT_ISA_NATIVE ? vt_isa_best() : isa;
    if (most >= VT_ISA_AVX512 && vt_cpu_has_bytes()) return &vt_image_kernels_avx512;
    return most >= VT_ISA_AVX2 ? &vt_image_kernels_avx2 : &vt_image_kernels_ref;
}
