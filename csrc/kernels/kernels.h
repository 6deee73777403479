/* The contract between the operations and the arithmetic: one table of functions per element type.
 *
 * A kernel works on a range of rows, is pure (no allocation, no error, no lock, no thread, no
 * Python) and leaves the same bits for the same arguments. Each exists in plain C, written once
 * with `real` and built for float and double (ref.inc); the SIMD tables start as a copy of the
 * float one and replace slots (simd.inc, built once per instruction set). The plain one is the
 * oracle of the tests.
 *
 * Arrays are given as void and hold elements of the table's dtype. Outputs come first, then inputs,
 * then sizes. A matrix is row-major and dense unless it has a leading dimension. Outputs may be the
 * same array as an input where the comment says "in place"; else they do not overlap.
 *
 * `base`: gradients are summed where they arise. A backward kernel writes dx = base + contribution;
 * base may be NULL (nothing to add) or dx itself. */
#ifndef VT_KERNELS_KERNELS_H
#define VT_KERNELS_KERNELS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/dtype.h"
#include "base/rng.h"
#include "base/slots.h"
#include "kernels/api.h"

/* Where the elements of a dropout mask are drawn. */
typedef struct vt_dropout {
    vt_rng_key key;
    uint64_t image; /* its number in the global batch */
    uint32_t site;
    int64_t
        offset;  /* index of the first element within the image; a multiple of 4 is not required */
    double keep; /* probability of keeping an element; the kept ones are multiplied by 1 / keep */
} vt_dropout;

