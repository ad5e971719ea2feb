/* GRU layers over whole strings, for processors that compute in bfloat16: in memory that, in registers float32.

   r = σ(xr + hr)   z = σ(xz + hz)   m = hn + b   n = tanh(xn + r·m)   h' = n + z·(h − n)
   with (xr, xz, xn) = table[token] + z_contrib, (hr, hz, hn) = W_hh h and b = b_hn, as in torch.nn.GRU: r and z are the
   reset and the update gate, n is the candidate. z_contrib is what the latent point adds, the same at each step.

   32 strings take a step together: product and gates are one pass, in which (rows, 3·hidden) never leaves the nearest
   caches. Each row is independent of the others. README.md draws the memory layouts. */

#include <immintrin.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef uint16_t bf16;

static inline float to_float(bf16 v) {
    uint32_t bits = (uint32_t)v << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

enum { BLOCK = 32 }; /* rows that take a step together, and columns of a product */

static inline __m512i to_bf16(const float x[BLOCK]) { /* to the nearest, ties to even */
    return (__m512i)_mm512_cvtne2ps_pbh(_mm512_loadu_ps(x + 16), _mm512_loadu_ps(x));
}

static inline float sigmoid(float x) { /* 1 / (1 + 2^t), t = −x log2 e; relative error below 1e-5 */
    float t = x * -1.44269504f;
    t = t < -126.f ? -126.f : t > 126.f ? 126.f : t;
    float shifted = t + 12582912.f, f = t - (shifted - 12582912.f); /* 1.5·2²³: the last bits are t, rounded */
    float p = 0.0555033281f + f * (0.00961812911f + f * 0.00133335581f);
    p = 1.f + f * (0.693147182f + f * (0.240226462f + f * p));
    uint32_t bits, whole;
    memcpy(&bits, &p, 4);
    memcpy(&whole, &shifted, 4);
    bits += whole << 23;
    memcpy(&p, &bits, 4);
    return 1.f / (1.f + p);
}

static inline float tanh_(float x) { return 2.f * sigmoid(2.f * x) - 1.f; }

/* One direction of a layer. width: hidden, a multiple of BLOCK, as is characters; table (…, 3 width): what each
   character adds to the pre-activations; W_hh and readout: packed for `product`; offset: added to the scores. */
typedef struct {
    int64_t width, characters;
    const bf16 *table, *W_hh;
    const float *b_hn;
    const bf16 *readout;
    const float *offset;
} layer;

int gru_amx = 0; /* whether this process may use the tiles of AMX */

__attribute__((constructor)) static void ask_for_amx(void) {
#ifdef __AMX_BF16__
    gru_amx = syscall(SYS_arch_prctl, 0x1023, 18) == 0; /* ARCH_REQ_XCOMP_PERM, XTILEDATA */
#endif
}

/* y (BLOCK, BLOCK) = a Wᵀ, or with `more` y + a Wᵀ, for the first n rows. a lies in blocks of BLOCK numbers of each
   row, W in blocks of so many numbers of BLOCK columns, in pairs. Each row is independent of the others. */
#ifdef __AMX_BF16__
static const struct { uint8_t palette, start, none[14]; uint16_t bytes[16]; uint8_t rows[16]; } tiles = {
    .palette = 1, .bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

static inline void product_amx(int more, long n, long width, const bf16 *a, const bf16 *w, float *y) {
    __asm__ volatile("" ::: "memory"); /* a tile is loaded without the compiler knowing what is read */
    if (more) {
        _tile_loadd(0, y, 128); _tile_loadd(1, y + 16, 128); _tile_loadd(2, y + 512, 128); _tile_loadd(3, y + 528, 128);
    } else {
        _tile_zero(0); _tile_zero(1); _tile_zero(2); _tile_zero(3);
    }
    for (long k = 0; k < width; k += BLOCK, a += BLOCK * BLOCK, w += BLOCK * BLOCK) {
        _tile_loadd(4, a, 64);
        _tile_stream_loadd(6, w, 64); /* so that the weights do not drive the rows out of the nearest cache */
        _tile_stream_loadd(7, w + 512, 64);
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        if (n <= 16) continue;
        _tile_loadd(5, a + 512, 64);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    _tile_stored(0, y, 128); _tile_stored(1, y + 16, 128); _tile_stored(2, y + 512, 128); _tile_stored(3, y + 528, 128);
}
#endif

static inline void product_avx(int more, long n, long width, const bf16 *a, const bf16 *w, float *y) {
    for (long first = 0; first < n; first += 8) {
        __m512 sums[8][2] = {0};
        if (more) memcpy(sums, y + first * BLOCK, sizeof sums);
        for (long k = 0; k < width; k += 2) {
            const bf16 *pairs = a + k / BLOCK * BLOCK * BLOCK + first * BLOCK + k % BLOCK;
            const bf16 *block = w + k / BLOCK * BLOCK * BLOCK + k % BLOCK * 16;
            __m512bh left = (__m512bh)_mm512_loadu_si512(block), right = (__m512bh)_mm512_loadu_si512(block + 512);
            for (int i = 0; i < 8; i++) {
                int32_t pair;
                memcpy(&pair, pairs + i * BLOCK, 4);
                sums[i][0] = _mm512_dpbf16_ps(sums[i][0], (__m512bh)_mm512_set1_epi32(pair), left);
                sums[i][1] = _mm512_dpbf16_ps(sums[i][1], (__m512bh)_mm512_set1_epi32(pair), right);
            }
        }
        memcpy(y + first * BLOCK, sums, sizeof sums);
    }
}

static inline void product(int more, long n, long width, const bf16 *a, const bf16 *w, float *y) {
#ifdef __AMX_BF16__
    if (gru_amx) {
        product_amx(more, n, width, a, w, y);
        return;
    }
#endif
    product_avx(more, n, width, a, w, y);
}

/* BLOCK columns of a row's step, from x: table[token], zc: z_contrib, y: W_hh h, h: the state. */
static inline __attribute__((always_inline)) void gate_block(long width, int has_z, int keep, const bf16 *restrict x,
    const bf16 *restrict zc, const float *restrict y, const float *restrict b_hn, const bf16 *restrict h,
    bf16 *restrict activations, bf16 *restrict next) {
    float kept[4][BLOCK], state[BLOCK];
    for (int j = 0; j < BLOCK; j++) {
        float xr = to_float(x[j]), xz = to_float(x[width + j]), xn = to_float(x[2 * width + j]);
        if (has_z) xr += to_float(zc[j]), xz += to_float(zc[width + j]), xn += to_float(zc[2 * width + j]);
        float r = sigmoid(xr + y[j]), z = sigmoid(xz + y[BLOCK * BLOCK + j]), m = y[2 * BLOCK * BLOCK + j] + b_hn[j];
        float n = tanh_(xn + r * m);
        if (keep) kept[0][j] = r, kept[1][j] = z, kept[2][j] = n, kept[3][j] = m;
        state[j] = n + z * (to_float(h[j]) - n);
    }
    _mm512_store_si512(next, to_bf16(state));
    if (keep)
        for (int k = 0; k < 4; k++) _mm512_stream_si512((__m512i *)(activations + k * width), to_bf16(kept[k]));
}

/* A step of n rows; z_contrib (…, 3 width), of which row[i] is the i-th one's, or null; writes the activations r, z, n
   and m (n, 4 width), unless null, past the caches: gru_backward reads them much later. */
static void step(const layer *l, long n, const int64_t *token, const bf16 *z_contrib, const int64_t *row, const bf16 *h,
                 bf16 *activations, bf16 *next) {
    float y[3 * BLOCK * BLOCK] __attribute__((aligned(64)));
    long width = l->width;
    for (long j = 0; j < width; j += BLOCK) {
        for (int g = 0; g < 3; g++)
            product(0, n, width, h, l->W_hh + (3 * j + g * BLOCK) * width, y + g * BLOCK * BLOCK);
        for (long i = 0; i < n; i++) {
            const bf16 *x = l->table + token[i] * 3 * width + j;
            const bf16 *zc = z_contrib + (z_contrib ? row[i] * 3 * width + j : 0);
            const float *Wh = y + i * BLOCK, *b_hn = l->b_hn + j;
            bf16 *kept = activations + (activations ? i * 4 * width + j : 0);
            long at = j * BLOCK + i * BLOCK;
            if (z_contrib && activations)
                gate_block(width, 1, 1, x, zc, Wh, b_hn, h + at, kept, next + at);
            else if (z_contrib)
                gate_block(width, 1, 0, x, zc, Wh, b_hn, h + at, 0, next + at);
            else if (activations)
                gate_block(width, 0, 1, x, 0, Wh, b_hn, h + at, kept, next + at);
            else
                gate_block(width, 0, 0, x, 0, Wh, b_hn, h + at, 0, next + at);
        }
    }
}

/* scores (n, characters) of n rows. */
static void read_out(const layer *l, long n, const bf16 *h, float *scores) {
    float y[BLOCK * BLOCK] __attribute__((aligned(64)));
    for (long c = 0; c < l->characters; c += BLOCK) {
        product(0, n, l->width, h, l->readout + c * l->width, y);
        for (long i = 0; i < n; i++)
            for (long k = 0; k < BLOCK; k++) scores[i * l->characters + c + k] = y[i * BLOCK + k] + l->offset[c + k];
    }
}

/* A row (width) to and from the blocks of BLOCK numbers that `product` reads. */
static void pack_row(long width, bf16 *h, long i, const bf16 *state) {
    for (long k = 0; k < width; k += BLOCK) memcpy(h + k * BLOCK + i * BLOCK, state + k, 2 * BLOCK);
}

static void unpack_row(long width, const bf16 *h, long i, bf16 *state) {
    for (long k = 0; k < width; k += BLOCK) memcpy(state + k, h + k * BLOCK + i * BLOCK, 2 * BLOCK);
}

/* Strings that are under way, and how far: `at` counts characters. The states are those of `step`. */
typedef struct {
    long n;
    int64_t row[BLOCK], token[BLOCK], at[BLOCK];
    bf16 *h, *next;
} block;

static void configure_tiles(void) {
#ifdef __AMX_BF16__
    if (gru_amx) _tile_loadconfig(&tiles);
#endif
}

static void release_tiles(void) {
#ifdef __AMX_BF16__
    if (gru_amx) _tile_release();
#endif
}

static block new_block(long width) {
    block b = {0};
    b.h = aligned_alloc(64, 4 * BLOCK * width);
    b.next = b.h + BLOCK * width;
    memset(b.h, 0, 4 * BLOCK * width);
    configure_tiles();
    return b;
}

static void free_block(block *b) {
    release_tiles();
    _mm_sfence();
    free(b->h < b->next ? b->h : b->next);
}

static void advance(const layer *l, block *b, const bf16 *z_contrib, bf16 *activations) {
    bf16 *next = b->next;
    step(l, b->n, b->token, z_contrib, b->row, b->h, activations, next);
    b->next = b->h, b->h = next;
}

/* The last row takes the place of the i-th. */
static void remove_row(long width, block *b, long i) {
    long last = --b->n;
    b->row[i] = b->row[last], b->token[i] = b->token[last], b->at[i] = b->at[last];
    for (long k = 0; k < width; k += BLOCK)
        memmove(b->h + k * BLOCK + i * BLOCK, b->h + k * BLOCK + last * BLOCK, 2 * BLOCK);
}

/* Greedy decoding: the likeliest characters of strings whose first states are these (count, width), to out
   (count, longest), where end_token stands already. A string that has ended makes way for the next. */
void gru_write(const layer *l, int64_t count, int64_t longest, int64_t start_token, int64_t end_token,
               const bf16 *z_contrib, const bf16 *first_states, int64_t *out) {
    long width = l->width, next = 0;
    block b = new_block(width);
    float *scores = malloc(4 * BLOCK * l->characters);
    for (;;) {
        for (; b.n < BLOCK && next < count; next++) {
            pack_row(width, b.h, b.n, first_states + next * width);
            b.row[b.n] = next, b.token[b.n] = start_token, b.at[b.n++] = 0;
        }
        if (b.n == 0) break;
        advance(l, &b, z_contrib, 0);
        read_out(l, b.n, b.h, scores);
        for (long i = b.n - 1; i >= 0; i--) {
            const float *score = scores + i * l->characters;
            long best = 0;
            for (long c = 1; c < l->characters; c++) best = score[c] > score[best] ? c : best;
            out[b.row[i] * longest + b.at[i]++] = b.token[i] = best;
            if (best == end_token || b.at[i] == longest) remove_row(width, &b, i);
        }
    }
    free(scores);
    free_block(&b);
}

/* The last states of strings, to ends (count, width), which are 0: the k-th is ids[edges[k]:edges[k + 1]]. */
void gru_read(const layer *l, int64_t count, const int64_t *ids, const int64_t *edges, bf16 *ends) {
    long width = l->width, next = 0;
    block b = new_block(width);
    for (;;) {
        for (; b.n < BLOCK && next < count; next++) {
            if (edges[next] == edges[next + 1]) continue;
            pack_row(width, b.h, b.n, ends + next * width);
            b.row[b.n] = next, b.token[b.n] = ids[edges[next]], b.at[b.n++] = edges[next] + 1;
        }
        if (b.n == 0) break;
        advance(l, &b, 0, 0);
        for (long i = b.n - 1; i >= 0; i--) {
            long row = b.row[i];
            if (b.at[i] < edges[row + 1]) {
                b.token[i] = ids[b.at[i]++];
            } else {
                unpack_row(width, b.h, i, ends + row * width);
                remove_row(width, &b, i);
            }
        }
    }
    free_block(&b);
}

/* One step: replaces the states (count, width), and writes the scores (count, characters) of the next characters. */
void gru_next(const layer *l, int64_t count, const int64_t *tokens, const bf16 *z_contrib, bf16 *states,
              float *scores) {
    long width = l->width;
    block b = new_block(width);
    for (long first = 0; first < count; first += BLOCK) {
        b.n = count - first < BLOCK ? count - first : BLOCK;
        for (long i = 0; i < b.n; i++) {
            b.row[i] = first + i, b.token[i] = tokens[first + i];
            pack_row(width, b.h, i, states + (first + i) * width);
        }
        advance(l, &b, z_contrib, 0);
        for (long i = 0; i < b.n; i++) unpack_row(width, b.h, i, states + (first + i) * width);
        read_out(l, b.n, b.h, scores + first * l->characters);
    }
    free_block(&b);
}

/* The functions for training run in so many of OpenMP's threads, which are PyTorch's: others would find these spinning
   on their processors. */

/* All steps of tokens (time, batch), with z_contrib (batch, 3 width) or null: from states[0] writes the other states
   (time + 1, batch, width) and the activations (time, batch, 4 width). */
void gru_forward(const layer *l, int64_t time, int64_t batch, int64_t threads, const int64_t *tokens,
                 const bf16 *z_contrib, bf16 *states, bf16 *activations) {
    long width = l->width;
#pragma omp parallel num_threads(threads)
    {
        block b = new_block(width);
#pragma omp for schedule(static)
        for (long first = 0; first < batch; first += BLOCK) {
            b.n = batch - first < BLOCK ? batch - first : BLOCK;
            for (long i = 0; i < b.n; i++) {
                b.row[i] = first + i;
                pack_row(width, b.h, i, states + (first + i) * width);
            }
            for (long t = 0; t < time; t++) {
                long at = t * batch + first;
                memcpy(b.token, tokens + at, 8 * b.n);
                advance(l, &b, z_contrib, activations + at * 4 * width);
                for (long i = 0; i < b.n; i++) unpack_row(width, b.h, i, states + (at + batch + i) * width);
            }
        }
        free_block(&b);
    }
}

/* BLOCK columns of a row's step backward. The gradient of its output h' has three parts: d_outputs, the loss's own;
   d_recurrent, through W_hh h' of the next step; d_state, through z h' of the next step, which is replaced by that for
   the step before. Writes d_preact, d loss / d (hr, hz, hn); adds to the gradients of table, z_contrib and b_hn. */
static inline __attribute__((always_inline)) void gate_block_backward(long width, int has_outputs,
    const bf16 *restrict d_outputs, const float *restrict d_recurrent, const bf16 *restrict activations,
    const bf16 *restrict h, float *restrict d_state, bf16 *restrict d_preact, float *restrict d_table,
    float *restrict d_z_contrib, float *restrict d_b_hn) {
    float kept[3][BLOCK];
    for (int j = 0; j < BLOCK; j++) {
        float r = to_float(activations[j]), z = to_float(activations[width + j]);
        float n = to_float(activations[2 * width + j]), m = to_float(activations[3 * width + j]);
        float d = d_state[j] + d_recurrent[j];
        if (has_outputs) d += to_float(d_outputs[j]);
        float dn = d * (1.f - z) * (1.f - n * n), dm = dn * r;
        float dr = dn * m * r * (1.f - r), dz = d * (to_float(h[j]) - n) * z * (1.f - z);
        kept[0][j] = dr, kept[1][j] = dz, kept[2][j] = dm;
        d_table[j] += dr, d_table[width + j] += dz, d_table[2 * width + j] += dn, d_b_hn[j] += dm;
        if (has_outputs) d_z_contrib[j] += dr, d_z_contrib[width + j] += dz, d_z_contrib[2 * width + j] += dn;
        d_state[j] = d * z;
    }
    for (int k = 0; k < 3; k++) _mm512_store_si512(d_preact + k * BLOCK * width, to_bf16(kept[k]));
}

/* Transposes each block of 32 rows and 32 columns; the results are `stride` numbers apart. Neighbours change places,
   then pairs of them, fours and so on; past the caches, for nothing reads them soon. */
static void transpose_blocks(long width, const bf16 *h, long stride, bf16 *out) {
    for (long j = 0; j < width; j += BLOCK, h += BLOCK * BLOCK, out += stride) {
        __m512i r[BLOCK];
        for (int i = 0; i < BLOCK; i++) r[i] = _mm512_loadu_si512(h + i * BLOCK);
#pragma GCC unroll 5
        for (int half = 1; half < BLOCK; half *= 2) {
            bf16 low[BLOCK], high[BLOCK];
            for (int k = 0; k < BLOCK; k++) {
                low[k] = k & half ? BLOCK + k - half : k;
                high[k] = k & half ? BLOCK + k : k + half;
            }
            __m512i first = _mm512_loadu_si512(low), second = _mm512_loadu_si512(high);
#pragma GCC unroll 32
            for (int i = 0; i < BLOCK; i++) {
                if (i & half) continue;
                __m512i a = r[i], b = r[i + half];
                r[i] = _mm512_permutex2var_epi16(a, first, b);
                r[i + half] = _mm512_permutex2var_epi16(a, second, b);
            }
        }
        for (int i = 0; i < BLOCK; i++) _mm512_stream_si512((__m512i *)(out + i * BLOCK), r[i]);
    }
}

/* Backward through time. W_hh_t: W_hh transposed and packed, for d_preact W_hh; d_outputs (time, batch, width):
   gradient of each output, or null, as is d_z_contrib then; d_state (batch, width), read and written: gradient of the
   last state, then of the first; writes d_preact (3 width / 32, time, batch / 32, 32, 32), d loss / d (W_hh h) by
   columns and rows, and adds to d_z_contrib (batch, 3 width) and, each thread its own part, to d_tables (threads,
   characters, 3 width) and d_b_hns (threads, width). */
void gru_backward(const layer *l, const bf16 *W_hh_t, int64_t time, int64_t batch, int64_t threads, int64_t characters,
                  const int64_t *tokens, const bf16 *d_outputs, const bf16 *states, const bf16 *activations,
                  float *d_state, bf16 *d_preact, float *d_tables, float *d_z_contrib, float *d_b_hns) {
    long width = l->width, blocks = (batch + BLOCK - 1) / BLOCK;
#pragma omp parallel num_threads(threads)
    {
        float *d_table = d_tables + omp_get_thread_num() * characters * 3 * width;
        float *d_b_hn = d_b_hns + omp_get_thread_num() * width, *d_recurrent = aligned_alloc(64, 4 * BLOCK * width);
        block b = new_block(3 * width);
#pragma omp for schedule(static)
        for (long first = 0; first < batch; first += BLOCK) {
            b.n = batch - first < BLOCK ? batch - first : BLOCK;
            if (b.n < BLOCK) memset(b.h, 0, 6 * BLOCK * width);
            memset(d_recurrent, 0, 4 * BLOCK * width);
            for (long t = time - 1; t >= 0; t--) {
                for (long i = 0; i < b.n; i++) {
                    long at = t * batch + first + i, row = first + i;
                    for (long j = 0; j < width; j += BLOCK) {
                        const bf16 *kept = activations + at * 4 * width + j, *h = states + at * width + j;
                        const float *dr = d_recurrent + (j + i) * BLOCK;
                        float *ds = d_state + row * width + j, *dx = d_table + tokens[at] * 3 * width + j;
                        if (d_outputs)
                            gate_block_backward(width, 1, d_outputs + at * width + j, dr, kept, h, ds,
                                                b.h + (j + i) * BLOCK, dx, d_z_contrib + row * 3 * width + j,
                                                d_b_hn + j);
                        else
                            gate_block_backward(width, 0, 0, dr, kept, h, ds, b.h + (j + i) * BLOCK, dx, 0, d_b_hn + j);
                    }
                }
                bf16 *out = d_preact + (t * blocks + first / BLOCK) * BLOCK * BLOCK;
                transpose_blocks(3 * width, b.h, time * blocks * BLOCK * BLOCK, out);
                for (long j = 0; j < width; j += BLOCK)
                    product(0, b.n, 3 * width, b.h, W_hh_t + 3 * j * width, d_recurrent + j * BLOCK);
            }
            for (long i = 0; i < b.n; i++)
                for (long j = 0; j < width; j++)
                    d_state[(first + i) * width + j] += d_recurrent[(j / BLOCK * BLOCK + i) * BLOCK + j % BLOCK];
        }
        free(d_recurrent);
        free_block(&b);
    }
}

/* The gradient of W_hh: out (3 width / 32, width / 32, 32, 32), which is 0, becomes d_preact' h, with h the states
   (time, batch, width) before each step. As many rows of d_preact and h at a time as the nearest caches hold. */
void gru_weight_gradient(int64_t width, int64_t time, int64_t batch, int64_t threads, const bf16 *d_preact,
                         const bf16 *states, float *out) {
    enum { MOST = 8, SQUARE = BLOCK * BLOCK };
    long blocks = (batch + BLOCK - 1) / BLOCK, all = time * blocks, wide = width / BLOCK;
    bf16 interleaved[2][BLOCK];
    for (int k = 0; k < BLOCK; k++)
        for (int half = 0; half < 2; half++) interleaved[half][k] = k / 2 + 16 * half + k % 2 * BLOCK;
    __m512i left = _mm512_loadu_si512(interleaved[0]), right = _mm512_loadu_si512(interleaved[1]);
    __m512i none = _mm512_setzero_si512();
#pragma omp parallel num_threads(threads)
    {
        bf16 *pairs = aligned_alloc(64, 2 * MOST * BLOCK * width);
        configure_tiles();
        for (long start = 0; start < all; start += MOST) {
            long n = all - start < MOST ? all - start : MOST;
            for (long k = 0; k < n; k++) {
                long at = (start + k) % blocks * BLOCK;
                const bf16 *h = states + ((start + k) / blocks * batch + at) * width;
                for (long i = 0; i < BLOCK; i += 2, h += 2 * width)
                    for (long j = 0; j < wide; j++) {
                        __m512i a = at + i < batch ? _mm512_loadu_si512(h + j * BLOCK) : none;
                        __m512i b = at + i + 1 < batch ? _mm512_loadu_si512(h + width + j * BLOCK) : none;
                        bf16 *to = pairs + (j * MOST + k) * SQUARE + i * BLOCK / 2;
                        _mm512_store_si512(to, _mm512_permutex2var_epi16(a, left, b));
                        _mm512_store_si512(to + SQUARE / 2, _mm512_permutex2var_epi16(a, right, b));
                    }
            }
#pragma omp for schedule(static) nowait
            for (long g = 0; g < 3 * wide; g++)
                for (long j = 0; j < wide; j++)
                    product(1, BLOCK, n * BLOCK, d_preact + (g * all + start) * SQUARE, pairs + j * MOST * SQUARE,
                            out + (g * wide + j) * SQUARE);
        }
        release_tiles();
        free(pairs);
    }
}
