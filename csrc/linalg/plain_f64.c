#define VT_REAL double
#define VT_PLAIN_DTYPE VT_F64
#define VT_PLAIN_ENGINE vt_engine_f64
#include "linalg/plain.inc"
