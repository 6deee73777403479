/* The plain C kernels in float. */
typedef float real;

#include "kernels/ref.inc"

const vt_kernels vt_kernels_ref_f32 = {.dtype = VT_F32, VT_KERNEL_SLOTS(VT_SLOT_PLAIN)};
