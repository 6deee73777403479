/* The kernels in plain C. */
#include "image/plain.inc"
#include "image/tables.h"

static void plan_down(void *plan, const vt_taps *taps) { (void)plan, (void)taps; }

const vt_image_kernels vt_image_kernels_ref = {VT_IMAGE_SLOTS(VT_SLOT_PLAIN)};
