/* Piecewise cubics: the value, or with BACKWARD both gradients, in one pass. Rows of c are cells; the first and the last
   are tails. Sums are added up by chunks of a fixed number of elements, so they do not depend on the number of threads. */

#ifdef WIDE
typedef double T;
typedef long INT;
#else
typedef float T;
typedef int INT;
#endif
#define EXPORT __attribute__((visibility("default")))
#define CHUNK 16384

/* The row, and the offset from its knot in d. NaN counts as 0. */
static inline __attribute__((always_inline)) INT place(T x, T low, T step, T last, T *d) {
  T cell = (x - low) / step;
  cell = cell >= 0 ? cell : cell < 0 ? -1 : -low / step;
  cell = cell > last ? last : cell;
  const INT i = (INT)cell;
  *d = x - (low + (i > 0 ? i : 0) * step);
  return i + 1;
}

#ifndef BACKWARD
static void span(long n, long cells, T low, T step, const T *restrict x, const T *restrict c, T *restrict y) {
  const T last = (T)(cells - 2);
  #pragma omp simd
  for (long i = 0; i < n; i++) {
    T d;
    const INT r = 4 * place(x[i], low, step, last, &d);
    y[i] = c[r] + d * (c[r + 1] + d * (c[r + 2] + d * c[r + 3]));
  }
}

EXPORT int run(long n, int threads, long cells, double low, double step, const T *x, const T *c, T *y) {
  const long chunks = (n + CHUNK - 1) / CHUNK;
  #pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (long k = 0; k < chunks; k++) {
    const long at = k * CHUNK, m = n - at < CHUNK ? n - at : CHUNK;
    span(m, cells, (T)low, (T)step, x + at, c, y + at);
  }
  return 0;
}
#else
#define BLOCK 256
#define COPIES 4

typedef double Powers __attribute__((vector_size(32), aligned(8)));

/* Neighbours often fall into one cell: several sums, kept apart, break the chain of additions. */
static void span(long n, long cells, T low, T step, const T *restrict x, const T *restrict g, const T *restrict c,
                 T *restrict slope, double *restrict total) {
  const T last = (T)(cells - 2);
  INT row[BLOCK];
  T offset[BLOCK];
  for (long b = 0; b < n; b += BLOCK) {
    const int m = n - b < BLOCK ? (int)(n - b) : BLOCK;
    #pragma omp simd
    for (int i = 0; i < m; i++) {
      T d;
      const INT r = 4 * place(x[b + i], low, step, last, &d);
      slope[b + i] = g[b + i] * (c[r + 1] + d * (2 * c[r + 2] + d * (3 * c[r + 3])));
      row[i] = r;
      offset[i] = g[b + i] == 0 ? 0 : d;
    }
    for (int i = 0; i < m; i++) {
      const double v = g[b + i], d = offset[i], square = d * d;
      const Powers powers = {1, d, square, d * square};
      Powers *to = (Powers *)(total + row[i] + (i % COPIES) * 4 * cells);
      *to += v * powers;
    }
  }
}

EXPORT int run(long n, int threads, long cells, double low, double step, const T *x, const T *g, const T *c, T *slope,
               T *total) {
  long size = (n / 64 + CHUNK - 1) / CHUNK * CHUNK; /* at most 64 chunks */
  if (size < CHUNK) size = CHUNK;
  const long chunks = (n + size - 1) / size, width = COPIES * 4 * cells;
  double *partial = __builtin_calloc((chunks + 1) * width, sizeof(double));
  if (!partial) return 1;
  #pragma omp parallel for num_threads(threads) schedule(static) if (threads > 1)
  for (long k = 0; k < chunks; k++) {
    const long at = k * size, m = n - at < size ? n - at : size;
    span(m, cells, (T)low, (T)step, x + at, g + at, c, slope + at, partial + k * width);
  }
  for (long k = 1; k < chunks; k++) for (long j = 0; j < width; j++) partial[j] += partial[k * width + j];
  for (long j = 0; j < 4 * cells; j++) {
    double sum = 0;
    for (int copy = 0; copy < COPIES; copy++) sum += partial[copy * 4 * cells + j];
    total[j] = (T)sum;
  }
  __builtin_free(partial);
  return 0;
}
#endif
