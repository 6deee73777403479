#define VT_REAL float
#define VT_PLAIN_RUN vt_plain_run_f32
#include "linalg/plain.inc"
