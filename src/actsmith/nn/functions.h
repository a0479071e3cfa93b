/* The scalar functions of a generated kernel, written so that GCC and Clang turn a loop over them into SIMD code: no
   branch, no table, no call but those of the vector libm. T is float, or double with WIDE defined; VECTOR_LIBM is
   defined where the C library has SIMD forms of its functions. Nothing here may rely on -ffast-math: infinities and
   NaN go through as in the torch twin (actsmith/formula/lower.py, torch_ops). */

#ifdef WIDE
typedef double T;
#define SAFE_LOG 700.0
#define LIBM(name) name
#else
typedef float T;
#define SAFE_LOG 85.0f
#define LIBM(name) name##f
#endif

#ifdef VECTOR_LIBM
#define SIMD __attribute__((simd("notinbranch"), const))
#else
#define SIMD __attribute__((const))
#endif

/* Under names of our own: of the built-in ones GCC makes sincos() and pow() tricks, which end the SIMD code. */
#define STRING_(s) #s
#define STRING(s) STRING_(s)
#define UNARY(name) SIMD extern T m_##name(T) __asm__(PREFIX STRING(LIBM(name)));
#ifdef __APPLE__
#define PREFIX "_"
#else
#define PREFIX ""
#endif
UNARY(exp) UNARY(log) UNARY(sin) UNARY(cos) UNARY(sinh) UNARY(cosh) UNARY(atan) UNARY(asinh) UNARY(erf) UNARY(erfc)
UNARY(expm1) UNARY(log1p) UNARY(tanh)
SIMD extern T m_pow(T, T) __asm__(PREFIX STRING(LIBM(pow)));

#define INLINE static inline __attribute__((always_inline))
#define INFINITE ((T)__builtin_inf())
#define HALF_LOG_2PI ((T)0.91893853320467274178)
#define LOG_2 ((T)0.69314718055994530942)

INLINE T f_abs(T u) { return LIBM(__builtin_fabs)(u); }
INLINE T f_floor(T u) { return LIBM(__builtin_floor)(u); }
INLINE T f_sqrt(T u) { return LIBM(__builtin_sqrt)(u); }
INLINE T f_relu(T u) { return u < 0 ? 0 : u; }
INLINE T f_step(T u) { return u > 0 ? 1 : 0; }
INLINE T f_sign(T u) { return (T)(u > 0) - (T)(u < 0); }
INLINE T f_max(T a, T b) { return a > b ? a : a != a ? a : b; }
INLINE T f_min(T a, T b) { return a < b ? a : a != a ? a : b; }
INLINE T f_where(T c, T a, T b) { return c > 0 ? a : b; }
INLINE T f_rescue(T plain, T safe, T size) { return size <= SAFE_LOG ? plain : safe; }
INLINE T f_rescue_log(T plain, T safe) { return plain == -INFINITE ? safe : plain; }

#ifdef WIDE
#define f_exp m_exp
#define f_expm1 m_expm1
#define f_tanh m_tanh
#define f_erf m_erf
#define f_erfc m_erfc
INLINE T f_sech(T u) { return 1 / m_cosh(u); }
INLINE T log1p_of_fraction(T e) { return m_log1p(e); }
#else
INLINE float from_bits(int k) { float f; __builtin_memcpy(&f, &k, 4); return f; }
INLINE int to_bits(float f) { int k; __builtin_memcpy(&k, &f, 4); return k; }
INLINE float two_to(int k) { return from_bits((k + 127) << 23); }

/* x = k log 2 + r, |r| <= log(2)/2; log 2 in two parts, the first of few bits (Cody, Waite 1980). 1.5 2^23 rounds. */
#define ROUNDER 12582912.0f
#define REDUCE(x, k, r) \
  const float shifted = (x) * 1.44269504088896341f + ROUNDER; \
  const int k = to_bits(shifted) - to_bits(ROUNDER); \
  const float whole = shifted - ROUNDER; \
  const float r = ((x) - whole * 0.693359375f) + whole * 2.12194440e-4f

