#define VT_REAL float
#define VT_PLAIN_DTYPE VT_F32
#define VT_PLAIN_ENGINE vt_engine_f32
#include "linalg/plain.inc"
