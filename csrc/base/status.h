/* Errors are values: every function of the core that can fail returns a vt_status and
 * writes one sentence into the caller's vt_error. Nothing here exits, aborts or prints. */
#ifndef VT_BASE_STATUS_H
#define VT_BASE_STATUS_H

typedef enum vt_status {
    VT_OK = 0,
    VT_VALUE,   /* an argument has the right type and a wrong value -> ValueError */
    VT_TYPE,    /* an argument has the wrong type or dtype          -> TypeError */
    VT_MEMORY,  /* an allocation failed                             -> MemoryError */
    VT_OS,      /* the operating system refused                     -> OSError */
    VT_MISUSE,  /* right by itself, but not now                     -> VitcError */
    VT_INTERNAL /* the core's own promise is broken                 -> VitcError */
} vt_status;

typedef struct vt_error {
    vt_status status;
    char message[512];
} vt_error;

/* Write the message (printf format) into `error` (may be NULL) and return `status`. */
vt_status vt_fail(vt_error *error, vt_status status, const char *format, ...)
    __attribute__((format(printf, 3, 4)));

/* Leave the function with the status of `expression` unless it is VT_OK. */
#define VT_TRY(expression) \
    do { \
        const vt_status vt_try_status_ = (expression); \
        if (vt_try_status_ != VT_OK) return vt_try_status_; \
    } while (0)

#endif
