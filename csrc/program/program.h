/* A program: the flat list of plain operations that a model is, for one image size and option set.
 *
 * Values are numbered: the inputs first, then the output of each node in order. The batch is not
 * written anywhere: every value is that of one image. A program is immutable once it is checked. */
#ifndef VT_PROGRAM_PROGRAM_H
#define VT_PROGRAM_PROGRAM_H

#include "ops/op.h"

struct vt_program {
    int input_count, param_count, node_count, output_count;
    vt_shape *inputs; /* of the first values */
    vt_shape *params; /* of the whole parameter table */
    vt_node *nodes;
    vt_signature *signatures; /* of the nodes */
    int *outputs;             /* values */
};

/* The shape of a value. */
const vt_shape *vt_program_shape(const vt_program *program, int value);

/* VT_VALUE unless the entries of the table have the shapes and dtypes that the operations read. */
vt_status vt_program_check_params(const vt_program *program, const vt_params *params,
                                  vt_error *error);

#endif
