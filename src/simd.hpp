// Vectors of floats as wide as the processor that this file is compiled for, and the functions of
// them that the kernels need. GCC's and clang's vector extensions, so the same source serves every
// processor.
//
// Everything is in an unnamed namespace: the file is compiled several times with different flags,
// and code for one processor must not stand in for another's when they are linked.

#pragma once

#include <cstdint>
#include <cstring>

#ifdef __AVX512F__
#include <immintrin.h>
#endif

#define INLINE inline __attribute__((always_inline))

namespace {

#if defined(__AVX512F__)
constexpr int kLanes = 16;
#elif defined(__AVX2__)
constexpr int kLanes = 8;
#else
constexpr int kLanes = 4;
#endif

typedef float Vec __attribute__((vector_size(4 * kLanes)));
typedef int32_t IntVec __attribute__((vector_size(4 * kLanes)));
typedef uint32_t BitVec __attribute__((vector_size(4 * kLanes)));
typedef uint16_t HalfVec __attribute__((vector_size(2 * kLanes)));

#ifdef __AVX512F__
// The bits of 2^(k/32), k = 0 .. 31, each less k << 18.
alignas(64) constexpr uint32_t kExp2Table[32] = {
    0x3f800000, 0x3f7ecd87, 0x3f7daac3, 0x3f7c980f, 0x3f7b95c2, 0x3f7aa43a, 0x3f79c3d3, 0x3f78f4f0,
    0x3f7837f0, 0x3f778d3a, 0x3f76f532, 0x3f767043, 0x3f75fed7, 0x3f75a15b, 0x3f75583f, 0x3f7523f6,
    0x3f7504f3, 0x3f74fbaf, 0x3f7508a4, 0x3f752c4d, 0x3f75672a, 0x3f75b9be, 0x3f76248c, 0x3f76a81e,
    0x3f7744fd, 0x3f77fbb8, 0x3f78ccdf, 0x3f79b907, 0x3f7ac0c7, 0x3f7be4ba, 0x3f7d257d, 0x3f7e83b3,
};
#endif
constexpr float kLog2E = 1.44269504088896f;

// The upper half of a float32's bits.
struct BFloat16 {
  uint16_t bits;
};

INLINE Vec all(float x) { return x - Vec{}; }

INLINE Vec larger(Vec a, Vec b) { return a > b ? a : b; }
INLINE Vec smaller(Vec a, Vec b) { return a < b ? a : b; }

INLINE bool any(IntVec condition) {
#ifdef __AVX512F__
  return _mm512_test_epi32_mask((__m512i)condition, (__m512i)condition);
#else
  int32_t result = 0;
  for (int w = 0; w < kLanes; ++w) result |= condition[w];
  return result;
#endif
}

INLINE float widen(float x) { return x; }

INLINE float widen(BFloat16 x) {
  const uint32_t bits = static_cast<uint32_t>(x.bits) << 16;
  float result;
  std::memcpy(&result, &bits, sizeof result);
  return result;
}

// `count` is the number of elements that there are, at most kLanes; the lanes beyond are zero.
INLINE Vec load(const float* from, int count = kLanes) {
  Vec result = {};
  if (count == kLanes)
    std::memcpy(&result, from, sizeof result);
  else
    for (int w = 0; w < count; ++w) result[w] = from[w];
  return result;
}

INLINE Vec load(const BFloat16* from, int count = kLanes) {
  HalfVec half = {};
  if (count == kLanes)
    std::memcpy(&half, from, sizeof half);
  else
    for (int w = 0; w < count; ++w) half[w] = from[w].bits;
  return (Vec)(__builtin_convertvector(half, BitVec) << 16);
}

INLINE void store(float* to, Vec x, int count = kLanes) {
  if (count == kLanes)
    std::memcpy(to, &x, sizeof x);
  else
    for (int w = 0; w < count; ++w) to[w] = x[w];
}

INLINE void store(BFloat16* to, Vec x, int count = kLanes) {
  const BitVec bits = (BitVec)x;
  // to the nearest, ties to even; rounding up must not turn a NaN into an infinity
  const BitVec rounded = (bits + 0x7fff + ((bits >> 16) & 1)) >> 16;
  const HalfVec half =
      __builtin_convertvector(x == x ? rounded : (bits >> 16) | 0x40, HalfVec);
  if (count == kLanes)
    std::memcpy(to, &half, sizeof half);
  else
    for (int w = 0; w < count; ++w) to[w].bits = half[w];
}

template <int kWidth>
INLINE float sum(const float* x) {
  if constexpr (kWidth == 1) {
    return x[0];
  } else {
    typedef float Half __attribute__((vector_size(2 * kWidth)));
    Half low, high;
    std::memcpy(&low, x, sizeof low);
    std::memcpy(&high, x + kWidth / 2, sizeof high);
    low += high;
    float halves[kWidth / 2];
    std::memcpy(halves, &low, sizeof low);
    return sum<kWidth / 2>(halves);
  }
}

INLINE float sum(Vec x) {
  float lanes[kLanes];
  std::memcpy(lanes, &x, sizeof x);
  return sum<kLanes>(lanes);
}

constexpr float kSmallestExponent = -126.0f;  // of a normal float

// 2^x for x from -126 to 0, relative error below 2e-7 and vanishing towards 0, where it decides
// how long a slow state remembers.
INLINE Vec exp2_in_range(Vec x) {
#ifdef __AVX512F__
  // 2^(k/32) from a table in two registers, times a polynomial on [-1/64, 1/64]
  const __m512i low = _mm512_load_si512(kExp2Table), high = _mm512_load_si512(kExp2Table + 16);
  constexpr float magic = 393216.0f;  // 1.5 * 2^23 / 32: added to it, x is rounded to 1/32
  // The lowest 5 bits are k, the next ones belong into the exponent. One shift brings them there;
  // k, which comes along, has been subtracted from the table.
  const Vec shifted = x + magic;
  const BitVec power = (BitVec)_mm512_permutex2var_epi32(low, (__m512i)shifted, high);
  const Vec scale = (Vec)(power + ((BitVec)shifted << 18));
  const Vec r = (Vec)_mm512_reduce_ps((__m512)x, 5 << 4);  // what is left beside those 5 bits
  const Vec p = r * (r * 2.402268946e-1f + 6.931579113e-1f);
  return scale * p + scale;
#else
  constexpr float magic = 12582912.0f;  // 1.5 * 2^23: added to it, x is rounded to an integer
  const Vec shifted = x + magic;
  const Vec f = x - (shifted - magic);  // -1/2 .. 1/2
  Vec p = f * 1.326947590e-3f + 9.671925567e-3f;
  p = p * f + 5.550763010e-2f;
  p = p * f + 2.402223051e-1f;
  p = p * f + 6.931468844e-1f;
  p = p * f + 1.0f;
  return (Vec)((BitVec)p + ((BitVec)shifted << 23));  // the integer into the exponent
#endif
}

// The same for any x <= 0: what is smaller than 2^-126 becomes that.
INLINE Vec exp2_of_negative(Vec x) {
  return exp2_in_range(larger(all(kSmallestExponent), x));  // a NaN stays
}

// 1 / x for x in [1, 4], to the last bit or two.
INLINE Vec reciprocal(Vec x) {
#ifdef __AVX512F__
  const Vec r = (Vec)_mm512_rcp14_ps((__m512)x);
  return r * (2.0f - x * r);  // one step of Newton's: a third of the time of a division
#else
  return 1.0f / x;
#endif
}

INLINE Vec exp_of_negative(Vec x) { return exp2_of_negative(x * kLog2E); }

INLINE Vec magnitude(Vec x) { return (Vec)((IntVec)x & 0x7fffffff); }

INLINE Vec sigmoid(Vec x) {
  const Vec e = exp_of_negative(-magnitude(x));
  return (x < 0.0f ? e : all(1.0f)) * reciprocal(1.0f + e);
}

// log(1 + exp(x)) and, if wanted, its slope, the sigmoid.
INLINE Vec softplus(Vec x, Vec* slope = nullptr) {
  const Vec e = exp_of_negative(-magnitude(x));
  // log(1 + e) = 2 artanh(s); the series in s^2 <= 1/9, with coefficients fitted on that range
  const Vec s = e * reciprocal(2.0f + e);
  const Vec q = s * s;
  Vec p = q * 2.576751709e-1f + 2.841379642e-1f;
  p = p * q + 4.000120163e-1f;
  p = p * q + 6.666666269e-1f;
  p = p * q + 2.0f;
  if (slope) *slope = (x < 0.0f ? e : all(1.0f)) * reciprocal(1.0f + e);
  return larger(x, all(0.0f)) + s * p;
}

}  // namespace
