// φ of a Gaussian pair, and φ' times a gradient, in float32 from a table of polynomials.
//
// With b = x − origin, the intervals of |b| are those of t = 1 + |b| between quarters of powers of two: four bits
// of the float t are the number of the interval, so there is no search and no branch. Sixteen intervals a side
// reach |b| = 15; beyond, |φ| = |b|^γ p(15/|b|) with a polynomial p for each side.
//
// Plain C++ with a C interface: it needs no header of torch, builds in a second, and fits every torch.

#include <cmath>
#include <cstdint>
#include <cstring>
#if defined(__AVX512F__)
#include <immintrin.h>
#endif

namespace {

constexpr int kCells = 16;     // intervals a side; the upper side comes first
constexpr int kLines = 7;      // coefficients of a polynomial
constexpr int kTail = 6;       // coefficients of p
constexpr float kReach = 15.0f;

// As table.py lays it out.
struct Table {
  float origin, low, power, tail[2][kTail];
  float centre[2 * kCells];
  float value[kLines][2 * kCells];
  float slope[kLines][2 * kCells];
};

template <bool derivative>
float beyond(const Table& t, float b) {
  const float size = std::fabs(b);
  const float* c = t.tail[b < 0];
  const float s = kReach / size;  // 0 at infinity, NaN for NaN
  float p = 0.0f, dp = 0.0f;
  for (int k = kTail - 1; k >= 0; --k) {
    dp = dp * s + p;
    p = p * s + c[k];
  }
  if (derivative) return std::pow(size, t.power - 1.0f) * (t.power * p - s * dp);
  return std::copysign(std::pow(size, t.power) * p, b);
}

#if defined(__AVX512F__)

// Both sides of a line of the table fit into two registers, and a permutation of those is the look-up.
template <bool derivative>
void run(const Table& t, const float* x, const float* grad, float* out, std::int64_t n) {
  __m512 upper[kLines], lower[kLines];
  const auto& lines = derivative ? t.slope : t.value;
  for (int k = 0; k < kLines; ++k) {
    upper[k] = _mm512_loadu_ps(lines[k]);
    lower[k] = _mm512_loadu_ps(lines[k] + kCells);
  }
  const __m512 centre_up = _mm512_loadu_ps(t.centre), centre_low = _mm512_loadu_ps(t.centre + kCells);
  const __m512 origin = _mm512_set1_ps(t.origin), least = _mm512_set1_ps(t.low);
  const __m512 unit = _mm512_set1_ps(1.0f), reach = _mm512_set1_ps(kReach);
  const __m512i first = _mm512_set1_epi32(127 << 2), last = _mm512_set1_epi32(kCells - 1);
  const __m512i side = _mm512_set1_epi32(kCells);
  for (std::int64_t i = 0; i < n; i += 16) {
    const __mmask16 have = n - i >= 16 ? 0xffff : static_cast<__mmask16>((1u << (n - i)) - 1);
    const __m512 here = _mm512_maskz_loadu_ps(have, x + i);
    const __m512 b = _mm512_sub_ps(_mm512_max_ps(least, here), origin);  // max gives back a NaN that comes second
    const __m512 size = _mm512_abs_ps(b);
    const __m512i bits = _mm512_castps_si512(_mm512_add_ps(size, unit));
    __m512i cell = _mm512_min_epi32(_mm512_sub_epi32(_mm512_srli_epi32(bits, 21), first), last);
    const __mmask16 negative = _mm512_cmp_ps_mask(b, _mm512_setzero_ps(), _CMP_LT_OQ);
    cell = _mm512_mask_add_epi32(cell, negative, cell, side);
    const __m512 u = _mm512_sub_ps(size, _mm512_permutex2var_ps(centre_up, cell, centre_low));
    __m512 p = _mm512_permutex2var_ps(upper[kLines - 1], cell, lower[kLines - 1]);
    for (int k = kLines - 2; k >= 0; --k)
      p = _mm512_fmadd_ps(p, u, _mm512_permutex2var_ps(upper[k], cell, lower[k]));
    const __mmask16 far = _mm512_cmp_ps_mask(size, reach, _CMP_NLT_UQ) & have;  // NaN is far, too
    if (__builtin_expect(far != 0, 0)) {
      alignas(64) float lanes[16];
      _mm512_store_ps(lanes, p);
      for (int j = 0; j < 16; ++j)
        if (far >> j & 1) lanes[j] = beyond<derivative>(t, x[i + j] - t.origin);
      p = _mm512_load_ps(lanes);
    }
    if (derivative) p = _mm512_mul_ps(p, _mm512_maskz_loadu_ps(have, grad + i));
    _mm512_mask_storeu_ps(out + i, have, p);
  }
}

#else

template <bool derivative>
inline float within(const Table& t, float x) {
  const float b = (x < t.low ? t.low : x) - t.origin, size = std::fabs(b), level = 1.0f + size;
  std::int32_t bits;
  std::memcpy(&bits, &level, sizeof bits);
  int cell = (bits >> 21) - (127 << 2);
  cell = (cell < kCells ? cell : kCells - 1) + (b < 0 ? kCells : 0);
  const float u = size - t.centre[cell];
  const float* c = (derivative ? t.slope[0] : t.value[0]) + cell;
  float p = c[(kLines - 1) * 2 * kCells];
#if defined(__GNUC__) && !defined(__clang__)
#pragma GCC unroll 8
#endif
  for (int k = kLines - 2; k >= 0; --k) p = p * u + c[k * 2 * kCells];
  return p;
}

inline bool is_far(const Table& t, float x) {
  return !(std::fabs((x < t.low ? t.low : x) - t.origin) < kReach);
}

// The loop over a block has no branch, so that a compiler makes vectors of it; what is far is made again.
template <bool derivative>
void run(const Table& t, const float* x, const float* grad, float* out, std::int64_t n) {
  constexpr std::int64_t block = 1024;
  for (std::int64_t start = 0; start < n; start += block) {
    const std::int64_t stop = start + block < n ? start + block : n;
    int far = 0;
#pragma omp simd reduction(| : far)
    for (std::int64_t i = start; i < stop; ++i) {
      const float p = within<derivative>(t, x[i]);
      far |= is_far(t, x[i]);
      out[i] = derivative ? p * grad[i] : p;
    }
    if (!far) continue;
    for (std::int64_t i = start; i < stop; ++i)
      if (is_far(t, x[i])) out[i] = (derivative ? grad[i] : 1.0f) * beyond<derivative>(t, x[i] - t.origin);
  }
}

#endif

template <bool derivative>
void spread(const Table& t, const float* x, const float* grad, float* out, std::int64_t n, int threads) {
  constexpr std::int64_t share = 1 << 15;
  const std::int64_t parts = (n + share - 1) / share;
#pragma omp parallel for if (threads > 1 && parts > 1) num_threads(threads) schedule(static)
  for (std::int64_t part = 0; part < parts; ++part) {
    const std::int64_t start = part * share, left = n - start;
    run<derivative>(t, x + start, derivative ? grad + start : nullptr, out + start, left < share ? left : share);
  }
}

}  // namespace

extern "C" {

int pair_table_floats() { return sizeof(Table) / sizeof(float); }

// out = φ(x)
void pair_forward(const float* x, float* out, std::int64_t n, const float* table, int threads) {
  spread<false>(*reinterpret_cast<const Table*>(table), x, nullptr, out, n, threads);
}

// out = φ'(x) · grad
void pair_backward(const float* x, const float* grad, float* out, std::int64_t n, const float* table, int threads) {
  spread<true>(*reinterpret_cast<const Table*>(table), x, grad, out, n, threads);
}

}
