/* peak LEVEL PRECISION THREADS: what the processor can multiply, in billions of operations a
 * second.
 *
 *     cc -O2 -fopenmp -o peak benchmarks/peak.c && ./peak amx bf16 2
 *
 * Products whose operands stay in registers, at LEVEL (avx2, avx512, amx) and PRECISION (float32,
 * bf16, int8); a multiply-add is two operations. All threads at once, each the best of many bursts
 * by its own processor time, so that other programs matter little; their sum. Where a level or the
 * processor has no instruction for a precision, what products would use in its place is measured.
 */
#include <immintrin.h> /* of GCC >= 11, which knows tiles */
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { BURSTS = 300, PASSES = 100000 };

/* Runs PASSES passes and gives the operations of one. */
typedef int kernel(void);

/* Chains of dependent sums, enough to hide the latency of two units. text: what adds products of %1
 * to %0. */
#define VECTOR_KERNEL(name, isa, chains, type, text, operations) \
    __attribute__((target(isa))) static int name(void) { \
        const type a = {0}; \
        type sum[chains] = {a}; \
        for (int pass = 0; pass < PASSES; pass++) { \
            _Pragma("GCC unroll 24") for (int i = 0; i < (chains); i++) __asm__ volatile( \
                text : "+v"(sum[i]) : "v"(a) : "xmm15"); \
        } \
        return (chains) * (operations); \
    }

VECTOR_KERNEL(float32_avx2, "avx2,fma", 12, __m256, "vfmadd231ps %1, %1, %0", 16)
VECTOR_KERNEL(float32_avx512, "avx512f", 24, __m512, "vfmadd231ps %1, %1, %0", 32)
VECTOR_KERNEL(bf16_avx512, "avx512f,avx512bf16", 24, __m512, "vdpbf16ps %1, %1, %0", 64)
VECTOR_KERNEL(int8_avx512, "avx512f,avx512vnni", 24, __m512i, "vpdpbusd %1, %1, %0", 128)
/* Without VNNI: pairs to 16 bits, these to 32, and the sum. */
VECTOR_KERNEL(int8_avx2, "avx2", 12, __m256i,
              "vpmaddubsw %1, %1, %%ymm15; vpmaddwd %1, %%ymm15, %%ymm15; vpaddd %%ymm15, %0, %0",
              64)

#define AMX __attribute__((target("amx-tile,amx-bf16,amx-int8")))

/* Eight tiles of 16 rows of 64 bytes. */
AMX static void open_tiles(void) {
    struct {
        unsigned char palette, start, reserved[14];
        unsigned short columns[16];
        unsigned char rows[16];
    } form = {.palette = 1};
    for (int i = 0; i < 8; i++) form.columns[i] = 64, form.rows[i] = 16;
    __asm__ volatile("" : : "r"(&form) : "memory"); /* the intrinsic names 8 of its bytes only */
    _tile_loadconfig(&form);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
}

#define TILE_KERNEL(name, multiply, operations) \
    AMX static int name(void) { \
        open_tiles(); \
        for (int pass = 0; pass < PASSES; pass++) { \
            multiply(0, 4, 6); \
            multiply(1, 4, 7); \
            multiply(2, 5, 6); \
            multiply(3, 5, 7); \
        } \
        _tile_release(); \
        return 4 * (operations); \
    }

TILE_KERNEL(bf16_amx, _tile_dpbf16ps, 16 * 16 * 64)
TILE_KERNEL(int8_amx, _tile_dpbusd, 16 * 16 * 128)

/* The system lets a process use tiles once it has asked. */
static bool tiles_granted(void) {
    enum { ARCH_PRCTL = 158, REQUEST = 0x1023, TILE_DATA = 18 };
    long answer;
    __asm__ volatile("syscall"
                     : "=a"(answer)
                     : "a"(ARCH_PRCTL), "D"(REQUEST), "S"(TILE_DATA)
                     : "rcx", "r11", "memory");
    return answer == 0;
}

static kernel *kernel_of(const char *level, const char *precision) {
    const bool bf16 = strcmp(precision, "bf16") == 0, int8 = strcmp(precision, "int8") == 0;
    const bool amx = strcmp(level, "amx") == 0, avx512 = amx || strcmp(level, "avx512") == 0;
    if (amx && (bf16 || int8)) return !tiles_granted() ? NULL : bf16 ? bf16_amx : int8_amx;
    if (avx512 && bf16 && __builtin_cpu_supports("avx512bf16")) return bf16_avx512;
    if (avx512 && int8 && __builtin_cpu_supports("avx512vnni")) return int8_avx512;
    return int8 ? int8_avx2 : avx512 ? float32_avx512 : float32_avx2;
}

static double processor_time(void) {
    struct timespec now;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);
    return (double)now.tv_sec + 1e-9 * (double)now.tv_nsec;
}

int main(int count, char **words) {
    const int threads = count == 4 ? atoi(words[3]) : 0;
    kernel *run = threads > 0 ? kernel_of(words[1], words[2]) : NULL;
    if (run == NULL) return EXIT_FAILURE;
    double sum = 0;
#pragma omp parallel num_threads(threads) reduction(+ : sum)
    {
        double best = 0;
        for (int burst = 0; burst < BURSTS; burst++) {
            const double start = processor_time();
            const double operations = (double)PASSES * run();
            const double speed = operations / (processor_time() - start) / 1e9;
            if (speed > best) best = speed;
        }
        sum += best;
    }
    printf("%.0f\n", sum);
    return EXIT_SUCCESS;
}