/* exp(r) - 1 on |r| <= log(2)/2 to 2^-25: the polynomial of Cephes' expf (Moshier 1989). */
INLINE float expm1_reduced(float r) {
  float p = 1.9875691500e-4f;
  p = p * r + 1.3981999507e-3f;
  p = p * r + 8.3334519073e-3f;
  p = p * r + 4.1665795894e-2f;
  p = p * r + 1.6666665459e-1f;
  p = p * r + 5.0000001201e-1f;
  return p * (r * r) + r;
}

INLINE float f_exp(float u) {
  float x = u > 89.0f ? 89.0f : u; /* exp(89) overflows, exp(-104) vanishes */
  x = x < -104.0f ? -104.0f : x;
  REDUCE(x, k, r);
  const int half = k >> 1; /* in two factors: 2^k itself may overflow or be subnormal */
  return (expm1_reduced(r) + 1.0f) * two_to(half) * two_to(k - half);
}

INLINE float f_expm1(float u) {
  float x = u > 89.0f ? 89.0f : u;
  x = x < -40.0f ? -40.0f : x;
  REDUCE(x, k, r);
  const float h = two_to(k - 1);
  return 2.0f * (h * expm1_reduced(r) + (h - 0.5f));
}

/* log(1 + e) for 0 <= e <= 1 through 2 artanh(e/(2 + e)). */
INLINE float log1p_of_fraction(float e) {
  const float s = e / (2.0f + e), q = s * s;
  float p = 1.0f / 13;
  p = p * q + 1.0f / 11;
  p = p * q + 1.0f / 9;
  p = p * q + 1.0f / 7;
  p = p * q + 1.0f / 5;
  p = p * q + 1.0f / 3;
  return 2 * s + 2 * s * (p * q);
}

INLINE float f_tanh(float u) {
  const float a = f_abs(u), t = f_expm1(2 * (a > 10.0f ? 10.0f : a));
  const float y = t / (t + 2);
  return u < 0 ? -y : a == 0 ? u : y;
}

/* Minimax polynomials after Juffa (2017): u + u P(u^2), and 1 - exp(Q(|u|)), each within one unit in the last place. */
INLINE float f_erf(float u) {
  const float a = f_abs(u), q = u * u;
  float r = -1.72853470e-5f * a + 3.83197126e-4f;
  r = r * q + (-3.88396438e-3f * a + 2.42546219e-2f);
  r = r * a - 1.06777877e-1f;
  r = r * a - 6.34846687e-1f;
  r = r * a - 1.28717512e-1f;
  r = r * a - a;
  const float far = 1.0f - f_exp(r);
  float p = -5.96761703e-4f;
  p = p * q + 4.99119423e-3f;
  p = p * q - 2.67681349e-2f;
  p = p * q + 1.12819925e-1f;
  p = p * q - 3.76125336e-1f;
  p = p * q + 1.28379166e-1f;
  return a > 0.927734375f ? (u < 0 ? -far : far) : p * u + u;
}

#ifdef __FMA__
#define FMA(a, b, c) __builtin_fmaf(a, b, c)
/* exp(a^2) erfc(a), a >= 0: (1 + 2a) times it as a polynomial of q = (a - 2)/(a + 2). Shepherd, Laframboise 1981,
   coefficients after Juffa. The rounding errors of both quotients are carried along. */
INLINE float scaled_erfc(float a) {
  const float r = 1.0f / (a + 2.0f), q0 = (a - 2.0f) * r;
  const float q = FMA(r, FMA(q0, -a, FMA(q0 + 1.0f, -2.0f, a)), q0);
  float p = -4.01139259e-4f;
  p = FMA(p, q, -1.23075210e-3f);
  p = FMA(p, q, 1.31355342e-3f);
  p = FMA(p, q, 8.63227434e-3f);
  p = FMA(p, q, -8.05991981e-3f);
  p = FMA(p, q, -5.42046614e-2f);
  p = FMA(p, q, 1.64055392e-1f);
  p = FMA(p, q, -1.66031361e-1f);
  p = FMA(p, q, -9.27639827e-2f);
  p = FMA(p, q, 2.76978403e-1f);
  const float d = 1.0f / FMA(2.0f, a, 1.0f), y = FMA(p, d, d);
  return FMA(FMA(FMA(y, -a, 0.5f), 2.0f, p - y), d, y);
}