/* X(name, result, arguments) */
/* clang-format off */
#define VT_KERNEL_SLOTS(X)                                                                          \
    /* Layer normalisation (Ba et al. 2016; torch.nn.functional.layer_norm).                        \
     * y[r,c] = (x[r,c] - mean[r]) / sqrt(var[r] + eps) * w[c] + b[c], biased variance, two passes. \
     * In place. */                                                                                 \
    X(norm_forward, void,                                                                           \
      (void *y, const void *x, const void *w, const void *b, double eps, int64_t rows, int64_t cols)) \
    /* dx[r,c] = base[r,c] + rstd[r] * (u - mean_c(u) - xh * mean_c(u * xh)), u = dy * w,            \
     * xh = (x - mean) * rstd; dw[c] = sum_r dy * xh, db[c] = sum_r dy (over these rows, written, not  \
     * added). mean and rstd are computed again from x. Each of dx, dw, db may be NULL. dx may be dy. */ \
    X(norm_backward, void,                                                                          \
      (void *dx, void *dw, void *db, const void *base, const void *dy, const void *x, const void *w,  \
       double eps, int64_t rows, int64_t cols))                                                     \
    /* x[r,:] = softmax(scale * x[r,:]), scale > 0, rows `ld` elements apart. In place. */           \
    X(softmax_forward, void, (void *x, double scale, int64_t rows, int64_t cols, int64_t ld))        \
    /* dp[r,c] = scale * p[r,c] * (dp[r,c] - sum_j p[r,j] dp[r,j]): the gradient of the input of        \
     * softmax(scale * s) from dp, the gradient of its output p. In place on dp. */                  \
    X(softmax_backward, void,                                                                       \
      (void *dp, const void *p, double scale, int64_t rows, int64_t cols, int64_t ld))               \
    /* y[r,c] = x[r,c] - log(sum_j exp(x[r,j])). In place. */                                        \
    X(log_softmax_forward, void, (void *y, const void *x, int64_t rows, int64_t cols))               \
    /* dx = base + dy - exp(y) * sum_j dy[r,j], y the output of log_softmax_forward. */              \
    X(log_softmax_backward, void,                                                                   \
      (void *dx, const void *base, const void *dy, const void *y, int64_t rows, int64_t cols))       \
    /* y = x * Phi(x) = x / 2 * (1 + erf(x / sqrt 2)) (Hendrycks & Gimpel 2016; torch gelu 'none').  \
     * In place. */                                                                                 \
    X(gelu_forward, void, (void *y, const void *x, int64_t n))                                       \
    /* dx = base + dy * (Phi(x) + x * phi(x)). dx may be dy. */                                      \
    X(gelu_backward, void, (void *dx, const void *base, const void *dy, const void *x, int64_t n))   \
    /* y = base + factor * x; base may be NULL or y. In place on x. */                               \
    X(scale_add, void, (void *y, const void *base, const void *x, double factor, int64_t n))         \
    /* y[c] = sum_r x[r,c], rows in order, `ld` elements apart. */                                   \
    X(column_sum, void, (void *y, const void *x, int64_t rows, int64_t cols, int64_t ld))            \
    /* y[c] = max_r x[r,c] (torch.amax); NaN if one is. */                                          \
    X(column_max, void, (void *y, const void *x, int64_t rows, int64_t cols))                       \
    /* dx[r,c] = base[r,c] + dy[c] / ties[c] where x[r,c] is one of the ties[c] greatest elements of its\
     * column, else base[r,c]. */                                                                   \
    X(column_max_backward, void,                                                                    \
      (void *dx, const void *base, const void *dy, const void *x, int64_t rows, int64_t cols))      \
    /* y = base + x * mask / keep, with the mask drawn from the counter; also its own backward.      \
     * Element i takes word (offset + i) % 4 of the block (offset + i) / 4. In place on x. */        \
    X(dropout, void, (void *y, const void *base, const void *x, const vt_dropout *dropout, int64_t n)) \
    /* In all losses a term whose coefficient is 0 is left out, were it infinite or not a number.     \
     * One row of cross entropy with coefficients q[c] (any non-negative numbers; target times        \
     * weights): returns -sum_c q[c] * log_softmax(x)[c] and writes                                  \
     * dx[c] = softmax(x)[c] * sum_j q[j] - q[c]. dx may be q. */                                         \
    X(cross_entropy, double, (void *dx, const void *x, const void *q, int64_t cols))                 \
    /* The same with each term times (1 - softmax(x)[c])^gamma: the focal loss of Lin et al. 2017      \
     * over classes. dx may be q. */                                                                 \
    X(focal_cross_entropy, double,                                                                  \
      (void *dx, const void *x, const void *q, double gamma, int64_t cols))                          \
    /* One row of each of the next four: returns factor * sum_c loss_c and writes its gradient.      \
     * Binary cross entropy of sigmoid(x): w ((1 - y) x + (1 + (positive - 1) y) log(1 + exp(-x)));   \
     * w and positive may be NULL: 1 (torch.nn.functional.binary_cross_entropy_with_logits). */      \
    X(binary_cross_entropy, double,                                                                 \
      (void *dx, const void *x, const void *y, const void *w, const void *positive, double factor,   \
       int64_t cols))                                                                                \
    /* The same of equal weights, times (1 - p_t)^gamma and alpha_t = alpha y + (1 - alpha) (1 - y),  \
     * or 1 if alpha < 0; p_t = p y + (1 - p) (1 - y), p = sigmoid(x) (Lin et al. 2017;               \
     * torchvision.ops.sigmoid_focal_loss). */                                                       \
    X(binary_focal, double,                                                                         \
      (void *dx, const void *x, const void *y, double alpha, double gamma, double factor,            \
       int64_t cols))                                                                                \
    /* t (log t - x), 0 where t is; t = exp of the target if log_target (torch kl_div). */           \
    X(divergence, double,                                                                           \
      (void *dx, const void *x, const void *target, bool log_target, double factor, int64_t cols))   \
    /* (x - y)^2 */                                                                                  \
    X(squared_error, double,                                                                        \
      (void *dx, const void *x, const void *y, double factor, int64_t cols))                         \
    /* Jensen-Shannon divergence of the softmax of `splits` rows, `stride` elements apart (Hendrycks  \
     * et al. 2020; timm JsdCrossEntropy): mean_i sum_c p_i log(p_i / m), m their mean, but at least  \
     * 1e-7. Returns it and writes dx, laid out as x. splits <= VT_MAX_SPLITS. */                     \
    X(jensen_shannon, double,                                                                       \
      (void *dx, const void *x, int64_t splits, int64_t stride, int64_t cols))                       \
    /* AdamW in torch's order (Loshchilov & Hutter 2019; torch.optim.AdamW, single tensor):          \
     * g += l2 * p; p *= 1 - lr * wd; m += (g - m) * (1 - beta1); v = v * beta2 + (1 - beta2) * g * g; \
     * p -= lr / (1 - beta1^t) * m / (sqrt(v) / sqrt(1 - beta2^t) + eps).                            \
     * Scalars are formed in double and rounded once to the element type. */                         \
    X(adamw, void, (void *p, void *m, void *v, const void *g, int64_t n, const vt_adamw *step))      \
    /* RAdam in torch's order (Liu et al. 2020; torch.optim.RAdam): g, p, m and v as in Adam; then     \
     * p -= lr / correction * m * rectifier / (sqrt(v) + eps), or p -= lr / correction * m. */        \
    X(radam, void, (void *p, void *m, void *v, const void *g, int64_t n, const vt_radam *step))      \
    /* Stochastic gradient descent in torch's order (Sutskever et al. 2013; torch.optim.SGD):         \
     * g += wd * p; m = momentum * m + (1 - dampening) * g, at first m = g;                           \
     * p -= lr * (nesterov ? g + momentum * m : m). Without momentum m may be NULL: p -= lr * g. */   \
    X(sgd, void, (void *p, void *m, const void *g, int64_t n, const vt_sgd *step))                   \
    /* Lion (Chen et al. 2023; timm.optim.Lion): p *= 1 - lr * wd;                                    \
     * p -= lr * sign(m + (g - m) * (1 - beta1)); m += (g - m) * (1 - beta2). */                      \
    X(lion, void, (void *p, void *m, const void *g, int64_t n, const vt_lion *step))                 \
    /* The first half of LAMB (You et al. 2020; timm.optim.Lamb): m and v as in Adam from g / clip;   \
     * returns the sum of squares of the direction                                                   \
     * u = m / correction1 / (sqrt(v / correction2) + eps) + wd * p. */                               \
    X(lamb_moments, double,                                                                         \
      (void *m, void *v, const void *p, const void *g, int64_t n, const vt_lamb *step))              \
    /* The second half: p -= lr * trust * u. */                                                       \
    X(lamb_apply, void,                                                                             \
      (void *p, const void *m, const void *v, int64_t n, const vt_lamb *step, double trust))         \
    /* y += (x - y) * share, as torch.lerp: exactly x for a share of 1. */                            \
    X(lerp, void, (void *y, const void *x, double share, int64_t n))                                 \
    /* y = x clamped to [-limit, limit]; NaN stays. In place. */                                      \
    X(clamp, void, (void *y, const void *x, double limit, int64_t n))                                \
    /* The sum of squares, accumulated in double in a fixed order. */                                \
    X(sum_of_squares, double, (const void *x, int64_t n))                                            \
    /* How many of the n elements are infinite or not a number. */                                   \
    X(count_nonfinite, int64_t, (const void *x, int64_t n))                                         \
    /* y = x * sigmoid(a x + b x^3): SiLU has a = 1, quick GELU a = 1.702 (both b = 0), and tanh GELU  \
     * a = 2 sqrt(2 / pi), b = 0.044715 a, as (1 + tanh u) / 2 = sigmoid(2 u). In place. */           \
    X(swish_forward, void, (void *y, const void *x, double a, double b, int64_t n))                  \
    /* dx = base + dy * dy/dx. dx may be dy. */                                                       \
    X(swish_backward, void,                                                                         \
      (void *dx, const void *base, const void *dy, const void *x, double a, double b, int64_t n))    \
    /* y[r,c] = x[r,c] / sqrt(mean_c(x[r,c]^2) + eps) * w[c] (Zhang & Sennrich 2019; torch rms_norm). \
     * In place. */                                                                                 \
    X(rms_norm_forward, void,                                                                       \
      (void *y, const void *x, const void *w, double eps, int64_t rows, int64_t cols))               \
    /* dx[r,c] = base[r,c] + rrms[r] * (u - xh * mean_c(u * xh)), u = dy * w, xh = x * rrms;          \
     * dw[c] = sum_r dy * xh (over these rows, written, not added). dx and dw may be NULL, dx may be  \
     * dy. */                                                                                        \
    X(rms_norm_backward, void,                                                                      \
      (void *dx, void *dw, const void *base, const void *dy, const void *x, const void *w,           \
       double eps, int64_t rows, int64_t cols))                                                     \
    /* y[r,c] = x[r,c] * w[c] + b[c]; w and b may be NULL: 1 and 0. In place. */                      \
    X(affine_forward, void,                                                                         \
      (void *y, const void *x, const void *w, const void *b, int64_t rows, int64_t cols))            \
    /* dx = base + dy * w; dw[c] = sum_r dy * x, db[c] = sum_r dy (over these rows, written, not      \
     * added). Each of dx, dw, db may be NULL, and w. dx may be dy. */                                \
    X(affine_backward, void,                                                                        \
      (void *dx, void *dw, void *db, const void *base, const void *dy, const void *x, const void *w,  \
       int64_t rows, int64_t cols))                                                                  \
    /* y = base + a * b; base may be NULL or y. In place on a and b. */                               \
    X(multiply_add, void, (void *y, const void *base, const void *a, const void *b, int64_t n))      \
    /* The sum of x * y, accumulated in double in order. */                                          \
    X(dot, double, (const void *x, const void *y, int64_t n))                                        \
    /* Rotary positions (Su et al. 2021; timm apply_rot_embed): each of `pieces` rows of `size`         \
     * elements, an even number, is pairs (u, v): i and size / 2 + i with `halves`, else 2 i and        \
     * 2 i + 1. The table is cos[0:size / 2] | sin[0:size / 2]; with s = sign * sin                      \
     * y = base + (u cos - v s, v cos + u s). base may be NULL or y. In place on x. */                  \
    X(rotate, void,                                                                                 \
      (void *y, const void *base, const void *x, const void *table, bool halves, double sign,        \
       int64_t pieces, int64_t size))                                                                \
    /* The gradient of the table of rotate with a sign of 1: base + sum over the pieces of             \
     * (dyu u + dyv v) | (dyv u - dyu v). base may be NULL or dtable. */                                \
    X(rotate_slope, void,                                                                           \
      (void *dtable, const void *base, const void *dy, const void *x, bool halves, int64_t pieces,   \
       int64_t size))                                                                                \
    /* y[r,c] = y_factor * y[r,c] + x_factor * x[r,c], rows `y_ld` and `x_ld` elements apart. */       \
    X(combine, void,                                                                                \
      (void *y, int64_t y_ld, const void *x, int64_t x_ld, double y_factor, double x_factor,         \
       int64_t rows, int64_t cols))                                                                  \
    /* y = max(x, 0), NaN where x is. In place. */                                                    \
    X(relu_forward, void, (void *y, const void *x, int64_t n))                                       \
    /* dx = base + dy, or base alone where x <= 0. dx may be dy. */                                    \
    X(relu_backward, void, (void *dx, const void *base, const void *dy, const void *x, int64_t n))   \
    /* Dynamic quantisation of each row to 8 bits (as ONNX's DynamicQuantizeLinear, but by row):     \
     * lo = min(x, 0), hi = max(x, 0), scale = (hi - lo) / 255, zero = round(-lo / scale),           \
     * q = round(x / scale) + zero. A row of zeros, or so small that 1 / scale overflows, has scale 1; \
     * one that is not finite has scale NaN. */                                                     \
    X(quantize_rows, void,                                                                          \
      (uint8_t *q, void *scale, int32_t *zero, const void *x, int64_t rows, int64_t cols))           \
    /* The same with a given step > 0, whose inverse is finite, and zero point from 0 to 255:         \
     * q = round(x / step) + zero, clamped; scale[r] = step, or NaN for a row that is not finite. */  \
    X(quantize_fixed, void,                                                                         \
      (uint8_t *q, void *scale, const void *x, double step, int32_t zero, int64_t rows,              \
       int64_t cols))                                                                               \
    /* y[r,c] = scale[r] * w_scale[c] * (sum[r,c] - zero[r] * w_sum[c]) + b[c], b may be NULL: the    \
     * product of quantised rows and weights in floating point. y may be sum where both are as wide. */ \
    X(dequantize_rows, void,                                                                        \
      (void *y, const int32_t *sum, const void *scale, const int32_t *zero, const void *w_scale,     \
       const int32_t *w_sum, const void *b, int64_t rows, int64_t cols))                             \
    /* y[r,c] = x[r,c] rounded to bfloat16, ties to even, rows of x `ld` elements apart. */           \
    X(to_bf16, void, (uint16_t *y, const void *x, int64_t rows, int64_t cols, int64_t ld))           \
    /* y = x, which is exact. */                                                                      \
    X(from_bf16, void, (void *y, const uint16_t *x, int64_t n))
/* clang-format on */

typedef struct vt_kernels {
    vt_dtype dtype;
    VT_KERNEL_SLOTS(VT_SLOT_MEMBER)
} vt_kernels;

/* The table for the selected instruction set (base/cpu.h). Always complete. */
const vt_kernels *vt_kernels_get(vt_dtype dtype);

/* The table of one level, for tests that compare levels; NULL if the CPU lacks it. */
const vt_kernels *vt_kernels_level(vt_dtype dtype, int isa);

enum { VT_KERNEL_SLOT_COUNT = 0 VT_KERNEL_SLOTS(VT_SLOT_COUNT) };

#endif
