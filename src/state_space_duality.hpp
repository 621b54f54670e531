// The recurrence of state space duality (see kernels.h for the meaning).
//
// A vector holds neighbouring numbers of a head; each of its states is one vector, carried from
// token to token.

#pragma once

#include <cmath>
#include <cstring>

#include "blocks.hpp"
#include "kernels.h"
#include "simd.hpp"

namespace {

constexpr int64_t kWorthThreads = 1 << 22;  // numbers of all states of all tokens

// One block of a head's numbers, from `c` on, in one sequence.
INLINE void ssd_block(const SsdArguments& a, int64_t sequence, int64_t head, int64_t c,
                      Vec* states) {
  const int64_t group = head / (a.heads / a.groups);
  const int count = static_cast<int>(smaller(kLanes, a.size - c));
  const float rate = a.A[head], direct = a.D ? a.D[head] : 0.0f;
  std::memset(states, 0, a.states * sizeof(Vec));
  for (int64_t t = 0; t < a.length; ++t) {
    const int64_t token = sequence * a.length + t;
    const float* B = a.B + (token * a.groups + group) * a.states;
    const float* C = a.C + (token * a.groups + group) * a.states;
    const int64_t at = (token * a.heads + head) * a.size + c;
    const float dt = a.dt[token * a.heads + head];
    const Vec x = load(a.x + at, count), driven = dt * x, decay = all(std::exp(dt * rate));
    Vec y[4] = {direct * x};
    int64_t n = 0;
    for (; n + 4 <= a.states; n += 4)
      for (int k = 0; k < 4; ++k) {
        states[n + k] = decay * states[n + k] + B[n + k] * driven;
        y[k] += C[n + k] * states[n + k];
      }
    for (; n < a.states; ++n) {
      states[n] = decay * states[n] + B[n] * driven;
      y[0] += C[n] * states[n];
    }
    store(a.y + at, (y[0] + y[1]) + (y[2] + y[3]), count);
  }
}

void ssd_forward(const SsdArguments& a) {
  const bool much = a.batch * a.length * a.heads * a.size * a.states >= kWorthThreads;
#pragma omp parallel num_threads(a.threads) if (much)
  {
    Workspace work(a.states);
    Vec* states = work.take(a.states);
#pragma omp for schedule(static) collapse(2)
    for (int64_t sequence = 0; sequence < a.batch; ++sequence)
      for (int64_t head = 0; head < a.heads; ++head)
        for (int64_t c = 0; c < a.size; c += kLanes) ssd_block(a, sequence, head, c, states);
  }
}

}  // namespace
