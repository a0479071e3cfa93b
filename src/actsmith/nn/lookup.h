/* Each row of `inner` elements goes through a table of its own: x -> g times the derivative ORDER of its cubic.

   A table is rows of four floats: (shift, cells per unit, 0, 0), then the coefficients, in powers of u - k, of the cell
   (k, k + 1], u = (x - shift) cells per unit, for k = -half - 1 (all that lies below), ..., half (all above). An element's
   row is copied as one piece of memory: a vector gather takes twice as long. */

#ifdef WIDE
typedef double T;
#define CEIL __builtin_ceil
#define FAR 1e300
#else
typedef float T;
#define CEIL __builtin_ceilf
#define FAR 1e30f /* where an infinite x is taken to be */
#endif
#define EXPORT __attribute__((visibility("default")))
#define INLINE static inline __attribute__((always_inline))
enum { BLOCK = 128, CHUNK = 8192 };

INLINE T derivative(T t, T a, T b, T c, T d) {
  switch (ORDER) {
    case 0: return a + t * (b + t * (c + t * d));
    case 1: return b + t * (2 * c + t * (3 * d));
    case 2: return 2 * c + t * (6 * d);
    case 3: return 6 * d;
    default: return 0 * t;
  }
}

static __attribute__((noinline)) void block(const T *restrict x, const T *restrict g, const float *restrict table,
                                            int half, T *restrict y) {
  const T shift = table[0], scale = table[1], low = -half - 1, high = half;
  T by = 1;
  for (int k = 0; k < ORDER; k++) by *= scale;
  int row[BLOCK];
  T at[BLOCK];
  float c[4 * BLOCK] __attribute__((aligned(64)));
  #pragma omp simd
  for (int i = 0; i < BLOCK; i++) {
    const T u = (x[i] - shift) * scale;
    T k = CEIL(u) - 1;
    k = k > low ? k : low; /* NaN, too */
    k = k < high ? k : high;
    T t = u - k;
    t = t > FAR ? FAR : t;
    t = t < -FAR ? -FAR : t;
    at[i] = t;
    row[i] = 4 * ((int)k + half + 2);
  }
  for (int i = 0; i < BLOCK; i++) __builtin_memcpy(c + 4 * i, table + row[i], 4 * sizeof(float));
  #define VALUE (by * derivative(at[i], c[4 * i], c[4 * i + 1], c[4 * i + 2], c[4 * i + 3]))
  if (g) {
    #pragma omp simd
    for (int i = 0; i < BLOCK; i++) y[i] = g[i] * VALUE;
  } else {
    #pragma omp simd
    for (int i = 0; i < BLOCK; i++) y[i] = VALUE;
  }
}

static void span(long n, const T *x, const T *g, const float *table, int half, T *y) {
  long b = 0;
  for (; b + BLOCK <= n; b += BLOCK) block(x + b, g ? g + b : 0, table, half, y + b);
  if (b == n) return;
  T px[BLOCK] = {0}, pg[BLOCK] = {0}, py[BLOCK]; /* a value does not depend on where in the tensor it stands */
  for (long i = b; i < n; i++) px[i - b] = x[i];
  for (long i = b; g && i < n; i++) pg[i - b] = g[i];
  block(px, g ? pg : 0, table, half, py);
  for (long i = b; i < n; i++) y[i] = py[i - b];
}

/* `g` may be absent, for 1. */
EXPORT int run(long n, int threads, long tables, long inner, long rows, const T *x, const T *g, const float *table,
               T *y) {
  const long pieces = (inner + CHUNK - 1) / CHUNK, chunks = inner ? n / inner * pieces : 0;
  #pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (long c = 0; c < chunks; c++) {
    const long row = c / pieces, at = c % pieces * CHUNK, from = row * inner + at;
    const long m = inner - at < CHUNK ? inner - at : CHUNK;
    span(m, x + from, g ? g + from : 0, table + row % tables * 4 * rows, (int)((rows - 3) / 2), y + from);
  }
  return 0;
}
