// The selective scan, forward and gradient (see kernels.h for the meaning).
//
// Within a tile of tokens the states of a block of channels stay in registers; nothing of size
// length * states * channels is ever stored. For the gradient the states at the start of every
// tile are kept, the others are computed again.

#pragma once

#include "blocks.hpp"
#include "kernels.h"
#include "simd.hpp"

namespace {

constexpr int kTile = 16;   // tokens
constexpr int kStates = 8;  // that are held in registers at once

INLINE int64_t blocks_of(const ScanArguments& s) { return ceiling(s.channels, kLanes); }
INLINE int64_t tiles_of(const ScanArguments& s) { return ceiling(s.length, kTile); }

template <typename T>
INLINE T* at(const Rows& rows, int64_t row, int64_t group) {
  return static_cast<T*>(rows.data) + row * rows.row + group * rows.group;
}

// The tokens of one tile: `rows` of the arrays, in the order of the scan.
struct Tile {
  int tokens;
  int64_t rows[kTile];
  int64_t stride;  // to the rows of the tile after this one

  INLINE Tile(const ScanArguments& s, int64_t number, int64_t sequence, int64_t group) {
    const int64_t first = number * kTile;
    tokens = static_cast<int>(smaller(kTile, s.length - first));
    const bool reversed = s.reversed >> group & 1;
    stride = (reversed ? -kTile : kTile) * s.batch;
    for (int k = 0; k < tokens; ++k) {
      const int64_t token = reversed ? s.length - 1 - first - k : first + k;
      rows[k] = token * s.batch + sequence;
    }
  }
};

template <typename T>
INLINE void copy_states(const ScanArguments& s, const Rows& from, const Tile& tile, int64_t group,
                        float* to) {
  for (int k = 0; k < tile.tokens; ++k) {
    const T* row = at<T>(from, tile.rows[k], group);
    for (int64_t n = 0; n < s.states; ++n) to[k * s.states + n] = widen(row[n]);
  }
}

template <int kValue>
struct Count {
  static constexpr int value = kValue;
};

// Calls `function` for as many states at once as registers hold, then for what is left of them.
template <typename Function>
INLINE void by_states(int64_t states, const Function& function) {
  int64_t n = 0;
  for (; n + kStates <= states; n += kStates) function(Count<kStates>{}, n);
  for (; n + 4 <= states; n += 4) function(Count<4>{}, n);
  for (; n < states; ++n) function(Count<1>{}, n);
}

// A of some blocks, (blocks, states), times a factor.
INLINE void load_A(const ScanArguments& s, int64_t group, int64_t first_block, int64_t blocks,
                   float factor, Vec* to) {
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t c = (first_block + block) * kLanes;
    const int count = static_cast<int>(smaller(kLanes, s.channels - c));
    for (int64_t n = 0; n < s.states; ++n)
      to[block * s.states + n] =
          load(s.A + (group * s.states + n) * s.channels + c, count) * factor;
  }
}

INLINE Vec load_parameter(const ScanArguments& s, const float* from, int64_t group, int64_t c,
                          int count) {
  return from ? load(from + group * s.channels + c, count) : Vec{};
}

INLINE float* checkpoint(const ScanArguments& s, int64_t tile, int64_t sequence, int64_t group,
                         int64_t block) {
  const int64_t number = (tile * s.batch + sequence) * s.groups + group;
  return s.checkpoints + (number * blocks_of(s) + block) * s.states * kLanes;
}

int64_t scan_checkpoints(const ScanArguments& s) {
  return tiles_of(s) * s.batch * s.groups * blocks_of(s) * s.states * kLanes;
}

// Whether dt A2, an exponent of 2, is in the range of exp2_in_range for all these tokens and
// states.
template <int kCount, typename Token>
INLINE bool in_range(int tokens, const Token* w, const Vec* A2) {
  Vec largest = w[0].dt, fastest = A2[0];
  for (int k = 1; k < tokens; ++k) largest = larger(w[k].dt, largest);
#pragma GCC unroll 16
  for (int n = 1; n < kCount; ++n) fastest = smaller(A2[n], fastest);
  return !any(largest * fastest < kSmallestExponent);
}

