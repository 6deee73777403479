/* The plain C kernels in double. */
typedef double real;

#include "kernels/ref.inc"

const vt_kernels vt_kernels_ref_f64 = {.dtype = VT_F64, VT_KERNEL_SLOTS(VT_SLOT_PLAIN)};
