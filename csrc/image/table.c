/* The table of operations. */
#include <string.h>

#include "image/operations.h"

#define VT_LIST_OP(name) &vt_image_op_##name,
static const vt_image_op *const ops[] = {VT_IMAGE_OPERATIONS(VT_LIST_OP) NULL};
#undef VT_LIST_OP

const vt_image_op *vt_image_find(const char *name) {
    for (const vt_image_op *const *op = ops; *op != NULL; op++) {
        if (strcmp((*op)->name, name) == 0) return *op;
    }
    return NULL;
}
