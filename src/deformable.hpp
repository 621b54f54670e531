// Deformable convolution, and the gradient of what it samples (see kernels.h for the meaning). A
// vector holds neighbouring columns of one row of the result.
//
// The input comes in a frame of two rows and columns of zeros, and positions are held in that: no
// special cases are left outside of the image.

#pragma once

#include <cstring>

#include "blocks.hpp"
#include "kernels.h"
#include "simd.hpp"

namespace {

constexpr int64_t kFrame = 2;

INLINE int64_t framed_width(const SampleArguments& a) { return a.width + 2 * kFrame; }
INLINE int64_t framed_pixels(const SampleArguments& a) {
  return (a.height + 2 * kFrame) * framed_width(a);
}

// The number of the pixel above and left of a position, and how far the position is beyond it.
struct Place {
  IntVec pixel;
  Vec down, right;
};

INLINE Vec held(Vec position, int64_t size) {
  // a NaN lies outside too
  return smaller(larger(position, all(-kFrame)), all(static_cast<float>(size)));
}

INLINE IntVec floor_of(Vec x) {
  const IntVec truncated = __builtin_convertvector(x, IntVec);
  return truncated + (__builtin_convertvector(truncated, Vec) > x);  // true is -1
}

INLINE Place place_at(const SampleArguments& a, Vec y, Vec x) {
  y = held(y, a.height);
  x = held(x, a.width);
  const IntVec row = floor_of(y), column = floor_of(x);
  return {(row + kFrame) * static_cast<int32_t>(framed_width(a)) + column + kFrame,
          y - __builtin_convertvector(row, Vec), x - __builtin_convertvector(column, Vec)};
}

// The elements at these places, and those behind them.
INLINE void gather_pairs(const float* from, const IntVec& index, Vec* first, Vec* second) {
#ifdef __AVX512F__
  // both of a pair at once, for a gather takes its time by the element
  const __m512i all = (__m512i)index;
  const __m512 low = _mm512_castpd_ps(
      _mm512_i32gather_pd(_mm512_castsi512_si256(all), from, sizeof(float)));
  const __m512 high = _mm512_castpd_ps(
      _mm512_i32gather_pd(_mm512_extracti64x4_epi64(all, 1), from, sizeof(float)));
  const __m512i even =
      _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
  const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
  *first = (Vec)_mm512_permutex2var_ps(low, even, high);
  *second = (Vec)_mm512_permutex2var_ps(low, odd, high);
#else
  for (int w = 0; w < kLanes; ++w) {
    (*first)[w] = from[index[w]];
    (*second)[w] = from[index[w] + 1];
  }
#endif
}

// The four pixels around a position.
struct Corners {
  Vec above_left, above_right, below_left, below_right;