template <bool kInRange>
INLINE Vec power_of_two(Vec x) {
  return kInRange ? exp2_in_range(x) : exp2_of_negative(x);
}

// What the recurrence needs of one token of one block, and the sum that it adds to.
struct Token {
  Vec dt, dtu, y;
};

// The recurrence of some states of one block; A2 is A as an exponent of 2.
template <int kCount, bool kInRange>
INLINE void scan_states_in_range(int tokens, int64_t states, Token* w, const float* B,
                                 const float* C, const Vec* A2, Vec* h) {
  Vec state[kCount];
#pragma GCC unroll 16
  for (int n = 0; n < kCount; ++n) state[n] = h[n];
  for (int k = 0; k < tokens; ++k) {
    const Vec dt = w[k].dt, dtu = w[k].dtu;
    Vec even = w[k].y, odd = {};
#pragma GCC unroll 16
    for (int n = 0; n < kCount; ++n) {
      state[n] = power_of_two<kInRange>(dt * A2[n]) * state[n] + dtu * B[k * states + n];
      (n % 2 ? odd : even) += C[k * states + n] * state[n];
    }
    w[k].y = even + odd;
  }
#pragma GCC unroll 16
  for (int n = 0; n < kCount; ++n) h[n] = state[n];
}

// Not inlined: by itself it gets the registers that it needs.
template <int kCount>
__attribute__((noinline)) void scan_states(int tokens, int64_t states, Token* w, const float* B,
                                           const float* C, const Vec* A2, Vec* h) {
  if (in_range<kCount>(tokens, w, A2))
    scan_states_in_range<kCount, true>(tokens, states, w, B, C, A2, h);
  else
    scan_states_in_range<kCount, false>(tokens, states, w, B, C, A2, h);
}

template <typename T>
INLINE void forward_blocks(const ScanArguments& s, int64_t sequence, int64_t first_block,
                           int64_t blocks) {
  const int64_t per_tile = vectors<float>(kTile * s.states);
  Workspace work(2 * blocks * s.states + vectors<Token>(kTile) + 2 * per_tile);
  Vec* A2 = work.take(blocks * s.states);
  Vec* h = work.take(blocks * s.states);
  Token* w = work.take<Token>(kTile);
  float* B = work.take<float>(kTile * s.states);
  float* C = work.take<float>(kTile * s.states);
  const bool added_up = s.y.group == 0;

  for (int64_t group = 0; group < s.groups; ++group) {
    const bool adds = added_up && group > 0;
    const bool last = !added_up || group == s.groups - 1;
    load_A(s, group, first_block, blocks, kLog2E, A2);
    std::memset(h, 0, sizeof(Vec) * blocks * s.states);
    for (int64_t number = 0; number < tiles_of(s); ++number) {
      const Tile tile(s, number, sequence, group);
      copy_states<T>(s, s.B, tile, group, B);
      copy_states<T>(s, s.C, tile, group, C);
      for (int64_t block = 0; block < blocks; ++block) {
        const int64_t c = (first_block + block) * kLanes;
        const int count = static_cast<int>(smaller(kLanes, s.channels - c));
        const Ahead ahead(block, blocks, tile.stride);
        const Column<T> u(s.u, group, c, ahead), dt(s.dt, group, c, ahead);
        const Column<T> z(s.z, group, c, ahead), out(s.y, group, c, ahead);
        const Column<float> sum(s.ungated, group, c, ahead);
        const Vec D = load_parameter(s, s.D, group, c, count);
        const Vec bias = load_parameter(s, s.dt_bias, group, c, count);
        Vec* states = h + block * s.states;
        const Vec* rates = A2 + block * s.states;
        if (s.checkpoints)
          std::memcpy(checkpoint(s, number, sequence, group, first_block + block), states,
                      sizeof(Vec) * s.states);
        for (int k = 0; k < tile.tokens; ++k) {
          const Vec input = load(u(tile.rows[k]), count);
          const Vec x = load(dt(tile.rows[k]), count) + bias;
          const Vec step = s.softplus ? softplus(x) : x;
          w[k] = {step, step * input, D * input};
        }
        by_states(s.states, [&](auto count_of, int64_t n) {
          scan_states<count_of.value>(tile.tokens, s.states, w, B + n, C + n, rates + n,
                                      states + n);
        });
        for (int k = 0; k < tile.tokens; ++k) {
          const int64_t row = tile.rows[k];
          Vec value = w[k].y;
          if (s.ungated.data) {
            if (adds) value += load(sum(row), count);
            store(sum(row), value, count);
            if (!last) continue;
          } else if (adds) {
            value += load(out(row), count);
          }
          if (last && s.z.data) {
            const Vec gate = load(z(row), count);
            value *= gate * sigmoid(gate);
          }
          store(out(row), value, count);
        }
      }
    }
  }
}

