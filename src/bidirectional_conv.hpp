// Depth-wise convolution along the tokens in both directions, with SiLU, and its gradient (see
// kernels.h for the meaning).
//
// A tile of tokens of one block of channels is copied together with as many neighbours as the
// kernel reaches, zeros beyond the ends: no special cases are left, and each row is read once.

#pragma once

#include "blocks.hpp"
#include "kernels.h"
#include "simd.hpp"

namespace {

constexpr int kConvTile = 32;  // tokens
constexpr int kMaxTaps = 16;
constexpr int kConvRows = kConvTile + 2 * (kMaxTaps - 1);

// Loops over taps are unrolled for the usual kernel of 4; kTaps is 0 for any other.
template <int kTaps>
INLINE int taps_of(const ConvArguments& a) {
  return kTaps ? kTaps : static_cast<int>(a.taps);
}

// The kernels and biases of both directions for one block of channels.
struct Filter {
  Vec taps[2][kMaxTaps];
  Vec bias[2];
};

INLINE void load_filter(const ConvArguments& a, int64_t c, int count, Filter& filter) {
  for (int d = 0; d < 2; ++d) {
    filter.bias[d] = load(a.bias + d * a.channels + c, count);
    for (int64_t j = 0; j < a.taps; ++j)
      filter.taps[d][j] = load(a.weight + (d * a.taps + j) * a.channels + c, count);
  }
}

// Copies rows `low` to `high` - 1, zeros where there are none.
template <typename T>
INLINE void copy_rows(const ConvArguments& a, const Column<T>& from, int64_t sequence, int64_t low,
                      int64_t high, int count, Vec* to) {
  for (int64_t token = low; token < high; ++token) {
    const bool exists = token >= 0 && token < a.length;
    *to++ = exists ? load(from(token * a.batch + sequence), count) : Vec{};
  }
}

// The convolution of direction d at the token whose input is x[0].
template <int kTaps>
INLINE Vec convolve(const ConvArguments& a, const Filter& filter, int d, const Vec* x) {
  Vec result = filter.bias[d];
  for (int j = 0; j < taps_of<kTaps>(a); ++j) result += filter.taps[d][j] * x[d ? j : -j];
  return result;
}

template <typename T, int kTaps>
INLINE void conv_tile(const ConvArguments& a, int64_t sequence, int64_t first) {
  const int64_t end = smaller(a.length, first + kConvTile), reach = a.taps - 1;
  const int64_t blocks = ceiling(a.channels, kLanes);
  Vec x[kConvRows];
  Filter filter;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t c = block * kLanes;
    const int count = static_cast<int>(smaller(kLanes, a.channels - c));
    const Ahead ahead(block, blocks, kConvTile * a.batch);
    const Column<T> y[2] = {{a.y, 0, c, ahead}, {a.y, 1, c, ahead}};
    load_filter(a, c, count, filter);
    copy_rows(a, Column<T>(a.x, 0, c, ahead), sequence, first - reach, end + reach, count, x);
    for (int64_t token = first; token < end; ++token)
      for (int d = 0; d < 2; ++d) {
        const Vec v = convolve<kTaps>(a, filter, d, x + token - first + reach);
        store(y[d](token * a.batch + sequence), v * sigmoid(v), count);
      }
  }
}

template <typename T, int kTaps>
void conv_tiles(const ConvArguments& a) {
  const int64_t tiles = ceiling(a.length, kConvTile);
#pragma omp parallel for num_threads(a.threads) schedule(static) collapse(2)
  for (int64_t tile = 0; tile < tiles; ++tile)
    for (int64_t sequence = 0; sequence < a.batch; ++sequence)
      conv_tile<T, kTaps>(a, sequence, tile * kConvTile);
}

void conv_forward(const ConvArguments& a) {
  if (a.taps == 4)
    a.bfloat16 ? conv_tiles<BFloat16, 4>(a) : conv_tiles<float, 4>(a);
  else
    a.bfloat16 ? conv_tiles<BFloat16, 0>(a) : conv_tiles<float, 0>(a);
}

