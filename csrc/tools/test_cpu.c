/* base/cpu.c on processors that this machine is not: the question to the processor is answered
 * here. That is the only way to see a level refused where every level is available. */
#include <stdbool.h>
#include <string.h>

static const char *pretended; /* the features of the pretended processor, each between blanks */

static inline int pretend(const char *feature) {
    char padded[32] = " ";
    strcat(strcat(padded, feature), " ");
    return pretended != NULL && strstr(pretended, padded) != NULL;
}

#define __builtin_cpu_init() ((void)0)
#define __builtin_cpu_supports(feature) pretend(feature)
#include "base/cpu.c"
#include "tools/check.h"

typedef struct processor {
    const char *features;
    vt_isa best;
    bool avx2, avx512;
} processor;

static const processor processors[] = {
    {"", VT_ISA_REF, false, false},
    {" avx2 ", VT_ISA_REF, false, false}, /* half a level is none */
    {" avx2 fma f16c ", VT_ISA_AVX2, true, false},
    {" avx2 fma f16c avx512f ", VT_ISA_AVX2, true, false},
    {" avx512f avx512bw avx512dq avx512vl ", VT_ISA_REF, false, false},
    {" avx2 fma f16c avx512f avx512bw avx512dq avx512vl ", VT_ISA_AVX512, true, true},
};

/* Selecting a level succeeds and is seen, or names the level and changes nothing. */
static void check_level(const char *name, vt_isa isa, bool available) {
    vt_error error = {VT_OK, ""};
    VT_CHECK(vt_isa_select("ref", NULL) == VT_OK);
    const vt_status status = vt_isa_select(name, &error);
    VT_CHECK(vt_isa_available(isa) == available);
    VT_CHECK(status == (available ? VT_OK : VT_VALUE));
    VT_CHECK(vt_isa_selected() == (available ? isa : VT_ISA_REF));
    VT_CHECK(available || strstr(error.message, name) != NULL);
    VT_CHECK(available || strstr(error.message, "not available on this CPU") != NULL);
}

static void check_processor(const processor *p) {
    pretended = p->features;
    VT_CHECK(vt_isa_best() == p->best);
    check_level("ref", VT_ISA_REF, true);
    check_level("avx2", VT_ISA_AVX2, p->avx2);
    check_level("avx512", VT_ISA_AVX512, p->avx512);
    check_level("native", VT_ISA_NATIVE, true);
}

static void check_words(void) {
    vt_error error = {VT_OK, ""};
    VT_CHECK(vt_isa_select(NULL, &error) == VT_OK && vt_isa_selected() == VT_ISA_NATIVE);
    VT_CHECK(vt_isa_select("", &error) == VT_OK && vt_isa_selected() == VT_ISA_NATIVE);
    VT_CHECK(vt_isa_select("AVX2", &error) == VT_VALUE);
    VT_CHECK(strstr(error.message, "'AVX2' is unknown, expected ref, avx2, avx512 or native"));
}

int main(void) {
    for (size_t i = 0; i < sizeof processors / sizeof *processors; i++) {
        check_processor(&processors[i]);
    }
    check_words();
    return vt_check_summary();
}