template <typename T>
void forward(const ScanArguments& s) {
  // Each task has all groups of a share of one sequence's channels. No more shares than threads
  // need, for short pieces of rows cost more: each row may lie in another page.
  const int64_t blocks = blocks_of(s);
  const int64_t shares = smaller(blocks, ceiling(s.threads, s.batch));
  const int64_t size = ceiling(blocks, shares);
#pragma omp parallel for num_threads(s.threads) schedule(dynamic) collapse(2)
  for (int64_t sequence = 0; sequence < s.batch; ++sequence)
    for (int64_t share = 0; share < shares; ++share)
      if (share * size < blocks)
        forward_blocks<T>(s, sequence, share * size, smaller(size, blocks - share * size));
}

void scan_forward(const ScanArguments& s) {
  if (s.batch == 0 || s.channels == 0) return;
  if (s.bfloat16)
    forward<BFloat16>(s);
  else
    forward<float>(s);
}

// What the gradient keeps of one token of one block. What is used together lies together: arrays
// of their own would lie a power of two apart, and loads would wait for unrelated stores.
struct GradientToken {
  Vec dt, u, dtu, slope, grad_y, grad_dtu, grad_dt;
};

// One state of one token of one block: exp(dt A) and the state after the token.
struct StateToken {
  Vec decay, h;
};

// Shares of dL/dB and dL/dC of one token and state, still to be summed over the lanes.
struct GradientBC {
  Vec B, C;
};

// Goes through a tile once more and keeps its states and decays.
template <int kCount, bool kInRange>
INLINE void keep_states(int tokens, int64_t states, const GradientToken* w, StateToken* kept,
                        const float* B, const Vec* A2, const float* first) {
  Vec h[kCount];
#pragma GCC unroll 16
  for (int n = 0; n < kCount; ++n) kept[n].h = h[n] = load(first + n * kLanes);
  for (int k = 0; k < tokens; ++k) {
    const Vec dt = w[k].dt, dtu = w[k].dtu;
    StateToken* to = kept + (k + 1) * kCount;
#pragma GCC unroll 16
    for (int n = 0; n < kCount; ++n) {
      to[n].decay = power_of_two<kInRange>(dt * A2[n]);
      to[n].h = h[n] = to[n].decay * h[n] + dtu * B[k * states + n];
    }
  }
}

