/* The instructions that gru.c uses, in plain C: so its tests run on processors that lack them, slowly. GCC splits
   vectors of 64 bytes into what the processor has. Products are summed in the order of the manual's pseudocode, but
   rounded once more than there, and numbers below 2^-126 are kept. */

#include <stdint.h>
#include <string.h>

typedef float __m512 __attribute__((vector_size(64), may_alias));
typedef long long __m512i __attribute__((vector_size(64), may_alias));
typedef short __m512bh __attribute__((vector_size(64), may_alias));
typedef uint16_t words __attribute__((vector_size(64), may_alias));
typedef int32_t ints __attribute__((vector_size(64), may_alias));

static inline uint16_t rounded(float x) { /* to the nearest bfloat16, ties to even */
    uint32_t bits;
    memcpy(&bits, &x, 4);
    return x != x ? 0x7fc0 : (bits + 0x7fff + (bits >> 16 & 1)) >> 16;
}

static inline float widened(uint16_t v) {
    uint32_t bits = (uint32_t)v << 16;
    float x;
    memcpy(&x, &bits, 4);
    return x;
}

static inline __m512 _mm512_loadu_ps(const void *p) { __m512 v; memcpy(&v, p, 64); return v; }
static inline __m512i _mm512_loadu_si512(const void *p) { __m512i v; memcpy(&v, p, 64); return v; }
static inline __m512i _mm512_setzero_si512(void) { return (__m512i){0}; }
static inline __m512i _mm512_set1_epi32(int32_t x) { return (__m512i)((ints){0} + x); }
static inline void _mm512_store_si512(void *p, __m512i v) { memcpy(__builtin_assume_aligned(p, 64), &v, 64); }
static inline void _mm512_stream_si512(__m512i *p, __m512i v) { _mm512_store_si512(p, v); }
static inline void _mm_sfence(void) {}

static inline __m512bh _mm512_cvtne2ps_pbh(__m512 high, __m512 low) {
    words v;
    for (int k = 0; k < 16; k++) v[k] = rounded(low[k]), v[16 + k] = rounded(high[k]);
    return (__m512bh)v;
}

static inline __m512 _mm512_dpbf16_ps(__m512 sum, __m512bh a, __m512bh b) {
    words x = (words)a, y = (words)b;
    for (int k = 0; k < 16; k++) {
        sum[k] += widened(x[2 * k + 1]) * widened(y[2 * k + 1]);
        sum[k] += widened(x[2 * k]) * widened(y[2 * k]);
    }
    return sum;
}

static inline __m512i _mm512_permutex2var_epi16(__m512i a, __m512i index, __m512i b) {
    words first = (words)a, second = (words)b, from = (words)index, v;
    for (int k = 0; k < 32; k++) v[k] = from[k] & 32 ? second[from[k] & 31] : first[from[k] & 31];
    return (__m512i)v;
}

#ifdef __AMX_BF16__
static __thread char tile[8][1024]; /* 16 rows of 64 bytes each */

static inline void _tile_loadconfig(const void *config) { (void)config; }
static inline void _tile_release(void) {}
static inline void _tile_zero(int t) { memset(tile[t], 0, 1024); }
static inline void _tile_loadd(int t, const void *p, long stride) {
    for (int i = 0; i < 16; i++) memcpy(tile[t] + 64 * i, (const char *)p + i * stride, 64);
}
static inline void _tile_stream_loadd(int t, const void *p, long stride) { _tile_loadd(t, p, stride); }
static inline void _tile_stored(int t, void *p, long stride) {
    for (int i = 0; i < 16; i++) memcpy((char *)p + i * stride, tile[t] + 64 * i, 64);
}
static inline void _tile_dpbf16ps(int sums, int a, int b) {
    const uint16_t *x = (const uint16_t *)tile[a], *y = (const uint16_t *)tile[b];
    float *out = (float *)tile[sums];
    for (int i = 0; i < 16; i++)
        for (int k = 0; k < 16; k++)
            for (int j = 0; j < 16; j++) {
                out[16 * i + j] += widened(x[32 * i + 2 * k]) * widened(y[32 * k + 2 * j]);
                out[16 * i + j] += widened(x[32 * i + 2 * k + 1]) * widened(y[32 * k + 2 * j + 1]);
            }
}
#endif
