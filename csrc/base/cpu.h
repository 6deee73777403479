/* Which instruction set the kernels may use. Decided once, when the extension is loaded. */
#ifndef VT_BASE_CPU_H
#define VT_BASE_CPU_H

#include <stdbool.h>

#include "base/status.h"

/* Levels in rising order: each includes the ones before it. */
typedef enum vt_isa {
    VT_ISA_REF,    /* plain C, and no oneDNN */
    VT_ISA_AVX2,   /* AVX2 + FMA + F16C; oneDNN capped to AVX2 */
    VT_ISA_AVX512, /* F, BW, DQ, VL; oneDNN capped to AVX512_CORE */
    VT_ISA_NATIVE, /* the AVX-512 kernels where they exist, oneDNN uncapped */
    VT_ISA_COUNT
} vt_isa;

/* "ref", "avx2", "avx512", "native": the values of VITC_ISA. */
const char *vt_isa_name(vt_isa isa);

/* True if this CPU (and its operating system) can run the level. REF and NATIVE always can. */
bool vt_isa_available(vt_isa isa);

/* The best level whose own kernels this CPU can run: REF, AVX2 or AVX512. */
vt_isa vt_isa_best(void);

/* Set the level by name; NULL or "" means "native". VT_VALUE names a level that is unknown, or that
 * this CPU lacks. To be called once, before any kernel or matmul is asked for. */
vt_status vt_isa_select(const char *name, vt_error *error);

vt_isa vt_isa_selected(void);

/* Whether the AVX-512 of this CPU can permute bytes. */
bool vt_cpu_has_bytes(void);

/* Whether the tile registers of AMX may be used, for bfloat16 and for int8: the processor has them
 * and the system has granted them to this process. */
bool vt_cpu_has_amx(void);

/* CPU features worth showing to a user, e.g. "avx2 fma avx512f avx512_vnni avx512_bf16". */
const char *vt_cpu_features(void);

#endif
