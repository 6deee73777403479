#include "base/status.h"

#include <stdarg.h>
#include <stdio.h>

vt_status vt_fail(vt_error *error, vt_status status, const char *format, ...) {
    if (error == NULL) return status;
    error->status = status;
    va_list arguments;
    va_start(arguments, format);
    vsnprintf(error->message, sizeof error->message, format, arguments);
    va_end(arguments);
    return status;
}
