#define _GNU_SOURCE
#include "base/cpu.h"

#include <stddef.h>
#include <string.h>
#if defined(__linux__)
#include <sys/syscall.h>
#include <unistd.h>
#endif

static vt_isa selected = VT_ISA_NATIVE;
static bool amx;

const char *vt_isa_name(vt_isa isa) {
    static const char *const names[VT_ISA_COUNT] = {"ref", "avx2", "avx512", "native"};
    return names[isa];
}

#if defined(__x86_64__)

/* The compiler's builtin also asks whether the operating system saves the registers. */
/* clang-format off */
#define VT_CPU_FEATURES(X)                                                                   \
    X("avx2") X("fma") X("f16c") X("avx512f") X("avx512bw") X("avx512dq") X("avx512vl")      \
    X("avx512vbmi")                                                                          \
    X("avx512vnni") X("avx512bf16") X("avxvnni") X("amx-tile") X("amx-bf16") X("amx-int8")
/* clang-format on */

static char features[128];

__attribute__((constructor)) static void list_features(void) {
    __builtin_cpu_init();
#define VT_APPEND(name) \
    if (__builtin_cpu_supports(name)) strcat(strcat(features, *features ? " " : ""), name);
    VT_CPU_FEATURES(VT_APPEND)
#undef VT_APPEND
}

static bool has_avx2(void) {
    return __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
           __builtin_cpu_supports("f16c");
}

static bool has_avx512(void) {
    return has_avx2() && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
           __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
}

bool vt_cpu_has_bytes(void) {
    return has_avx512() && __builtin_cpu_supports("avx512vbmi") &&
           __builtin_cpu_supports("avx512vnni");
}

/* Linux lends the tile registers to a process that asks for them (since 5.16). */
static bool ask_for_amx(void) {
#if defined(__linux__)
    enum { ARCH_REQ_XCOMP_PERM = 0x1023, TILE_DATA = 18 };
    return __builtin_cpu_supports("amx-tile") && __builtin_cpu_supports("amx-bf16") &&
           __builtin_cpu_supports("amx-int8") &&
           syscall(SYS_arch_prctl, ARCH_REQ_XCOMP_PERM, TILE_DATA) == 0;
#else
    return false;
#endif
}

#else

static const char features[] = "";
static bool ask_for_amx(void) { return false; }
bool vt_cpu_has_bytes(void) { return false; }

static bool has_avx2(void) { return false; }
static bool has_avx512(void) { return false; }

#endif

bool vt_isa_available(vt_isa isa) {
    if (isa == VT_ISA_AVX2) return has_avx2();
    if (isa == VT_ISA_AVX512) return has_avx512();
    return isa == VT_ISA_REF || isa == VT_ISA_NATIVE;
}

vt_isa vt_isa_best(void) {
    return has_avx512() ? VT_ISA_AVX512 : has_avx2() ? VT_ISA_AVX2 : VT_ISA_REF;
}

vt_status vt_isa_select(const char *name, vt_error *error) {
    if (name == NULL || *name == '\0') name = "native";
    for (int isa = 0; isa < VT_ISA_COUNT; isa++) {
        if (strcmp(name, vt_isa_name((vt_isa)isa)) != 0) continue;
        if (!vt_isa_available((vt_isa)isa)) {
            return vt_fail(error, VT_VALUE,
                           "instruction set '%s' is not available on this CPU (%s)", name,
                           *features ? features : "no AVX2");
        }
        selected = (vt_isa)isa;
        amx = selected == VT_ISA_NATIVE && ask_for_amx();
        return VT_OK;
    }
    return vt_fail(error, VT_VALUE,
                   "instruction set '%s' is unknown, expected ref, avx2, avx512 or native", name);
}

bool vt_cpu_has_amx(void) { return amx; }

vt_isa vt_isa_selected(void) { return selected; }

const char *vt_cpu_features(void) { return features; }
