/* GRU layers over whole strings, for processors that compute in bfloat16: in memory that, in registers float32.

   r = σ(xr + hr)   z = σ(xz + hz)   m = hn + b   n = tanh(xn + r·m)   h' = n + z·(h − n)
   with (xr, xz, xn) = table[token] + fixed and (hr, hz, hn) = W h. As in torch.nn.GRU.

   32 strings take a step together: product and gates are one pass, in which (rows, 3·hidden) never leaves the nearest
   caches. What becomes of a row does not depend on the others. */

#include <immintrin.h>
#include <omp.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

typedef uint16_t bf16;

static inline float up(bf16 v) {
    uint32_t bits = (uint32_t)v << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

enum { BLOCK = 32, END = 0, START = 1 }; /* rows that take a step together; ids of vocab.py */

static inline __m512i down(const float x[BLOCK]) { /* to the nearest, ties to even */
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

/* width: hidden, a multiple of BLOCK, as is characters; weight and readout packed for `product`. */
typedef struct {
    int64_t width, characters;
    const bf16 *table, *weight;
    const float *bias;
    const bf16 *readout;
    const float *offset;
} layer;

int gru_amx = 0; /* whether this process may use the tiles */

__attribute__((constructor)) static void ask(void) {
#ifdef __AMX_BF16__
    gru_amx = syscall(SYS_arch_prctl, 0x1023, 18) == 0; /* ARCH_REQ_XCOMP_PERM, XTILEDATA */
#endif
}

/* y (BLOCK, BLOCK) = a Wᵀ, or with `more` y + a Wᵀ, for the first n rows: a lies in blocks of BLOCK numbers of each row,
   W in blocks of so many numbers of BLOCK columns, in pairs. What a row becomes does not depend on the others. */
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

static inline __attribute__((always_inline)) void next_block(long width, int has_fixed, int keep, const bf16 *restrict x,
    const bf16 *restrict f, const float *restrict y, const float *restrict bias, const bf16 *restrict h,
    bf16 *restrict g, bf16 *restrict next) {
    float kept[4][BLOCK], state[BLOCK];
    for (int j = 0; j < BLOCK; j++) {
        float xr = up(x[j]), xz = up(x[width + j]), xn = up(x[2 * width + j]);
        if (has_fixed) xr += up(f[j]), xz += up(f[width + j]), xn += up(f[2 * width + j]);
        float r = sigmoid(xr + y[j]), z = sigmoid(xz + y[BLOCK * BLOCK + j]), m = y[2 * BLOCK * BLOCK + j] + bias[j];
        float n = tanh_(xn + r * m);
        if (keep) kept[0][j] = r, kept[1][j] = z, kept[2][j] = n, kept[3][j] = m;
        state[j] = n + z * (up(h[j]) - n);
    }
    _mm512_store_si512(next, down(state));
    if (keep)
        for (int k = 0; k < 4; k++) _mm512_stream_si512((__m512i *)(g + k * width), down(kept[k]));
}

/* A step of n rows; fixed (…, 3 width), of which row[i] is the i-th one's, or null; writes gates r, z, n, m
   (n, 4 width), unless null, past the caches: the way back reads them much later. */
static void step(const layer *l, long n, const int64_t *token, const bf16 *fixed, const int64_t *row, const bf16 *h,
                 bf16 *gates, bf16 *next) {
    float y[3 * BLOCK * BLOCK] __attribute__((aligned(64)));
    long width = l->width;
    for (long j = 0; j < width; j += BLOCK) {
        for (int g = 0; g < 3; g++)
            product(0, n, width, h, l->weight + (3 * j + g * BLOCK) * width, y + g * BLOCK * BLOCK);
        for (long i = 0; i < n; i++) {
            const bf16 *x = l->table + token[i] * 3 * width + j, *f = fixed + (fixed ? row[i] * 3 * width + j : 0);
            const float *rest = y + i * BLOCK, *bias = l->bias + j;
            bf16 *g = gates + (gates ? i * 4 * width + j : 0);
            long at = j * BLOCK + i * BLOCK;
            if (fixed && gates)
                next_block(width, 1, 1, x, f, rest, bias, h + at, g, next + at);
            else if (fixed)
                next_block(width, 1, 0, x, f, rest, bias, h + at, 0, next + at);
            else if (gates)
                next_block(width, 0, 1, x, 0, rest, bias, h + at, g, next + at);
            else
                next_block(width, 0, 0, x, 0, rest, bias, h + at, 0, next + at);
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

static void put(long width, bf16 *h, long i, const bf16 *state) {
    for (long k = 0; k < width; k += BLOCK) memcpy(h + k * BLOCK + i * BLOCK, state + k, 2 * BLOCK);
}

static void get(long width, const bf16 *h, long i, bf16 *state) {
    for (long k = 0; k < width; k += BLOCK) memcpy(state + k, h + k * BLOCK + i * BLOCK, 2 * BLOCK);
}

/* Strings that are under way, and how far: `at` counts characters. The states are those of `step`. */
typedef struct {
    long n;
    int64_t row[BLOCK], token[BLOCK], at[BLOCK];
    bf16 *h, *next;
} block;

static void lay_tiles(void) {
#ifdef __AMX_BF16__
    if (gru_amx) _tile_loadconfig(&tiles);
#endif
}

static void clear_tiles(void) {
#ifdef __AMX_BF16__
    if (gru_amx) _tile_release();
#endif
}

static block begin(long width) {
    block b = {0};
    b.h = aligned_alloc(64, 4 * BLOCK * width);
    b.next = b.h + BLOCK * width;
    memset(b.h, 0, 4 * BLOCK * width);
    lay_tiles();
    return b;
}

static void end(block *b) {
    clear_tiles();
    _mm_sfence();
    free(b->h < b->next ? b->h : b->next);
}

static void advance(const layer *l, block *b, const bf16 *fixed, bf16 *gates) {
    bf16 *next = b->next;
    step(l, b->n, b->token, fixed, b->row, b->h, gates, next);
    b->next = b->h, b->h = next;
}

/* The last one takes the place of the i-th. */
static void leave(long width, block *b, long i) {
    long last = --b->n;
    b->row[i] = b->row[last], b->token[i] = b->token[last], b->at[i] = b->at[last];
    for (long k = 0; k < width; k += BLOCK)
        memmove(b->h + k * BLOCK + i * BLOCK, b->h + k * BLOCK + last * BLOCK, 2 * BLOCK);
}

/* The likeliest characters of strings that begin with these states (count, width), to out (count, longest), where END
   stands already; a string that has ended makes way for the next. */
void gru_write(const layer *l, int64_t count, int64_t longest, const bf16 *fixed, const bf16 *start, int64_t *out) {
    long width = l->width, next = 0;
    block b = begin(width);
    float *scores = malloc(4 * BLOCK * l->characters);
    for (;;) {
        for (; b.n < BLOCK && next < count; next++) {
            put(width, b.h, b.n, start + next * width);
            b.row[b.n] = next, b.token[b.n] = START, b.at[b.n++] = 0;
        }
        if (b.n == 0) break;
        advance(l, &b, fixed, 0);
        read_out(l, b.n, b.h, scores);
        for (long i = b.n - 1; i >= 0; i--) {
            const float *score = scores + i * l->characters;
            long best = 0;
            for (long c = 1; c < l->characters; c++) best = score[c] > score[best] ? c : best;
            out[b.row[i] * longest + b.at[i]++] = b.token[i] = best;
            if (best == END || b.at[i] == longest) leave(width, &b, i);
        }
    }
    free(scores);
    end(&b);
}

/* The states after strings, to ends (count, width), which are 0: the k-th is ids[edges[k]:edges[k + 1]]. */
void gru_read(const layer *l, int64_t count, const int64_t *ids, const int64_t *edges, bf16 *ends) {
    long width = l->width, next = 0;
    block b = begin(width);
    for (;;) {
        for (; b.n < BLOCK && next < count; next++) {
            if (edges[next] == edges[next + 1]) continue;
            put(width, b.h, b.n, ends + next * width);
            b.row[b.n] = next, b.token[b.n] = ids[edges[next]], b.at[b.n++] = edges[next] + 1;
        }
        if (b.n == 0) break;
        advance(l, &b, 0, 0);
        for (long i = b.n - 1; i >= 0; i--) {
            long row = b.row[i];
            if (b.at[i] < edges[row + 1]) {
                b.token[i] = ids[b.at[i]++];
            } else {
                get(width, b.h, i, ends + row * width);
                leave(width, &b, i);
            }
        }
    }
    end(&b);
}

/* One step of states (count, width), which are replaced, and the scores (count, characters) of what comes next. */
void gru_next(const layer *l, int64_t count, const int64_t *tokens, const bf16 *fixed, bf16 *states, float *scores) {
    long width = l->width;
    block b = begin(width);
    for (long first = 0; first < count; first += BLOCK) {
        b.n = count - first < BLOCK ? count - first : BLOCK;
        for (long i = 0; i < b.n; i++) {
            b.row[i] = first + i, b.token[i] = tokens[first + i];
            put(width, b.h, i, states + (first + i) * width);
        }
        advance(l, &b, fixed, 0);
        for (long i = 0; i < b.n; i++) get(width, b.h, i, states + (first + i) * width);
        read_out(l, b.n, b.h, scores + first * l->characters);
    }
    end(&b);
}

/* The functions for training run in so many of OpenMP's threads, which are PyTorch's: others would find these spinning
   on their processors. */

/* A training's strings, tokens (time, batch), with fixed (batch, 3 width) or null: from states[0] writes the other states
   (time + 1, batch, width) and gates (time, batch, 4 width). */
void gru_forward(const layer *l, int64_t time, int64_t batch, int64_t threads, const int64_t *tokens,
                 const bf16 *fixed, bf16 *states, bf16 *gates) {
    long width = l->width;
#pragma omp parallel num_threads(threads)
    {
        block b = begin(width);
#pragma omp for schedule(static)
        for (long first = 0; first < batch; first += BLOCK) {
            b.n = batch - first < BLOCK ? batch - first : BLOCK;
            for (long i = 0; i < b.n; i++) {
                b.row[i] = first + i;
                put(width, b.h, i, states + (first + i) * width);
            }
            for (long t = 0; t < time; t++) {
                long at = t * batch + first;
                memcpy(b.token, tokens + at, 8 * b.n);
                advance(l, &b, fixed, gates + at * 4 * width);
                for (long i = 0; i < b.n; i++) get(width, b.h, i, states + (at + batch + i) * width);
            }
        }
        end(&b);
    }
}

static inline __attribute__((always_inline)) void back_block(long width, int every,
    const bf16 *restrict outer, const float *restrict inner, const bf16 *restrict g, const bf16 *restrict h,
    float *restrict carried, bf16 *restrict flow, float *restrict table, float *restrict fixed, float *restrict bias) {
    float flows[3][BLOCK];
    for (int j = 0; j < BLOCK; j++) {
        float r = up(g[j]), z = up(g[width + j]), n = up(g[2 * width + j]), m = up(g[3 * width + j]);
        float d = carried[j] + inner[j];
        if (every) d += up(outer[j]);
        float dn = d * (1.f - z) * (1.f - n * n), dm = dn * r;
        float dr = dn * m * r * (1.f - r), dz = d * (up(h[j]) - n) * z * (1.f - z);
        flows[0][j] = dr, flows[1][j] = dz, flows[2][j] = dm;
        table[j] += dr, table[width + j] += dz, table[2 * width + j] += dn, bias[j] += dm;
        if (every) fixed[j] += dr, fixed[width + j] += dz, fixed[2 * width + j] += dn;
        carried[j] = d * z;
    }
    for (int k = 0; k < 3; k++) _mm512_store_si512(flow + k * BLOCK * width, down(flows[k]));
}

/* Columns of 32 rows become lines, 32 by 32 at a time, `far` numbers from each other: halves of them change places, then
   quarters of these, and so on; past the caches, for nothing reads them soon. */
static void turn(long width, const bf16 *h, long far, bf16 *lines) {
    for (long j = 0; j < width; j += BLOCK, h += BLOCK * BLOCK, lines += far) {
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
        for (int i = 0; i < BLOCK; i++) _mm512_stream_si512((__m512i *)(lines + i * BLOCK), r[i]);
    }
}

/* The way back. back: W, packed as the weight of W h is, for flow W; outer (time, batch, width): gradient of each
   output, or null, as is fixed then; carried (batch, width), read and written: that of the last state, then of the
   first; writes flow (3 width / 32, time, batch / 32, 32, 32), the gradient of W h by columns and rows, and adds to
   those of fixed and, each thread its own part, of tables (threads, …, 3 width) and biases (threads, width). */
void gru_backward(const layer *l, const bf16 *back, int64_t time, int64_t batch, int64_t threads, int64_t characters,
                  const int64_t *tokens, const bf16 *outer, const bf16 *states, const bf16 *gates, float *carried,
                  bf16 *flow, float *tables, float *fixed, float *biases) {
    long width = l->width, blocks = (batch + BLOCK - 1) / BLOCK;
#pragma omp parallel num_threads(threads)
    {
        float *table = tables + omp_get_thread_num() * characters * 3 * width;
        float *bias = biases + omp_get_thread_num() * width, *inner = aligned_alloc(64, 4 * BLOCK * width);
        block b = begin(3 * width);
#pragma omp for schedule(static)
        for (long first = 0; first < batch; first += BLOCK) {
            b.n = batch - first < BLOCK ? batch - first : BLOCK;
            if (b.n < BLOCK) memset(b.h, 0, 6 * BLOCK * width);
            memset(inner, 0, 4 * BLOCK * width);
            for (long t = time - 1; t >= 0; t--) {
                for (long i = 0; i < b.n; i++) {
                    long at = t * batch + first + i, row = first + i;
                    for (long j = 0; j < width; j += BLOCK) {
                        const bf16 *g = gates + at * 4 * width + j, *h = states + at * width + j;
                        const float *in = inner + (j + i) * BLOCK;
                        float *c = carried + row * width + j, *x = table + tokens[at] * 3 * width + j;
                        if (outer)
                            back_block(width, 1, outer + at * width + j, in, g, h, c, b.h + (j + i) * BLOCK, x,
                                       fixed + row * 3 * width + j, bias + j);
                        else
                            back_block(width, 0, 0, in, g, h, c, b.h + (j + i) * BLOCK, x, 0, bias + j);
                    }
                }
                bf16 *lines = flow + (t * blocks + first / BLOCK) * BLOCK * BLOCK;
                turn(3 * width, b.h, time * blocks * BLOCK * BLOCK, lines);
                for (long j = 0; j < width; j += BLOCK)
                    product(0, b.n, 3 * width, b.h, back + 3 * j * width, inner + j * BLOCK);
            }
            for (long i = 0; i < b.n; i++)
                for (long j = 0; j < width; j++)
                    carried[(first + i) * width + j] += inner[(j / BLOCK * BLOCK + i) * BLOCK + j % BLOCK];
        }
        free(inner);
        end(&b);
    }
}

/* The gradient of W: out (3 width / 32, width / 32, 32, 32), which is 0, becomes flow' h, with h the states (time,
   batch, width) before each step. As many rows of flow and h at a time as the nearest caches hold. */
void gru_across(int64_t width, int64_t time, int64_t batch, int64_t threads, const bf16 *flow, const bf16 *states,
                float *out) {
    enum { MOST = 8, SQUARE = BLOCK * BLOCK };
    long blocks = (batch + BLOCK - 1) / BLOCK, all = time * blocks, wide = width / BLOCK;
    bf16 mixed[2][BLOCK];
    for (int k = 0; k < BLOCK; k++)
        for (int half = 0; half < 2; half++) mixed[half][k] = k / 2 + 16 * half + k % 2 * BLOCK;
    __m512i left = _mm512_loadu_si512(mixed[0]), right = _mm512_loadu_si512(mixed[1]), none = _mm512_setzero_si512();
#pragma omp parallel num_threads(threads)
    {
        bf16 *pairs = aligned_alloc(64, 2 * MOST * BLOCK * width);
        lay_tiles();
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
                    product(1, BLOCK, n * BLOCK, flow + (g * all + start) * SQUARE, pairs + j * MOST * SQUARE,
                            out + (g * wide + j) * SQUARE);
        }
        clear_tiles();
        free(pairs);
    }
}