// Sums over the tokens of one block: the gradient of a Filter.
template <int kTaps>
INLINE void conv_tile_gradient(const ConvArguments& a, int64_t sequence, int64_t first,
                               int64_t block, int64_t blocks, Filter& sums) {
  const int64_t end = smaller(a.length, first + kConvTile), reach = a.taps - 1;
  const int64_t low = first - reach, high = end + reach, c = block * kLanes;
  const int count = static_cast<int>(smaller(kLanes, a.channels - c));
  const Ahead ahead(block, blocks, kConvTile * a.batch);
  Vec x[kConvRows], grad[2][kConvRows];
  Filter filter;
  load_filter(a, c, count, filter);
  copy_rows(a, Column<float>(a.x, 0, c, ahead), sequence, low, high, count, x);
  for (int d = 0; d < 2; ++d) {
    // x[t] went into tokens t to t + reach of direction 0, into t - reach to t of direction 1
    const int64_t from = d ? low : first, to = d ? end : high;
    Vec* g = grad[d] + from - low;
    copy_rows(a, Column<float>(a.grad_y, d, c, ahead), sequence, from, to, count, g);
    for (int64_t i = from - low; i < to - low; ++i) {
      const Vec v = convolve<kTaps>(a, filter, d, x + i), gate = sigmoid(v);
      grad[d][i] *= gate + gate * v * (1.0f - gate);
      sums.bias[d] += i >= reach && i < end - low ? grad[d][i] : Vec{};
    }
  }
  const Column<float> grad_x(a.grad_x, 0, c, ahead);
  Vec of_taps[2][kTaps ? kTaps : kMaxTaps];
  for (int d = 0; d < 2; ++d)
    for (int j = 0; j < taps_of<kTaps>(a); ++j) of_taps[d][j] = sums.taps[d][j];
  for (int64_t token = first; token < end; ++token) {
    const int64_t i = token - low;
    Vec sum = {};
    for (int j = 0; j < taps_of<kTaps>(a); ++j) {
      sum += filter.taps[0][j] * grad[0][i + j] + filter.taps[1][j] * grad[1][i - j];
      of_taps[0][j] += x[i] * grad[0][i + j];
      of_taps[1][j] += x[i] * grad[1][i - j];
    }
    store(grad_x(token * a.batch + sequence), sum, count);
  }
  for (int d = 0; d < 2; ++d)
    for (int j = 0; j < taps_of<kTaps>(a); ++j) sums.taps[d][j] = of_taps[d][j];
}

template <int kTaps>
INLINE void conv_blocks_gradient(const ConvArguments& a, int64_t sequence, int64_t first_block,
                                 int64_t end_block) {
  const int64_t blocks = end_block - first_block;
  Workspace work(vectors<Filter>(blocks));
  Filter* sums = work.take<Filter>(blocks);
  std::memset(sums, 0, sizeof(Filter) * blocks);
  for (int64_t first = 0; first < a.length; first += kConvTile)
    for (int64_t block = first_block; block < end_block; ++block)
      conv_tile_gradient<kTaps>(a, sequence, first, block, end_block, sums[block - first_block]);
  for (int64_t block = first_block; block < end_block; ++block) {
    const int64_t c = block * kLanes;
    const int count = static_cast<int>(smaller(kLanes, a.channels - c));
    const Filter& sum = sums[block - first_block];
    for (int d = 0; d < 2; ++d) {
      const int64_t row = sequence * 2 + d;
      store(a.grad_bias + row * a.channels + c, sum.bias[d], count);
      for (int64_t j = 0; j < a.taps; ++j)
        store(a.grad_weight + (row * a.taps + j) * a.channels + c, sum.taps[d][j], count);
    }
  }
}

void conv_backward(const ConvArguments& a) {
  if (a.batch == 0 || a.channels == 0) return;
  const int64_t blocks = ceiling(a.channels, kLanes);
  const int64_t size = ceiling(blocks, smaller(blocks, ceiling(a.threads, a.batch)));
#pragma omp parallel for num_threads(a.threads) schedule(dynamic) collapse(2)
  for (int64_t sequence = 0; sequence < a.batch; ++sequence)
    for (int64_t block = 0; block < blocks; block += size)
      if (a.taps == 4)
        conv_blocks_gradient<4>(a, sequence, block, smaller(blocks, block + size));
      else
        conv_blocks_gradient<0>(a, sequence, block, smaller(blocks, block + size));
}

}  // namespace
