/* A program: the flat list of plain operations that a model is, for one image size and option set.
 *
 * Values are numbered: the inputs first, then the output of each node in order. The batch is not
 * written anywhere: every value is that of one image. A program is immutable once it is checked. */
#ifndef VT_PROGRAM_PROGRAM_H
#define VT_PROGRAM_PROGRAM_H

#include "ops/op.h"

typedef struct vt_program {
    int input_count, param_count, node_count, output_count;
    vt_shape *inputs; /* of the first values */
    vt_shape *params; /* of the whole parameter table */
    vt_node *nodes;
    vt_signature *signatures; /* of the nodes */
    int *outputs;             /* values */
} vt_program;

/* Copy and check a list that may come from anywhere: kinds (already resolved to vt_op), arities,
 * indices, shapes, attributes. VT_VALUE with a sentence that names the operation. A parameter may
 * be used by one operation only. nodes[i].shape is ignored and inferred. */
vt_status vt_program_open(vt_program **program, const vt_program *description, vt_error *error);
void vt_program_close(vt_program *program); /* NULL is allowed */

/* The shape of a value. */
const vt_shape *vt_program_shape(const vt_program *program, int value);

/* What the executor runs in place of the plain list. Without `training`, operations that are only
 * active in training go. With `fuse`, rows that no output depends on are not computed (when the
 * head reads the class token, the last block works on that row alone), nor are values that nobody
 * reads. */
vt_status vt_program_lower(vt_program **lowered, const vt_program *program, bool training,
                           bool fuse, vt_error *error);

#endif
