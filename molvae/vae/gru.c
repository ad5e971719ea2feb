/* One step of a GRU layer and of its gradient, for some rows of a batch; bfloat16 in memory, float32 in registers.
   The matrix products between the steps are PyTorch's; this is all that is left, in one pass over memory.

   r = σ(xr + hr)   z = σ(xz + hz)   m = hn + b   n = tanh(xn + r·m)   h' = n + z·(h − n)
   with (xr, xz, xn) = table[token] + fixed and (hr, hz, hn) = W h. As in torch.nn.GRU. */

#include <stdint.h>
#include <string.h>

typedef uint16_t bf16;

static inline float up(bf16 v) {
    uint32_t bits = (uint32_t)v << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline bf16 down(float x) { /* to the nearest, ties to even */
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return (bf16)((bits + 0x7fff + ((bits >> 16) & 1)) >> 16);
}

static inline float sigmoid(float x) { /* 1 / (1 + 2^t), t = −x log2 e; relative error below 1e-5 */
    float t = x * -1.44269504f;
    t = t < -126.f ? -126.f : t > 126.f ? 126.f : t;
    float whole = __builtin_rintf(t), f = t - whole;
    float p = 1.f + f * (0.693147182f + f * (0.240226462f + f * (0.0555033281f + f * (0.00961812911f + f * 0.00133335581f))));
    uint32_t bits = (uint32_t)((int32_t)whole + 127) << 23;
    float scale;
    memcpy(&scale, &bits, 4);
    return 1.f / (1.f + p * scale);
}

static inline __attribute__((always_inline)) void forward_row(long H, int has_fixed, int keep, const bf16 *restrict x,
    const bf16 *restrict f, const bf16 *restrict y, const float *restrict bias, const bf16 *h,
    bf16 *restrict g, bf16 *next) {
#pragma GCC ivdep /* next may be h */
    for (long j = 0; j < H; j++) {
        float xr = up(x[j]), xz = up(x[H + j]), xn = up(x[2 * H + j]);
        if (has_fixed) xr += up(f[j]), xz += up(f[H + j]), xn += up(f[2 * H + j]);
        float r = sigmoid(xr + up(y[j])), z = sigmoid(xz + up(y[H + j])), m = up(y[2 * H + j]) + bias[j];
        float n = 2.f * sigmoid(2.f * (xn + r * m)) - 1.f;
        if (keep) g[j] = down(r), g[H + j] = down(z), g[2 * H + j] = down(n), g[3 * H + j] = down(m);
        next[j] = down(n + z * (up(h[j]) - n));
    }
}

/* table (characters, 3H), tokens (rows), fixed (rows, 3H) or null, product = W h (rows, 3H), bias (H), state h (rows, H);
   writes gates r, z, n, m (rows, 4H), or null, and the next state (rows, H), which may take this one's place. */
void gru_forward(int64_t rows, int64_t H, const bf16 *table, const int64_t *tokens, const bf16 *fixed,
                 const bf16 *product, const float *bias, const bf16 *state, bf16 *gates, bf16 *next) {
    for (long b = 0; b < rows; b++) {
        const bf16 *x = table + tokens[b] * 3 * H, *y = product + b * 3 * H, *h = state + b * H;
        if (!gates && fixed)
            forward_row(H, 1, 0, x, fixed + b * 3 * H, y, bias, h, 0, next + b * H);
        else if (!gates)
            forward_row(H, 0, 0, x, 0, y, bias, h, 0, next + b * H);
        else if (fixed)
            forward_row(H, 1, 1, x, fixed + b * 3 * H, y, bias, h, gates + b * 4 * H, next + b * H);
        else
            forward_row(H, 0, 1, x, 0, y, bias, h, gates + b * 4 * H, next + b * H);
    }
}

static inline __attribute__((always_inline)) void backward_row(long H, int has_outer, int has_fixed,
    const bf16 *restrict outer, const bf16 *restrict inner, const bf16 *restrict g, const bf16 *restrict h,
    float *restrict carried, bf16 *restrict flow, float *restrict table, float *restrict fixed, float *restrict bias) {
    for (long j = 0; j < H; j++) {
        float r = up(g[j]), z = up(g[H + j]), n = up(g[2 * H + j]), m = up(g[3 * H + j]);
        float d = carried[j] + up(inner[j]);
        if (has_outer) d += up(outer[j]);
        float dn = d * (1.f - z) * (1.f - n * n), dm = dn * r;
        float dr = dn * m * r * (1.f - r), dz = d * (up(h[j]) - n) * z * (1.f - z);
        flow[j] = down(dr), flow[H + j] = down(dz), flow[2 * H + j] = down(dm);
        table[j] += dr, table[H + j] += dz, table[2 * H + j] += dn, bias[j] += dm;
        if (has_fixed) fixed[j] += dr, fixed[H + j] += dz, fixed[2 * H + j] += dn;
        carried[j] = d * z;
    }
}

/* outer (rows, H) or null: gradient of this step's output; inner (rows, H): of this step's output through the W h of the
   next; carried (rows, H), read and written: what passes by the gates; writes flow (rows, 3H), the gradient of W h, and
   adds to the gradients of table, fixed (or null) and bias. */
void gru_backward(int64_t rows, int64_t H, const int64_t *tokens, const bf16 *outer, const bf16 *inner,
                  const bf16 *gates, const bf16 *state, float *carried, bf16 *flow, float *table, float *fixed,
                  float *bias) {
    for (long b = 0; b < rows; b++) {
        const bf16 *in = inner + b * H, *g = gates + b * 4 * H, *h = state + b * H;
        float *c = carried + b * H, *t = table + tokens[b] * 3 * H;
        bf16 *o = flow + b * 3 * H;
        if (outer && fixed)
            backward_row(H, 1, 1, outer + b * H, in, g, h, c, o, t, fixed + b * 3 * H, bias);
        else if (outer)
            backward_row(H, 1, 0, outer + b * H, in, g, h, c, o, t, 0, bias);
        else if (fixed)
            backward_row(H, 0, 1, 0, in, g, h, c, o, t, fixed + b * 3 * H, bias);
        else
            backward_row(H, 0, 0, 0, in, g, h, c, o, t, 0, bias);
    }
}
