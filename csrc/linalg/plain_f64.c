#define VT_REAL double
#define VT_PLAIN_RUN vt_plain_run_f64
#include "linalg/plain.inc"