  INLINE Corners(const SampleArguments& a, const float* channel, const IntVec& pixel) {
    gather_pairs(channel, pixel, &above_left, &above_right);
    gather_pairs(channel + framed_width(a), pixel, &below_left, &below_right);
  }
};

INLINE Vec sampled(const SampleArguments& a, const float* channel, const Place& place) {
  const Corners x(a, channel, place.pixel);
  const Vec above = x.above_left + place.right * (x.above_right - x.above_left);
  const Vec below = x.below_left + place.right * (x.below_right - x.below_left);
  return above + place.down * (below - above);
}

// Goes through one row of positions of one point of the kernel, given the row's offsets:
// body(column, place, count) for each `count` columns.
template <typename Body>
INLINE void for_columns(const SampleArguments& a, int64_t point, int64_t row, const float* dy,
                        const float* dx, const Body& body) {
  const int64_t reach = a.kernel / 2;
  const float up = row + (point / a.kernel - reach) * a.dilation;
  const float left = (point % a.kernel - reach) * a.dilation;
  float ramp[kLanes];
  for (int w = 0; w < kLanes; ++w) ramp[w] = w;
  const Vec lanes = load(ramp);
  for (int64_t column = 0; column < a.width; column += kLanes) {
    const int count = static_cast<int>(smaller(kLanes, a.width - column));
    const Vec y = load(dy + column, count) + up;
    const Vec x = load(dx + column, count) + (lanes + (column + left));
    body(column, place_at(a, y, x), count);
  }
}

INLINE void store_in_turn(float* to, Vec a, Vec b) {
#ifdef __AVX512F__
  const __m512i low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
  const __m512i high = _mm512_add_epi32(low, _mm512_set1_epi32(8));
  store(to, (Vec)_mm512_permutex2var_ps((__m512)a, low, (__m512)b));
  store(to + kLanes, (Vec)_mm512_permutex2var_ps((__m512)a, high, (__m512)b));
#else
  for (int w = 0; w < kLanes; ++w) {
    to[2 * w] = a[w];
    to[2 * w + 1] = b[w];
  }
#endif
}

// One row of offsets of half the size, bilinear between pixels, which begin and end half a pixel
// inside of the borders. `work` and `to` have room for whole vectors, `work` for one more at each
// end.
INLINE void widen_row(const SampleArguments& a, const float* from, int64_t row, float* work,
                      float* to) {
  const int64_t height = a.height / 2, width = a.width / 2;
  const int64_t near = row / 2, beside = near + (row % 2 ? 1 : -1);
  const float* here = from + near * width;
  const float* there = from + (beside < 0 ? 0 : smaller(beside, height - 1)) * width;
  float* between = work + kLanes;
  for (int64_t i = 0; i < width; i += kLanes) {
    const int count = static_cast<int>(smaller(kLanes, width - i));
    store(between + i, 0.75f * load(here + i, count) + 0.25f * load(there + i, count));
  }
  between[-1] = between[0];
  between[width] = between[width - 1];
  for (int64_t i = 0; i < width; i += kLanes) {
    const Vec middle = 0.75f * load(between + i);
    store_in_turn(to + 2 * i, middle + 0.25f * load(between + i - 1),
                  middle + 0.25f * load(between + i + 1));
  }
}

// How much of a row of the result is held in registers.
constexpr int kOutputs = 4, kVectors = 2;

// Adds up `terms` rows of values, `stride` floats apart, each times its weight, for up to kOutputs
// outputs whose weights follow each other, and kVectors vectors of columns.
template <int kCount>
INLINE void add_up(const float* values, int64_t stride, const float* weight, int64_t terms,
                   Vec sums[][kVectors]) {
  for (int64_t term = 0; term < terms; ++term, values += stride)
    for (int v = 0; v < kVectors; ++v) {
      const Vec value = load(values + v * kLanes);
      for (int o = 0; o < kCount; ++o) sums[o][v] += weight[o * terms + term] * value;
    }
}

INLINE int64_t padded_width(const SampleArguments& a) {
  return ceiling(a.width, kVectors * kLanes) * kVectors * kLanes;
}

// Fills one row, (channels, points, padded width), with what the points find.
INLINE void sample_row(const SampleArguments& a, int64_t sample, int64_t row, float* work,
                       float* values) {
  const int64_t points = a.kernel * a.kernel, per_group = a.channels / a.groups;
  const int64_t padded = padded_width(a), pixels = a.height * a.width / (a.halved ? 4 : 1);
  const float* offset = a.offset + sample * a.groups * 2 * points * pixels;
  const float* x = a.x + sample * a.channels * framed_pixels(a);
  for (int64_t group = 0; group < a.groups; ++group)
    for (int64_t point = 0; point < points; ++point, offset += 2 * pixels) {
      const float *dy = offset + row * a.width, *dx = dy + pixels;
      if (a.halved) {
        float* rows = work + padded + 2 * kLanes;
        widen_row(a, offset, row, work, rows);
        widen_row(a, offset + pixels, row, work, rows + padded);
        dy = rows;
        dx = rows + padded;
      }
      for_columns(a, point, row, dy, dx, [&](int64_t column, const Place& place, int) {
        for (int64_t c = group * per_group; c < (group + 1) * per_group; ++c)
          store(values + (c * points + point) * padded + column,
                sampled(a, x + c * framed_pixels(a), place));
      });
    }
}

void deform_row(const SampleArguments& a, int64_t sample, int64_t row, float* work,
                float* values) {
  const int64_t terms = a.channels * a.kernel * a.kernel, padded = padded_width(a);
  sample_row(a, sample, row, work, values);
  for (int64_t output = 0; output < a.outputs; output += kOutputs) {
    const int64_t count = smaller(kOutputs, a.outputs - output);
    const float* weight = a.weight + output * terms;
    for (int64_t column = 0; column < a.width; column += kVectors * kLanes) {
      Vec sums[kOutputs][kVectors] = {};
      if (count == kOutputs)
        add_up<kOutputs>(values + column, padded, weight, terms, sums);
      else
        for (int64_t o = 0; o < count; ++o)
          add_up<1>(values + column, padded, weight + o * terms, terms, sums + o);
      const int64_t left = smaller(kVectors * kLanes, a.width - column);
      for (int64_t o = 0; o < count; ++o)
        std::memcpy(a.y + ((sample * a.outputs + output + o) * a.height + row) * a.width + column,
                    sums[o], sizeof(float) * left);
    }
  }
}

void deform_forward(const SampleArguments& a) {
  const int64_t terms = a.channels * a.kernel * a.kernel, padded = padded_width(a);
  const int64_t work_floats = 3 * padded + 2 * kLanes;
#pragma omp parallel num_threads(a.threads)
  {
    Workspace room(vectors<float>(terms * padded) + vectors<float>(work_floats));
    float* values = room.take<float>(terms * padded);
    float* work = room.take<float>(work_floats);
    std::memset(values, 0, sizeof(float) * terms * padded);  // what lies beyond the columns
#pragma omp for schedule(static) collapse(2)
    for (int64_t sample = 0; sample < a.batch; ++sample)
      for (int64_t row = 0; row < a.height; ++row) deform_row(a, sample, row, work, values);
  }
}

// Goes through the channels of one group, row by row, point by point:
// body(channel, first, place, count), `first` being the number of the first of `count` elements in
// (height, width) of the point.
template <typename Body>
INLINE void for_group(const SampleArguments& a, int64_t sample, int64_t group, const Body& body) {
  const int64_t points = a.kernel * a.kernel, pixels = a.height * a.width;
  const float* offset = a.offset + (sample * a.groups + group) * 2 * points * pixels;
  for (int64_t point = 0; point < points; ++point, offset += 2 * pixels)
    for (int64_t row = 0; row < a.height; ++row) {
      const float* dy = offset + row * a.width;
      for_columns(a, point, row, dy, dy + pixels,
                  [&](int64_t column, const Place& place, int count) {
        body(point, row * a.width + column, place, count);
      });
    }
}

void sample_group(const SampleArguments& a, int64_t sample, int64_t group) {
  const int64_t points = a.kernel * a.kernel, pixels = a.height * a.width;
  const int64_t count_channels = a.channels / a.groups;
  const int64_t first_channel = sample * a.channels + group * count_channels;
  for_group(a, sample, group, [&](int64_t point, int64_t pixel, const Place& place, int count) {
    for (int64_t c = first_channel; c < first_channel + count_channels; ++c)
      store(a.columns + (c * points + point) * pixels + pixel,
            sampled(a, a.x + c * framed_pixels(a), place), count);
  });
}

void sample_group_gradient(const SampleArguments& a, int64_t sample, int64_t group) {
  const int64_t points = a.kernel * a.kernel, pixels = a.height * a.width;
  const int64_t count_channels = a.channels / a.groups, width = framed_width(a);
  const int64_t first_channel = sample * a.channels + group * count_channels;
  float* grad_offset = a.grad_offset + (sample * a.groups + group) * 2 * points * pixels;
  for_group(a, sample, group, [&](int64_t point, int64_t pixel, const Place& place, int count) {
    Vec grad_down = {}, grad_right = {};
    for (int64_t c = first_channel; c < first_channel + count_channels; ++c) {
      const Corners x(a, a.x + c * framed_pixels(a), place.pixel);
      const Vec grad = load(a.grad_columns + (c * points + point) * pixels + pixel, count);
      const Vec above_slope = x.above_right - x.above_left;
      const Vec twist = x.below_right - x.below_left - above_slope;
      grad_right += grad * (above_slope + place.down * twist);
      grad_down += grad * (x.below_left - x.above_left + place.right * twist);
      const Vec below = grad * place.down, above = grad - below;
      const Vec below_right = below * place.right, above_right = above * place.right;
      const Vec below_left = below - below_right, above_left = above - above_right;
      float* to = a.grad_x + c * framed_pixels(a);
      for (int w = 0; w < count; ++w) {
        float* corner = to + place.pixel[w];
        corner[0] += above_left[w];
        corner[1] += above_right[w];
        corner[width] += below_left[w];
        corner[width + 1] += below_right[w];
      }
    }
    store(grad_offset + 2 * point * pixels + pixel, grad_down, count);
    store(grad_offset + (2 * point + 1) * pixels + pixel, grad_right, count);
  });
}

void sample_forward(const SampleArguments& a) {
#pragma omp parallel for num_threads(a.threads) schedule(dynamic) collapse(2)
  for (int64_t sample = 0; sample < a.batch; ++sample)
    for (int64_t group = 0; group < a.groups; ++group) sample_group(a, sample, group);
}

void sample_backward(const SampleArguments& a) {
#pragma omp parallel for num_threads(a.threads) schedule(dynamic) collapse(2)
  for (int64_t sample = 0; sample < a.batch; ++sample)
    for (int64_t group = 0; group < a.groups; ++group) sample_group_gradient(a, sample, group);
}

}  // namespace
