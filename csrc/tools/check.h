/* The least that a C test runner needs: count, print where it went wrong, and end with a line that
 * a machine can read. */
#ifndef VT_TOOLS_CHECK_H
#define VT_TOOLS_CHECK_H

#include <stdio.h>

static int vt_passed, vt_failed;

/* Count a check; print it with its place if it fails. */
#define VT_CHECK(condition)                                                \
    do {                                                                   \
        if (condition) {                                                   \
            vt_passed++;                                                   \
        } else {                                                           \
            vt_failed++;                                                   \
            printf("%s:%d: failed: %s\n", __FILE__, __LINE__, #condition); \
        }                                                                  \
    } while (0)

/* The last line of a runner, and its exit status. */
static inline int vt_check_summary(void) {
    printf("%d passed, %d failed\n", vt_passed, vt_failed);
    return vt_failed == 0 ? 0 : 1;
}

#endif
