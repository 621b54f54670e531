// The arguments of the kernels and their C interface. radar_pose_ros/models/ops/native.py holds
// the same structures for ctypes; the meaning of the operations, in readable form, is beside it in
// selective_scan.py, causal_conv.py, deformable_conv.py, epipolar.py and ssd.py.

#pragma once

#include <cstdint>

// An array of rows of contiguous elements. Rows are numbered token * batch + sequence; strides are
// in elements. `group` is 0 where all groups share their rows.
struct Rows {
  void* data;
  int64_t row;
  int64_t group;
};

// For each group of channels g, channel c and state n, over the tokens t, last to first if bit g
// of `reversed` is set:
//     h[n] = exp(dt[t] A[n]) h[n] + dt[t] u[t] B[t, n]
//     y[t] = (sum_n C[t, n] h[n] + D u[t]) * silu(z[t])
// If y has the group stride 0, the groups are added up before they are gated.
struct ScanArguments {
  int64_t length, batch, groups, channels, states;
  int64_t reversed;
  int64_t softplus;  // dt is softplus(dt + dt_bias), else dt + dt_bias
  int64_t bfloat16;  // element type of u, dt, B, C, z and y; everything else is float32
  int64_t threads;
  Rows u, dt, B, C;
  Rows z;                // no gate if null
  Rows y;
  Rows ungated;          // float32: y before the gate; for the gradient and for sums in bfloat16
  const float* A;        // (groups, states, channels)
  const float* D;        // (groups, channels), or null
  const float* dt_bias;  // (groups, channels), or null
  float* checkpoints;    // for the gradient, or null: radar_pose_scan_checkpoints() floats

  // Gradients, all float32. Those of B and C come as `parts` shares of the channels, those of A, D
  // and dt_bias as one share for every sequence; the caller adds the shares up.
  int64_t parts;
  Rows grad_y;
  Rows grad_u, grad_dt;
  Rows grad_z;           // null if z is
  float* grad_B;         // (parts, length, batch, groups, states)
  float* grad_C;
  float* grad_A;         // (batch, groups, states, channels)
  float* grad_D;         // (batch, groups, channels), null if D is
  float* grad_dt_bias;   // (batch, groups, channels), null if dt_bias is
};

// y[t, 0] = silu(bias[0] + sum_k weight[0, k] x[t - k]),
// y[t, 1] = silu(bias[1] + sum_k weight[1, k] x[t + k]),
// with nothing before the first and after the last token.
struct ConvArguments {
  int64_t length, batch, channels, taps;
  int64_t bfloat16;  // element type of x and y
  int64_t threads;
  Rows x;
  Rows y;
  const float* weight;  // (2, taps, channels)
  const float* bias;    // (2, channels)
  // Gradients, float32; those of weight and bias come as one share for every sequence.
  Rows grad_y;
  Rows grad_x;
  float* grad_weight;   // (batch, 2, taps, channels)
  float* grad_bias;     // (batch, 2, channels)
};

// columns[i, c, k](p) = x[i, c](p + dilation * (row, column of k) + offset[i, g, k](p)) for a pixel
// p, bilinear between pixels, with zeros around the image; k goes through a square kernel's points
// row by row, counted from its middle, and g is the group of channel c. A deformable convolution is
//     y[i, o] = sum_c,k weight[o, c, k] columns[i, c, k]
// Everything is contiguous. x and its gradient have two more rows and columns at each side, which
// must be zero before.
struct SampleArguments {
  int64_t batch, channels, groups, outputs, height, width, kernel, dilation;
  int64_t halved;             // offsets have half the height and width; only for y
  int64_t threads;
  const float* x;             // (batch, channels, height + 4, width + 4)
  const float* offset;        // (batch, groups, kernel * kernel, 2, height, width), down first
  const float* weight;        // (outputs, channels, kernel * kernel)
  float* y;                   // (batch, outputs, height, width)
  float* columns;             // (batch, channels, kernel * kernel, height, width)
  // Gradients.
  const float* grad_columns;
  float* grad_x;              // or null
  float* grad_offset;
};

// y[i, t, pixel, c] = the maximum of table[i, ., c] along the line fundamental[i, t] (u, v, 1) of
// the target's pixel (u, v), at the pixels nearest to it in every column and row, and of 0, which
// is around the image. 0 where there is no such line: where its first two numbers are not larger
// than the tolerance times the sum of the magnitudes of what they were added up from. Everything is
// contiguous.
struct LineArguments {
  int64_t maps, targets;      // of each map
  int64_t channels;           // a multiple of 16
  int64_t height, width, target_height, target_width;
  int64_t threads;
  double tolerance;
  const float* table;         // (maps, height * width + 1, channels), the last row zero
  const double* fundamental;  // (maps, targets, 3, 3)
  float* y;                   // (maps, targets, target_height * target_width, channels)
};

// For each head h of a sequence, its group g of B and C, number c and state n, over the tokens t:
//     s[c, n] = exp(dt[t] A) s[c, n] + dt[t] x[t, c] B[t, n]
//     y[t, c] = sum_n C[t, n] s[c, n] + D x[t, c]
// Everything is contiguous.
struct SsdArguments {
  int64_t batch, length, heads, size, groups, states;  // `groups` divides `heads`
  int64_t threads;
  const float* x;   // (batch, length, heads, size)
  const float* dt;  // (batch, length, heads)
  const float* A;   // (heads)
  const float* B;   // (batch, length, groups, states)
  const float* C;
  const float* D;   // (heads), or null
  float* y;         // as x
};

// What one instruction set offers.
struct Kernels {
  int64_t (*scan_checkpoints)(const ScanArguments&);
  void (*scan_forward)(const ScanArguments&);
  void (*scan_backward)(const ScanArguments&);
  void (*conv_forward)(const ConvArguments&);
  void (*conv_backward)(const ConvArguments&);
  void (*deform_forward)(const SampleArguments&);
  void (*sample_forward)(const SampleArguments&);
  void (*sample_backward)(const SampleArguments&);
  void (*line_maxima)(const LineArguments&);
  void (*ssd_forward)(const SsdArguments&);
};