// Some states of one block: adds to the gradients; `carry` is decay[t+1] dL/dh[t+1].
template <int kCount>
__attribute__((noinline)) void scan_gradients(int tokens, int64_t states, GradientToken* w,
                                              StateToken* kept, const float* B, const float* C,
                                              const Vec* A, const Vec* A2, const float* first,
                                              Vec* carry, Vec* grad_A, GradientBC* sums) {
  if (in_range<kCount>(tokens, w, A2))
    keep_states<kCount, true>(tokens, states, w, kept, B, A2, first);
  else
    keep_states<kCount, false>(tokens, states, w, kept, B, A2, first);
  Vec carried[kCount], of_A[kCount];
#pragma GCC unroll 16
  for (int n = 0; n < kCount; ++n) {
    carried[n] = carry[n];
    of_A[n] = grad_A[n];
  }
  for (int k = tokens - 1; k >= 0; --k) {
    const Vec dt = w[k].dt, dtu = w[k].dtu, grad_y = w[k].grad_y;
    const StateToken *before = kept + k * kCount, *now = before + kCount;
    GradientBC* sum = sums + k * states;
    Vec grad_dtu = w[k].grad_dtu, grad_dt = w[k].grad_dt;
#pragma GCC unroll 16
    for (int n = 0; n < kCount; ++n) {
      const Vec grad_h = C[k * states + n] * grad_y + carried[n];
      sum[n].B += dtu * grad_h;
      sum[n].C += grad_y * now[n].h;
      grad_dtu += B[k * states + n] * grad_h;
      carried[n] = now[n].decay * grad_h;
      const Vec of_exponent = carried[n] * before[n].h;  // dL/d(dt A)
      grad_dt += of_exponent * A[n];
      of_A[n] += of_exponent * dt;
    }
    w[k].grad_dtu = grad_dtu;
    w[k].grad_dt = grad_dt;
  }
#pragma GCC unroll 16
  for (int n = 0; n < kCount; ++n) {
    carry[n] = carried[n];
    grad_A[n] = of_A[n];
  }
}

