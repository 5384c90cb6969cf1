// SPDX-License-Identifier: Apache-2.0
// Passes over one group of a row of logits, one table of functions for each instruction set.
//
// Every table computes in sixteen lanes: element i of a group belongs to lane i % 16, sums are taken lane by lane and
// then over the lanes in one fixed tree, and a product is fused with a sum only where it says so. So all tables give
// the same bits, and a seed draws the same tokens on every CPU. Threads: any; the functions have no state.
#pragma once

#include <cstddef>
#include <cstdint>

namespace merritt::sampling {

inline constexpr size_t kLanes = 16;
inline constexpr size_t kGroup = 1024;  // elements: 4 KiB, so that a second pass over a group reads the first cache

// What a group's elements weigh in a draw: exp((x - peak) * scale), or 0 when that is less than min_p or x below the
// floor. The first `split` elements have one floor, the rest another: of equal logits those of lower ids go first.
struct Weighting {
  float peak, scale, min_p;
  float floor_before, floor_after;
  size_t split;
};

struct GroupScan {
  float maxima[kLanes];  // of each lane; -infinity where a short group has none
  float peak;            // the largest of them
  float sum;             // of exp(x - peak)
};

// n is 1 to kGroup everywhere.
struct RowKernels {
  const char* name;
  // False when an element is not finite; *out is then worth nothing.
  bool (*scan)(const float* x, size_t n, GroupScan* out);
  void (*maxima)(const float* x, size_t n, float* lanes);  // as scan's, also of -infinity
  // Bit i of word i / 64 says x[i] >= floor; (n + 63) / 64 words.
  void (*at_least)(const float* x, size_t n, float floor, uint64_t* bits);
  float (*mass)(const float* x, size_t n, const Weighting& weighting);  // the sum of the weights
  void (*weights)(const float* x, size_t n, const Weighting& weighting, float* out);
};

const RowKernels& row_kernels_portable();
const RowKernels& row_kernels_avx2();    // only where the CPU has avx2 and fma
const RowKernels& row_kernels_avx512();  // only where it has those and avx512f, bw, dq, vl

// The widest that this CPU has and isa_max (MRT_ISA_*, 0 = no limit) allows.
const RowKernels& row_kernels(uint32_t isa_max = 0);

}  // namespace merritt::sampling
