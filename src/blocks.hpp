// How the kernels go through memory. A block is as many neighbouring channels as a vector has
// lanes; a tile of tokens is carried through all blocks before the next tile.

#pragma once

#include <cstdlib>

#include "kernels.h"
#include "simd.hpp"

namespace {

constexpr int kAhead = 4;  // blocks

INLINE int64_t ceiling(int64_t a, int64_t b) { return (a + b - 1) / b; }
INLINE int64_t smaller(int64_t a, int64_t b) { return a < b ? a : b; }

template <typename T>
INLINE int64_t vectors(int64_t count) {
  return ceiling(count * static_cast<int64_t>(sizeof(T)), sizeof(Vec));
}

// Work space of one thread, handed out piece by piece.
class Workspace {
 public:
  explicit Workspace(int64_t vectors)
      : start_(static_cast<Vec*>(std::aligned_alloc(sizeof(Vec), vectors * sizeof(Vec)))),
        next_(start_) {}
  ~Workspace() { std::free(start_); }
  Workspace(const Workspace&) = delete;
  Workspace& operator=(const Workspace&) = delete;

  template <typename T = Vec>
  T* take(int64_t count) {
    T* piece = reinterpret_cast<T*>(next_);
    next_ += vectors<T>(count);
    return piece;
  }

 private:
  Vec* start_;
  Vec* next_;
};

// How far away, in rows and elements, is what will be needed kAhead blocks later.
struct Ahead {
  int64_t rows, elements;

  // `next_tile` is the number of rows from a tile to the one that is worked on after it.
  INLINE Ahead(int64_t block, int64_t blocks, int64_t next_tile)
      : rows(block + kAhead < blocks ? 0 : next_tile),
        elements(((block + kAhead) % blocks - block) * kLanes) {}
};

// One block of an array, by rows. Whenever an address is taken, that of kAhead blocks later is
// asked for, into the second-level cache: the rows of a tile may lie so that the first cannot hold
// them. Past the ends of the array this does nothing.
template <typename T>
class Column {
 public:
  INLINE Column(const Rows& rows, int64_t group, int64_t c, const Ahead& ahead)
      : data_(static_cast<T*>(rows.data) + group * rows.group + c),
        row_(rows.row),
        ahead_((ahead.rows * rows.row + ahead.elements) * sizeof(T)) {}

  INLINE T* operator()(int64_t row) const {
    T* here = data_ + row * row_;
    __builtin_prefetch(
        reinterpret_cast<const void*>(reinterpret_cast<intptr_t>(here) + ahead_), 0, 2);
    return here;
  }

 private:
  T* data_;
  int64_t row_;
  intptr_t ahead_;
};

}  // namespace
