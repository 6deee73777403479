#include "base/machine.h"

#include "base/cpu.h"

#include <stdbool.h>
#include <stdio.h>
#include <string.h>

/* Strips of some units: what a product reads of its weight, mostly from the third-level cache, then
 * serves more rows (benchmarks/results/tiles.md). Panels and blocks are one unit, made for a
 * second-level cache of 1 MB. */
#define BUILT_IN {256, 1, 1}

/* Of one thread of servers of the last years, both threads of two at work
 * (benchmarks/results/tiles.md). Speeds are those of AVX-512. */
static vt_machine machine = {
    .tile = {BUILT_IN, BUILT_IN, BUILT_IN, BUILT_IN},
    .pace = {[VT_PACE_F32] = 90000,
             [VT_PACE_BF16] = 180000,
             [VT_PACE_INT8] = 350000,
             [VT_PACE_F64] = 3000,
             [VT_PACE_MEMORY] = 8000,
             [VT_PACE_BARRIER] = 4000,
             [VT_PACE_CACHE] = 1 << 20},
    .source = "built in",
};

const char *vt_precision_name(vt_precision precision) {
    static const char *const names[VT_PRECISION_COUNT] = {"float32", "bfloat16", "int8", "float64"};
    return names[precision];
}

const char *vt_tile_size_name(vt_tile_size size) {
    static const char *const names[VT_TILE_SIZE_COUNT] = {"rows", "panel", "block"};
    return names[size];
}

const char *vt_pace_name(vt_pace pace) {
    static const char *const names[VT_PACE_COUNT] = {
        "float32.speed", "bfloat16.speed", "int8.speed", "float64.speed",
        "memory",        "barrier",        "cache"};
    return names[pace];
}

const vt_machine *vt_machine_selected(void) { return &machine; }

/* ---------------------------------------------------------------- what the system says */

/* The file `name` of cache number `index` of the first processor, or NULL. */
static FILE *open_cache(int index, const char *name) {
    char path[96];
    snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu0/cache/index%d/%s", index, name);
    return fopen(path, "r");
}

/* Its first word. */
static bool read_word(int index, const char *name, char word[16]) {
    FILE *file = open_cache(index, name);
    if (file == NULL) return false;
    const bool found = fscanf(file, "%15s", word) == 1;
    fclose(file);
    return found;
}

static bool read_number(int index, const char *name, int64_t *number) {
    FILE *file = open_cache(index, name);
    if (file == NULL) return false;
    long long found = 0;
    const bool whole = fscanf(file, "%9lld", &found) == 1;
    fclose(file);
    *number = found;
    return whole;
}

/* Sizes are given in KiB. Instruction caches are skipped. */
static void find_caches(int64_t cache[VT_CACHE_COUNT]) {
    enum { MOST = 8 };
    for (int i = 0; i < MOST; i++) {
        char type[16];
        int64_t level, kib;
        if (!read_word(i, "type", type) || strcmp(type, "Instruction") == 0) continue;
        if (!read_number(i, "level", &level) || !read_number(i, "size", &kib)) continue;
        if (level >= 1 && level <= VT_CACHE_COUNT && kib > 0) cache[level - 1] = kib * 1024;
    }
}

/* ---------------------------------------------------------------- a file */

enum { LINE = 128 };

/* The position of a reader in the file. */
typedef struct reader {
    const char *path;
    int line;
    vt_machine *machine;
    const int64_t *given[VT_PRECISION_COUNT * VT_TILE_SIZE_COUNT + VT_PACE_COUNT];
    int given_count;
} reader;

static bool is_space(char c) { return c == ' ' || c == '\t' || c == '\r' || c == '\n'; }

/* The text without spaces around it. Writes into it. */
static char *trimmed(char *text) {
    while (is_space(*text)) text++;
    size_t length = strlen(text);
    while (length > 0 && is_space(text[length - 1])) text[--length] = '\0';
    return text;
}

static int64_t *find_tile_size(reader *r, const char *key) {
    for (int p = 0; p < VT_PRECISION_COUNT; p++) {
        for (int s = 0; s < VT_TILE_SIZE_COUNT; s++) {
            char name[LINE];
            snprintf(name, sizeof name, "%s.%s", vt_precision_name((vt_precision)p),
                     vt_tile_size_name((vt_tile_size)s));
            if (strcmp(key, name) == 0) return &r->machine->tile[p][s];
        }
    }
    return NULL;
}

