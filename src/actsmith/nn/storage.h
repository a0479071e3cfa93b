/* How a kernel's tensors are read and written: S is what they hold. float16 and bfloat16 become float and go back to the
   nearest, ties to even, subnormals included. Also the numbers that belong to channels, along a run of elements. */

#define EXPORT __attribute__((visibility("default")))

/* Asks for huge pages under a large result that was not written yet: else it costs a page fault every 4 KiB. */
#ifdef __linux__
#include <sys/mman.h>
#endif
static __attribute__((unused)) void prepare(void *result, long bytes) {
#if defined(__linux__) && defined(MADV_HUGEPAGE)
  const unsigned long page = 2ul << 20, from = ((unsigned long)result + page - 1) & -page;
  const long whole = (long)(((unsigned long)result + bytes) & -page) - (long)from;
  if (bytes >= HUGE_FROM) madvise((void *)from, whole, MADV_HUGEPAGE); /* a wish: a refusal changes nothing */
#endif
}

#if defined(STORED_FLOAT32) || defined(STORED_FLOAT64)
typedef T S;
#define DIRECT
INLINE T loaded(S s) { return s; }
INLINE S stored(T v) { return v; }
#else
typedef unsigned short S;
INLINE unsigned bits_of(float v) { unsigned k; __builtin_memcpy(&k, &v, 4); return k; }
INLINE float of_bits(unsigned k) { float v; __builtin_memcpy(&v, &k, 4); return v; }
#endif

#ifdef STORED_BFLOAT16
INLINE float loaded(S s) { return of_bits((unsigned)s << 16); }
INLINE S stored(float v) {
  const unsigned k = bits_of(v), rounded = (k + 0x7fffu + ((k >> 16) & 1)) >> 16;
  return (S)(v != v ? 0x7fc0u : rounded);
}
#endif

#ifdef STORED_FLOAT16
/* Giesen, "Half to float done quic": the exponent is moved by a multiplication, which also normalises subnormals. */
INLINE float loaded(S s) {
  const unsigned magnitude = s & 0x7fffu, sign = (unsigned)(s & 0x8000u) << 16;
  const unsigned moved = bits_of(of_bits(magnitude << 13) * 0x1p112f);
  return of_bits((magnitude >= 0x7c00u ? moved | 0x7f800000u : moved) | sign);
}
INLINE S stored(float v) {
  const unsigned k = bits_of(v), sign = (k >> 16) & 0x8000u, magnitude = k & 0x7fffffffu;
  const unsigned small = bits_of(of_bits(magnitude) + 0.5f) - 0x3f000000u; /* below 2^-14: the addition rounds */
  const unsigned normal = (magnitude - 0x38000000u + 0xfffu + ((magnitude >> 13) & 1)) >> 13;
  const unsigned finite = magnitude < 0x38800000u ? small : normal;
  const unsigned large = magnitude > 0x7f800000u ? 0x7e00u : 0x7c00u;
  return (S)((magnitude >= 0x477ff000u ? large : finite) | sign);
}
#endif

INLINE void load(T *restrict to, const S *restrict from, int m) {
  #pragma omp simd
  for (int i = 0; i < m; i++) to[i] = loaded(from[i]);
  for (int i = m; i < BLOCK; i++) to[i] = 1;
}
INLINE void store(S *restrict to, const T *restrict from, int m) {
  #pragma omp simd
  for (int i = 0; i < m; i++) to[i] = stored(from[i]);
}

/* Element j of the tensor belongs to channel (j / inner) % C. */
static __attribute__((unused)) void fill(T *restrict to, const T *restrict of, int m, long at, long C, long inner) {
  for (int i = 0; i < m;) {
    const long c = (at + i) / inner % C, rest = inner == 1 ? C - c : inner - (at + i) % inner;
    const int run = rest < m - i ? (int)rest : m - i;
    if (inner == 1) for (int k = 0; k < run; k++) to[i + k] = of[c + k];
    else for (int k = 0; k < run; k++) to[i + k] = of[c];
    i += run;
  }
  for (int i = m; i < BLOCK; i++) to[i] = of[0];
}
static __attribute__((unused)) void spread(double *restrict to, const T *restrict from, int m, long at, long C, long inner) {
  for (int i = 0; i < m;) {
    const long c = (at + i) / inner % C, rest = inner == 1 ? C - c : inner - (at + i) % inner;
    const int run = rest < m - i ? (int)rest : m - i;
    if (inner == 1) for (int k = 0; k < run; k++) to[c + k] += (double)from[i + k];
    else { double sum = 0; for (int k = 0; k < run; k++) sum += (double)from[i + k]; to[c] += sum; }
    i += run;
  }
}
