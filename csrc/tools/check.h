/* The least that a C test runner needs: count, print what went wrong, and end with a line that a
 * machine can read. */
#ifndef VT_TOOLS_CHECK_H
#define VT_TOOLS_CHECK_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>

static int vt_passed, vt_failed;
static int vt_failed_in_group; /* a runner with groups sets it to 0 at the head of each */

/* Count a check; print the message (printf format) of one that fails, the first few of a group. */
static inline void vt_check(bool good, const char *format, ...)
    __attribute__((format(printf, 2, 3)));
static inline void vt_check(bool good, const char *format, ...) {
    enum { SHOWN = 5 };
    vt_passed += good;
    vt_failed += !good;
    if (good || ++vt_failed_in_group > SHOWN) return;
    va_list arguments;
    va_start(arguments, format);
    printf("  FAILED: ");
    vprintf(format, arguments);
    printf("\n");
    va_end(arguments);
}

/* The same, with the condition itself and its line as the message. */
#define VT_CHECK(condition) vt_check(condition, "%s:%d: %s", __FILE__, __LINE__, #condition)

/* The last line of a runner, and its exit status. */
static inline int vt_check_summary(void) {
    printf("%d passed, %d failed\n", vt_passed, vt_failed);
    return vt_failed == 0 ? 0 : 1;
}

#endif