/* The rounding error of a^2 is carried along, too; beyond the end both vanish, and a may be infinite. */
INLINE float f_erfc(float u) {
  const float a = f_abs(u), y = scaled_erfc(a), square = a * a, e = f_exp(-square);
  const float tail = a > 10.05f ? 0.0f : FMA(y, e, y * e * FMA(-a, a, square));
  return u != u ? u : u < 0 ? 2.0f - tail : tail;
}

/* Written so that the compiler finds the exponential of normal_pdf in it. */
INLINE float f_normal_cdf(float u) {
  const float a = f_abs(u), y = 0.5f * scaled_erfc(a * 0.70710678118654752440f);
  const float square = -0.5f * u * u, e = f_exp(square);
  const float tail = a > 14.2f ? 0.0f : FMA(y, e, y * e * FMA(-0.5f * u, u, -square));
  return u != u ? u : u > 0 ? 1.0f - tail : tail;
}
#else
#define f_erfc m_erfc
#endif

INLINE float f_sech(float u) {
  const float e = f_exp(-f_abs(u));
  return 2 * e / (1 + e * e);
}
#endif

#define f_log m_log
#define f_log1p m_log1p
#define f_sin m_sin
#define f_cos m_cos
#define f_sinh m_sinh
#define f_cosh m_cosh
#define f_atan m_atan
#define f_asinh m_asinh
#define f_pow m_pow

INLINE T f_sigmoid(T u) { return 1 / (1 + f_exp(-u)); }
INLINE T f_softplus(T u) { return f_relu(u) + log1p_of_fraction(f_exp(-f_abs(u))); }
#if defined(WIDE) || !defined(__FMA__)
INLINE T f_normal_cdf(T u) { return (T)0.5 * f_erfc(u * (T)-0.70710678118654752440); }
#endif
INLINE T f_normal_pdf(T u) { return f_exp((T)-0.5 * u * u) * (T)0.39894228040143267794; }
INLINE T f_log_abs(T u) { return f_log(f_abs(u)); }
INLINE T f_log_sigmoid(T u) { return -f_softplus(-u); }
INLINE T f_log_softplus(T u) { return u < -30 ? u : f_log(f_softplus(u)); }
INLINE T f_log_normal_pdf(T u) { return (T)-0.5 * u * u - HALF_LOG_2PI; }
INLINE T f_log_mul(T a, T b) { const T s = a + b; return s != s ? -INFINITE : s; }
INLINE T f_log_div(T a, T b) { const T d = a - b; return a == b ? 0 : d; }
INLINE T f_log_sech(T u) { const T a = f_abs(u); return LOG_2 - a - log1p_of_fraction(f_exp(-2 * a)); }

/* log Phi(u): where the tail underflows, -t^2 - log(2 t sqrt(pi)) + log(1 - 1/(2 t^2) + ...), t = -u/sqrt(2). */
INLINE T f_log_normal_cdf(T u) {
  const T t = u * (T)-0.70710678118654752440, tail = (T)0.5 * f_erfc(f_abs(t));
  const T q = 1 / (2 * t * t);
  const T series = -q * (1 - 3 * q * (1 - 5 * q * (1 - 7 * q * (1 - 9 * q))));
  const T far = -t * t - f_log(2 * t * (T)1.77245385090551602730) + f_log1p(series);
  const T near = f_log(tail), above = f_log1p(-tail);
#ifdef WIDE
  return u > 0 ? above : t > 26 ? far : near;
#else
  return u > 0 ? above : t > 9 ? far : near;
#endif
}

/* s(u) on n equally spaced knots: row 0 and row n hold the tails. */
INLINE T f_spline(const T (*rows)[4], int n, T low, T step, T u) {
  T cell = (u - low) / step;
  cell = cell > 0 ? cell : cell < 0 ? -1 : 0; /* NaN counts as 0 */
  cell = cell > n - 1 ? n - 1 : cell;
  const int i = (int)cell;
  const T d = u - (low + (i > 0 ? i : 0) * step);
  const T *c = rows[i + 1];
  return c[0] + d * (c[1] + d * (c[2] + d * c[3]));
}
