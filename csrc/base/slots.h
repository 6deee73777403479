/* Tables of kernels: a list of slots, and for each instruction set the functions that fill them.
 *
 * A list is a macro LIST(X) with an entry X(name, result, arguments) per kernel, and its table is a
 * struct with a pointer to a function per entry. Plain C has a kernel for every slot; the source of
 * an instruction set has NULL where it gains nothing over the level below. These sources are laid
 * over each other once, when the library is loaded, and the result is constant from then on. */
#ifndef VT_BASE_SLOTS_H
#define VT_BASE_SLOTS_H

#include <stddef.h>

#include "base/cpu.h"

/* The levels that have tables; NATIVE uses the best of them. */
enum { VT_LEVELS = VT_ISA_NATIVE };

static inline vt_isa vt_table_level(vt_isa isa) {
    return isa == VT_ISA_NATIVE ? vt_isa_best() : isa;
}

/* What an entry becomes: a member of the table, the initialiser of that member by the function of
 * the same name, 1, and the name as a string. */
#define VT_SLOT_MEMBER(name, result, arguments) result(*name) arguments;
#define VT_SLOT_PLAIN(name, result, arguments) .name = name,
#define VT_SLOT_COUNT(name, result, arguments) +1
#define VT_SLOT_NAME(name, result, arguments) #name,

/* What an entry becomes in VT_SLOT_TABLES: the kernel of `from`, if it has one, replaces that of
 * `to`, and `level` notes it. */
#define VT_SLOT_OVER(name, result, arguments) \
    if (from->name != NULL) to->name = from->name, *level = isa; \
    level++;

/* Defines the type `filled`, a table and the level of the kernel in each of its slots, and
 * fill_tables(), which fills one per level from the sources of the levels, from the lowest up. NULL
 * is a source without kernels. */
#define VT_SLOT_TABLES(filled, table, LIST) \
    typedef struct filled { \
        table kernels; \
        vt_isa level[0 LIST(VT_SLOT_COUNT)]; \
    } filled; \
\
    static void lay_over(table *to, vt_isa *level, const table *from, vt_isa isa) { \
        LIST(VT_SLOT_OVER) \
    } \
\
    static void fill_tables(filled *tables, const table *const sources[VT_LEVELS]) { \
        for (int isa = 0; isa < VT_LEVELS; isa++) { \
            filled *to = &tables[isa]; \
            if (isa > 0) *to = tables[isa - 1]; \
            if (sources[isa] == NULL) continue; \
            lay_over(&to->kernels, to->level, sources[isa], (vt_isa)isa); \
        } \
    }

#endif
