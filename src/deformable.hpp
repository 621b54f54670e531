// Deformable convolution, and the gradient of what it samples (see kernels.h for the meaning). A
// vector holds neighbouring columns of one row of the result.
//
// The input comes in a frame of two rows and columns of zeros, and positions are held in that: no
// special cases are left outside of the image.
//
// Heatmaps are zero but around a joint. Where none of a vector's positions comes near to anything
// else, nothing is looked up, and nothing is added up of it.

#pragma once

#include <cmath>
#include <cstring>
#include <vector>

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

// From top and left to before bottom and right positions find something that is not zero, or the
// slope towards it.
struct Box {
  float top, bottom, left, right;

  INLINE bool holds_any(Vec y, Vec x) const {
    return any((y >= top) & (y < bottom) & (x >= left) & (x < right));
  }
};

// The boxes around what is not zero in any channel of a group: (batch, groups).
std::vector<Box> boxes_of(const SampleArguments& a) {
  const int64_t width = framed_width(a), pixels = a.channels / a.groups * framed_pixels(a);
  std::vector<Box> boxes(a.batch * a.groups, Box{0, 0, 0, 0});
#pragma omp parallel for num_threads(a.threads)
  for (int64_t number = 0; number < a.batch * a.groups; ++number) {
    const float* x = a.x + number * pixels;
    int64_t top = a.height, bottom = -1, left = a.width, right = -1;
    for (int64_t line = 0; line < pixels / width; ++line) {
      const int64_t row = line % (a.height + 2 * kFrame) - kFrame;
      const float* from = x + line * width + kFrame;
      int64_t first = 0, last = a.width - 1;
      while (first < a.width && from[first] == 0) ++first;
      if (first == a.width) continue;
      while (from[last] == 0) --last;
      top = smaller(top, row);
      bottom = row > bottom ? row : bottom;
      left = smaller(left, first);
      right = last > right ? last : right;
    }
    if (right >= 0)
      boxes[number] = {top - 1.0f, bottom + 1.0f, left - 1.0f, right + 1.0f};
  }
  return boxes;
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

// From the first to before the last.
struct Range {
  int64_t first, last;
};

// Goes through columns of one row of positions of one point of the kernel, given the row's
// offsets: body(column, y, x, count) for each `count` of them. The first is a vector's first.
template <typename Body>
INLINE void for_columns(const SampleArguments& a, int64_t point, int64_t row, Range columns,
                        const float* dy, const float* dx, const Body& body) {
  const int64_t reach = a.kernel / 2;
  const float up = row + (point / a.kernel - reach) * a.dilation;
  const float left = (point % a.kernel - reach) * a.dilation;
  float ramp[kLanes];
  for (int w = 0; w < kLanes; ++w) ramp[w] = w;
  const Vec lanes = load(ramp);
  for (int64_t column = columns.first; column < columns.last; column += kLanes) {
    const int count = static_cast<int>(smaller(kLanes, a.width - column));
    const Vec y = load(dy + column, count) + up;
    const Vec x = load(dx + column, count) + (lanes + (column + left));
    body(column, y, x, count);
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
// end. Of the columns only those are sure to be written that are asked for.
INLINE void widen_row(const SampleArguments& a, const float* from, int64_t row, Range columns,
                      float* work, float* to) {
  const int64_t height = a.height / 2, width = a.width / 2;
  const int64_t near = row / 2, beside = near + (row % 2 ? 1 : -1);
  const float* here = from + near * width;
  const float* there = from + (beside < 0 ? 0 : smaller(beside, height - 1)) * width;
  float* between = work + kLanes;
  // whole vectors, and what lies beside them
  const int64_t first = columns.first / (2 * kLanes) * kLanes;
  const int64_t last = smaller(width, ceiling(columns.last, 2));
  for (int64_t i = first ? first - kLanes : 0; i < smaller(width, last + 1); i += kLanes) {
    const int count = static_cast<int>(smaller(kLanes, width - i));
    store(between + i, 0.75f * load(here + i, count) + 0.25f * load(there + i, count));
  }
  if (first == 0) between[-1] = between[0];
  if (last == width) between[width] = between[width - 1];
  for (int64_t i = first; i < last; i += kLanes) {
    const Vec middle = 0.75f * load(between + i);
    store_in_turn(to + 2 * i, middle + 0.25f * load(between + i - 1),
                  middle + 0.25f * load(between + i + 1));
  }
}

// How much of a row of the result is held in registers.
constexpr int kOutputs = 4, kVectors = 2;

// Adds up `count` of the `terms` rows of values, `stride` floats apart, each times its weight, for
// up to kOutputs outputs whose weights follow each other, and kVectors vectors of columns.
template <int kCount>
INLINE void add_up(const float* values, int64_t stride, const float* weight, int64_t terms,
                   const int32_t* used, int64_t count, Vec sums[][kVectors]) {
  for (int64_t i = 0; i < count; ++i) {
    const int64_t term = used[i];
    for (int v = 0; v < kVectors; ++v) {
      const Vec value = load(values + term * stride + v * kLanes);
      for (int o = 0; o < kCount; ++o) sums[o][v] += weight[o * terms + term] * value;
    }
  }
}

constexpr int kSpan = kVectors * kLanes;  // columns

INLINE int64_t spans(const SampleArguments& a) { return ceiling(a.width, kSpan); }

// In which rows and columns a point of the kernel may find something: offsets between others are
// never outside of their range. Columns are those of whole spans.
struct Reach {
  Range rows, columns;
};

// From where in an image a kernel's point, shifted so far, gets into an interval by its offsets.
INLINE Range range_of(const float* offsets, int64_t count, float shift, float from, float to,
                      int64_t size) {
  Vec lowest = all(HUGE_VALF), highest = all(-HUGE_VALF);
  for (int64_t i = 0; i < count; i += kLanes) {
    const int left = static_cast<int>(smaller(kLanes, count - i));
    const Vec some = load(offsets + i, left);
    lowest = smaller(some, lowest);  // no NaN, which finds nothing
    highest = larger(some, highest);
  }
  float low = lowest[0], high = highest[0];
  for (int w = 1; w < kLanes; ++w) {
    low = std::fmin(low, lowest[w]);
    high = std::fmax(high, highest[w]);
  }
  const auto held = [&](float place) {
    return static_cast<int64_t>(std::fmin(std::fmax(place, 0.0f), static_cast<float>(size)));
  };
  // one more at each end, for what is lost to rounding
  return {held(from - shift - high - 1), held(to - shift - low + 2)};
}

// (batch, groups, points)
std::vector<Reach> reaches_of(const SampleArguments& a, const std::vector<Box>& boxes) {
  const int64_t points = a.kernel * a.kernel, pixels = a.height * a.width / (a.halved ? 4 : 1);
  std::vector<Reach> reaches(boxes.size() * points);
#pragma omp parallel for num_threads(a.threads)
  for (int64_t number = 0; number < static_cast<int64_t>(reaches.size()); ++number) {
    const float *dy = a.offset + 2 * number * pixels, *dx = dy + pixels;
    const Box& box = boxes[number / points];
    const int64_t point = number % points;
    const float down = (point / a.kernel - a.kernel / 2) * a.dilation;
    const float right = (point % a.kernel - a.kernel / 2) * a.dilation;
    const Range rows = range_of(dy, pixels, down, box.top, box.bottom, a.height);
    const Range columns = range_of(dx, pixels, right, box.left, box.right, a.width);
    reaches[number] = {rows, {columns.first / kSpan * kSpan,
                              smaller(a.width, ceiling(columns.last, kSpan) * kSpan)}};
  }
  return reaches;
}

// What the points find in one row of one sample.
struct Found {
  float* values;   // (channels, points, spans of columns)
  int32_t* used;   // (spans, channels * points): the rows of values that are not all zero, ...
  int64_t* count;  // (spans): ... and how many of them there are
};

INLINE void sample_row(const SampleArguments& a, const Box* boxes, const Reach* reaches,
                       int64_t sample, int64_t row, float* work, const Found& found) {
  const int64_t points = a.kernel * a.kernel, per_group = a.channels / a.groups;
  const int64_t padded = spans(a) * kSpan, pixels = a.height * a.width / (a.halved ? 4 : 1);
  const float* offset = a.offset + sample * a.groups * 2 * points * pixels;
  const float* x = a.x + sample * a.channels * framed_pixels(a);
  for (int64_t span = 0; span < spans(a); ++span) found.count[span] = 0;
  for (int64_t group = 0; group < a.groups; ++group)
    for (int64_t point = 0; point < points; ++point, offset += 2 * pixels) {
      const Reach& reach = reaches[(sample * a.groups + group) * points + point];
      if (row < reach.rows.first || row >= reach.rows.last) continue;
      const float *dy = offset + row * a.width, *dx = dy + pixels;
      if (a.halved) {
        float* rows = work + padded + 2 * kLanes;
        widen_row(a, offset, row, reach.columns, work, rows);
        widen_row(a, offset + pixels, row, reach.columns, work, rows + padded);
        dy = rows;
        dx = rows + padded;
      }
      const Box& box = boxes[sample * a.groups + group];
      bool near = false;  // whether any vector of the span came near to something
      for_columns(a, point, row, reach.columns, dy, dx, [&](int64_t column, Vec v, Vec u, int) {
        const bool here = box.holds_any(v, u);
        const Place place = here ? place_at(a, v, u) : Place{};
        near = here || (near && column % kSpan);
        const bool ends = column % kSpan == kSpan - kLanes || column + kLanes >= a.width;
        for (int64_t c = group * per_group; c < (group + 1) * per_group; ++c) {
          const int64_t term = c * points + point, span = column / kSpan;
          store(found.values + term * padded + column,
                here ? sampled(a, x + c * framed_pixels(a), place) : Vec{});
          if (ends && near)
            found.used[span * a.channels * points + found.count[span]++] = term;
        }
      });
    }
}

void deform_row(const SampleArguments& a, const Box* boxes, const Reach* reaches, int64_t sample,
                int64_t row, float* work, const Found& found) {
  const int64_t terms = a.channels * a.kernel * a.kernel, padded = spans(a) * kSpan;
  sample_row(a, boxes, reaches, sample, row, work, found);
  for (int64_t output = 0; output < a.outputs; output += kOutputs) {
    const int64_t count = smaller(kOutputs, a.outputs - output);
    const float* weight = a.weight + output * terms;
    for (int64_t column = 0; column < a.width; column += kSpan) {
      Vec sums[kOutputs][kVectors] = {};
      const float* values = found.values + column;
      const int32_t* used = found.used + column / kSpan * terms;
      const int64_t uses = found.count[column / kSpan];
      if (count == kOutputs)
        add_up<kOutputs>(values, padded, weight, terms, used, uses, sums);
      else
        for (int64_t o = 0; o < count; ++o)
          add_up<1>(values, padded, weight + o * terms, terms, used, uses, sums + o);
      const int64_t left = smaller(kSpan, a.width - column);
      for (int64_t o = 0; o < count; ++o)
        std::memcpy(a.y + ((sample * a.outputs + output + o) * a.height + row) * a.width + column,
                    sums[o], sizeof(float) * left);
    }
  }
}

void deform_forward(const SampleArguments& a) {
  const int64_t terms = a.channels * a.kernel * a.kernel, padded = spans(a) * kSpan;
  const int64_t work_floats = 3 * padded + 2 * kLanes;
  const std::vector<Box> boxes = boxes_of(a);
  const std::vector<Reach> reaches = reaches_of(a, boxes);
#pragma omp parallel num_threads(a.threads)
  {
    Workspace room(vectors<float>(terms * padded) + vectors<float>(work_floats) +
                   vectors<int32_t>(terms * spans(a)) + vectors<int64_t>(spans(a)));
    float* values = room.take<float>(terms * padded);
    float* work = room.take<float>(work_floats);
    int32_t* used = room.take<int32_t>(terms * spans(a));
    const Found found{values, used, room.take<int64_t>(spans(a))};
    std::memset(values, 0, sizeof(float) * terms * padded);  // what lies beyond the columns
#pragma omp for schedule(static) collapse(2)
    for (int64_t sample = 0; sample < a.batch; ++sample)
      for (int64_t row = 0; row < a.height; ++row)
        deform_row(a, boxes.data(), reaches.data(), sample, row, work, found);
  }
}

// Goes through the channels of one group, row by row, point by point:
// body(point, first, y, x, count), `first` being the number of the first of `count` elements in
// (height, width) of the point.
template <typename Body>
INLINE void for_group(const SampleArguments& a, int64_t sample, int64_t group, const Body& body) {
  const int64_t points = a.kernel * a.kernel, pixels = a.height * a.width;
  const float* offset = a.offset + (sample * a.groups + group) * 2 * points * pixels;
  for (int64_t point = 0; point < points; ++point, offset += 2 * pixels)
    for (int64_t row = 0; row < a.height; ++row) {
      const float* dy = offset + row * a.width;
      for_columns(a, point, row, {0, a.width}, dy, dy + pixels,
                  [&](int64_t column, Vec y, Vec x, int count) {
        body(point, row * a.width + column, y, x, count);
      });
    }
}

void sample_group(const SampleArguments& a, const Box& box, int64_t sample, int64_t group) {
  const int64_t points = a.kernel * a.kernel, pixels = a.height * a.width;
  const int64_t count_channels = a.channels / a.groups;
  const int64_t first_channel = sample * a.channels + group * count_channels;
  for_group(a, sample, group, [&](int64_t point, int64_t pixel, Vec y, Vec x, int count) {
    const bool near = box.holds_any(y, x);
    const Place place = near ? place_at(a, y, x) : Place{};
    for (int64_t c = first_channel; c < first_channel + count_channels; ++c)
      store(a.columns + (c * points + point) * pixels + pixel,
            near ? sampled(a, a.x + c * framed_pixels(a), place) : Vec{}, count);
  });
}

// Adds to the gradient of a channel what comes from the places of a vector.
INLINE void spread(float* to, int64_t width, const Place& place, Vec grad, int count) {
  const Vec below = grad * place.down, above = grad - below;
  const Vec below_right = below * place.right, above_right = above * place.right;
  const Vec below_left = below - below_right, above_left = above - above_right;
  for (int w = 0; w < count; ++w) {
    float* corner = to + place.pixel[w];
    corner[0] += above_left[w];
    corner[1] += above_right[w];
    corner[width] += below_left[w];
    corner[width + 1] += below_right[w];
  }
}

void sample_group_gradient(const SampleArguments& a, const Box& box, int64_t sample,
                           int64_t group) {
  const int64_t points = a.kernel * a.kernel, pixels = a.height * a.width;
  const int64_t count_channels = a.channels / a.groups, width = framed_width(a);
  const int64_t first_channel = sample * a.channels + group * count_channels;
  float* grad_offset = a.grad_offset + (sample * a.groups + group) * 2 * points * pixels;
  for_group(a, sample, group, [&](int64_t point, int64_t pixel, Vec v, Vec u, int count) {
    Vec grad_down = {}, grad_right = {};
    const bool near = box.holds_any(v, u);
    const Place place = near || a.grad_x ? place_at(a, v, u) : Place{};
    for (int64_t c = first_channel; c < first_channel + count_channels; ++c) {
      if (!near && !a.grad_x) break;
      const Vec grad = load(a.grad_columns + (c * points + point) * pixels + pixel, count);
      if (near) {
        const Corners x(a, a.x + c * framed_pixels(a), place.pixel);
        const Vec above_slope = x.above_right - x.above_left;
        const Vec twist = x.below_right - x.below_left - above_slope;
        grad_right += grad * (above_slope + place.down * twist);
        grad_down += grad * (x.below_left - x.above_left + place.right * twist);
      }
      if (a.grad_x) spread(a.grad_x + c * framed_pixels(a), width, place, grad, count);
    }
    store(grad_offset + 2 * point * pixels + pixel, grad_down, count);
    store(grad_offset + (2 * point + 1) * pixels + pixel, grad_right, count);
  });
}

void sample_forward(const SampleArguments& a) {
  const std::vector<Box> boxes = boxes_of(a);
#pragma omp parallel for num_threads(a.threads) schedule(dynamic) collapse(2)
  for (int64_t sample = 0; sample < a.batch; ++sample)
    for (int64_t group = 0; group < a.groups; ++group)
      sample_group(a, boxes[sample * a.groups + group], sample, group);
}

void sample_backward(const SampleArguments& a) {
  const std::vector<Box> boxes = boxes_of(a);
#pragma omp parallel for num_threads(a.threads) schedule(dynamic) collapse(2)
  for (int64_t sample = 0; sample < a.batch; ++sample)
    for (int64_t group = 0; group < a.groups; ++group)
      sample_group_gradient(a, boxes[sample * a.groups + group], sample, group);
}

}  // namespace