static int64_t *find_pace(reader *r, const char *key) {
    for (int i = 0; i < VT_PACE_COUNT; i++) {
        if (strcmp(key, vt_pace_name((vt_pace)i)) == 0) return &r->machine->pace[i];
    }
    return NULL;
}

/* Whether this number was given before; from now on it was. */
static bool given_twice(reader *r, const int64_t *number) {
    for (int i = 0; i < r->given_count; i++) {
        if (r->given[i] == number) return true;
    }
    r->given[r->given_count++] = number;
    return false;
}

/* A decimal integer from 1 to `most`. */
static bool parse_number(const char *text, int64_t most, int64_t *number) {
    *number = 0;
    for (const char *c = text; *c != '\0'; c++) {
        if (*c < '0' || *c > '9') return false;
        *number = *number * 10 + (*c - '0');
        if (*number > most) return false;
    }
    return *number >= 1;
}

static vt_status set_size(reader *r, const char *key, const char *value, vt_error *error) {
    int64_t *number = find_tile_size(r, key);
    const int most = number != NULL ? VT_MOST_TILE_SIZE : VT_MOST_PACE;
    if (number == NULL) number = find_pace(r, key);
    if (number == NULL) {
        return vt_fail(error, VT_VALUE,
                       "%s, line %d: key '%s' is unknown, expected a precision (float32, bfloat16, "
                       "int8, float64) and a size (rows, panel, block, speed), as in float32.rows; "
                       "or memory, barrier or cache",
                       r->path, r->line, key);
    }
    if (given_twice(r, number)) {
        return vt_fail(error, VT_VALUE, "%s, line %d: %s is given twice", r->path, r->line, key);
    }
    if (!parse_number(value, most, number)) {
        return vt_fail(error, VT_VALUE, "%s, line %d: %s is '%s', expected a number from 1 to %d",
                       r->path, r->line, key, value, most);
    }
    return VT_OK;
}

static vt_status read_line(reader *r, char *text, vt_error *error) {
    char *key = trimmed(text), *equals = strchr(key, '=');
    if (*key == '\0' || *key == '#') return VT_OK;
    if (equals == NULL) {
        return vt_fail(error, VT_VALUE, "%s, line %d: '%s' is not of the form key = value", r->path,
                       r->line, key);
    }
    *equals = '\0';
    return set_size(r, trimmed(key), trimmed(equals + 1), error);
}

static vt_status read_lines(FILE *file, reader *r, vt_error *error) {
    enum { MOST = 1000 };
    char text[LINE];
    while (fgets(text, sizeof text, file) != NULL) {
        if (++r->line > MOST) {
            return vt_fail(error, VT_VALUE, "%s has more than %d lines", r->path, MOST);
        }
        if (strchr(text, '\n') == NULL && !feof(file)) {
            return vt_fail(error, VT_VALUE,
                           "%s, line %d is longer than %d characters or holds a zero byte", r->path,
                           r->line, LINE - 2);
        }
        VT_TRY(read_line(r, text, error));
    }
    return ferror(file) ? vt_fail(error, VT_OS, "%s could not be read", r->path) : VT_OK;
}

static vt_status read_file(vt_machine *m, const char *path, vt_error *error) {
    if (strlen(path) >= sizeof m->source) {
        return vt_fail(error, VT_VALUE, "the path in VITC_MACHINE is longer than %zu characters",
                       sizeof m->source - 1);
    }
    FILE *file = fopen(path, "r");
    if (file == NULL) {
        return vt_fail(error, VT_OS, "VITC_MACHINE names %s, which cannot be opened", path);
    }
    reader r = {.path = path, .machine = m};
    const vt_status status = read_lines(file, &r, error);
    fclose(file);
    snprintf(m->source, sizeof m->source, "%s", path);
    return status;
}

vt_status vt_machine_select(const char *file, vt_error *error) {
    vt_machine found = machine;
    find_caches(found.cache);
    if (found.cache[1] > 0) found.pace[VT_PACE_CACHE] = found.cache[1];
    if (vt_cpu_has_amx()) {
        found.pace[VT_PACE_BF16] = 800000;
        found.pace[VT_PACE_INT8] = 1500000;
    }
    if (file != NULL && *file != '\0') VT_TRY(read_file(&found, file, error));
    machine = found;
    return VT_OK;
}