INLINE void backward_blocks(const ScanArguments& s, int64_t sequence, int64_t group, int64_t part,
                            int64_t first_block, int64_t blocks) {
  const int64_t size = blocks * s.states, per_tile = vectors<float>(kTile * s.states);
  Workspace work(4 * size + 2 * blocks + 2 * per_tile + vectors<GradientToken>(kTile) +
                 vectors<StateToken>((kTile + 1) * kStates) +
                 vectors<GradientBC>(kTile * s.states));
  Vec* A = work.take(size);
  Vec* A2 = work.take(size);
  Vec* carry = work.take(size);
  Vec* grad_A = work.take(size);
  Vec* grad_D = work.take(blocks);
  Vec* grad_bias = work.take(blocks);
  float* B = work.take<float>(kTile * s.states);
  float* C = work.take<float>(kTile * s.states);
  GradientToken* w = work.take<GradientToken>(kTile);
  StateToken* kept = work.take<StateToken>((kTile + 1) * kStates);
  GradientBC* sums = work.take<GradientBC>(kTile * s.states);
  load_A(s, group, first_block, blocks, 1.0f, A);
  load_A(s, group, first_block, blocks, kLog2E, A2);
  std::memset(carry, 0, sizeof(Vec) * size);
  std::memset(grad_A, 0, sizeof(Vec) * size);
  std::memset(grad_D, 0, sizeof(Vec) * blocks);
  std::memset(grad_bias, 0, sizeof(Vec) * blocks);
  const bool gates = s.z.data && (s.grad_z.group != 0 || group == 0);  // who writes grad_z

  for (int64_t number = tiles_of(s) - 1; number >= 0; --number) {
    const Tile tile(s, number, sequence, group);
    copy_states<float>(s, s.B, tile, group, B);
    copy_states<float>(s, s.C, tile, group, C);
    std::memset(sums, 0, sizeof(GradientBC) * kTile * s.states);
    for (int64_t block = 0; block < blocks; ++block) {
      const int64_t c = (first_block + block) * kLanes;
      const int count = static_cast<int>(smaller(kLanes, s.channels - c));
      const Ahead ahead(block, blocks, -tile.stride);
      const auto column = [&](const Rows& rows) {
        return Column<float>(rows, group, c, ahead);
      };
      const Column<float> u = column(s.u), dt = column(s.dt), z = column(s.z);
      const Column<float> ungated = column(s.ungated), grad_y = column(s.grad_y);
      const Column<float> grad_u = column(s.grad_u), grad_dt = column(s.grad_dt);
      const Column<float> grad_z = column(s.grad_z);
      const Vec D = load_parameter(s, s.D, group, c, count);
      const Vec bias = load_parameter(s, s.dt_bias, group, c, count);
      for (int k = 0; k < tile.tokens; ++k) {
        const int64_t row = tile.rows[k];
        const Vec input = load(u(row), count), x = load(dt(row), count) + bias;
        Vec slope = all(1.0f), step = s.softplus ? softplus(x, &slope) : x;
        Vec g = load(grad_y(row), count);
        if (s.z.data) {
          const Vec gate = load(z(row), count), open = sigmoid(gate);
          if (gates) {
            const Vec of_silu = open + open * gate * (1.0f - open);
            store(grad_z(row), g * load(ungated(row), count) * of_silu, count);
          }
          g *= gate * open;
        }
        w[k] = {step, input, step * input, slope, g, Vec{}, Vec{}};
      }
      const float* first = checkpoint(s, number, sequence, group, first_block + block);
      by_states(s.states, [&](auto count_of, int64_t n) {
        const int64_t i = block * s.states + n;
        scan_gradients<count_of.value>(tile.tokens, s.states, w, kept, B + n, C + n, A + i, A2 + i,
                                       first + n * kLanes, carry + i, grad_A + i, sums + n);
      });
      for (int k = 0; k < tile.tokens; ++k) {
        const int64_t row = tile.rows[k];
        const Vec grad_x = (w[k].grad_dt + w[k].grad_dtu * w[k].u) * w[k].slope;
        grad_bias[block] += grad_x;
        grad_D[block] += w[k].grad_y * w[k].u;
        store(grad_dt(row), grad_x, count);
        store(grad_u(row), w[k].grad_dtu * w[k].dt + D * w[k].grad_y, count);
      }
    }
    for (int k = 0; k < tile.tokens; ++k) {
      const int64_t to =
          ((part * s.length * s.batch + tile.rows[k]) * s.groups + group) * s.states;
      for (int64_t n = 0; n < s.states; ++n) {
        s.grad_B[to + n] = sum(sums[k * s.states + n].B);
        s.grad_C[to + n] = sum(sums[k * s.states + n].C);
      }
    }
  }

  const int64_t number = sequence * s.groups + group;
  for (int64_t block = 0; block < blocks; ++block) {
    const int64_t c = (first_block + block) * kLanes;
    const int count = static_cast<int>(smaller(kLanes, s.channels - c));
    for (int64_t n = 0; n < s.states; ++n)
      store(s.grad_A + (number * s.states + n) * s.channels + c, grad_A[block * s.states + n],
            count);
    if (s.grad_D) store(s.grad_D + number * s.channels + c, grad_D[block], count);
    if (s.grad_dt_bias) store(s.grad_dt_bias + number * s.channels + c, grad_bias[block], count);
  }
}

void scan_backward(const ScanArguments& s) {
  if (s.batch == 0 || s.channels == 0) return;
  const int64_t blocks = blocks_of(s);
  // Parts are numbered by `parts`, not by the threads that there happen to be: sums of the same
  // numbers in the same order, whatever the machine. There are no more parts than blocks: none is
  // empty, and all of grad_B and grad_C is written.
#pragma omp parallel for num_threads(s.threads) schedule(dynamic) collapse(3)
  for (int64_t sequence = 0; sequence < s.batch; ++sequence)
    for (int64_t group = 0; group < s.groups; ++group)
      for (int64_t part = 0; part < s.parts; ++part) {
        const int64_t first = part * blocks / s.parts, end = (part + 1) * blocks / s.parts;
        backward_blocks(s, sequence, group, part, first, end - first);
      }
}

}  // namespace
