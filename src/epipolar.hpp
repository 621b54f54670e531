// The maxima of heatmaps along epipolar lines (see kernels.h for the meaning).
//
// Lines that are closer to the horizontal are sampled at every column, the others at every row:
// samples at the rest would be among the same pixels.

#pragma once

#include <cmath>
#include <cstring>

#include "blocks.hpp"
#include "kernels.h"
#include "simd.hpp"

namespace {

// Added to a double of small magnitude, it leaves the nearest integer in the lowest bits, ties to
// even.
constexpr double kRounding = 6755399441055744.0;  // 1.5 * 2^52

// The numbers of the pixels along the line a u + b v + c = 0, as many as are returned; that behind
// the last pixel where the line is outside. `flat`: for every column, else for every row.
INLINE int64_t line_pixels(const LineArguments& arguments, double a, double b, double c, bool flat,
                           int32_t* pixels) {
  const int64_t height = arguments.height, width = arguments.width;
  const int64_t count = flat ? width : height;
  const double other = static_cast<double>(flat ? height : width);
  const double slope = flat ? -a / b : -b / a, start = flat ? -c / b : -c / a;
  const int32_t step = static_cast<int32_t>(flat ? 1 : width);
  const int32_t stride = static_cast<int32_t>(flat ? width : 1);
  const int32_t limit = static_cast<int32_t>(other);
  const int32_t outside = static_cast<int32_t>(height * width);
  for (int32_t i = 0; i < count; ++i) {
    double at = slope * i + start;
    at = at > -1.0 ? at : -1.0;
    at = at < other ? at : other;
    const double shifted = at + kRounding;
    int64_t bits;
    std::memcpy(&bits, &shifted, sizeof bits);
    const int32_t rounded = static_cast<int32_t>(bits);
    pixels[i] = rounded >= 0 && rounded < limit ? i * step + rounded * stride : outside;
  }
  return count;
}

INLINE void line_maximum(const LineArguments& a, const float* table, const int32_t* pixels,
                         int64_t count, float* to) {
  for (int64_t c = 0; c < a.channels; c += kLanes) {
    Vec highest[4] = {};
    int64_t i = 0;
    for (; i + 4 <= count; i += 4)
      for (int k = 0; k < 4; ++k)
        highest[k] = larger(highest[k], load(table + pixels[i + k] * a.channels + c));
    for (; i < count; ++i)
      highest[0] = larger(highest[0], load(table + pixels[i] * a.channels + c));
    store(to + c, larger(larger(highest[0], highest[1]), larger(highest[2], highest[3])));
  }
}

void line_row(const LineArguments& a, int64_t map, int64_t row, int32_t* pixels) {
  const double* f = a.fundamental + map * 9;
  const float* table = a.table + map / a.targets * (a.height * a.width + 1) * a.channels;
  float* to = a.y + (map * a.target_height + row) * a.target_width * a.channels;
  for (int64_t column = 0; column < a.target_width; ++column, to += a.channels) {
    double line[3];
    bool vanishes[3];
    for (int k = 0; k < 3; ++k) {
      const double u = f[3 * k] * column, v = f[3 * k + 1] * row, w = f[3 * k + 2];
      line[k] = u + v + w;
      const double magnitude = std::fabs(u) + std::fabs(v) + std::fabs(w);
      vanishes[k] = std::fabs(line[k]) <= a.tolerance * magnitude;
    }
    const double x = vanishes[0] ? 0.0 : line[0], y = vanishes[1] ? 0.0 : line[1];
    const bool flat = std::fabs(x) <= std::fabs(y);
    const int64_t count =
        x == 0.0 && y == 0.0 ? 0 : line_pixels(a, x, y, line[2], flat, pixels);
    line_maximum(a, table, pixels, count, to);
  }
}

void line_maxima(const LineArguments& a) {
  const int64_t longest = a.height > a.width ? a.height : a.width;
#pragma omp parallel num_threads(a.threads)
  {
    Workspace work(vectors<int32_t>(longest));
    int32_t* pixels = work.take<int32_t>(longest);
#pragma omp for schedule(static) collapse(2)
    for (int64_t map = 0; map < a.maps * a.targets; ++map)
      for (int64_t row = 0; row < a.target_height; ++row) line_row(a, map, row, pixels);
  }
}

}  // namespace
