// SPDX-License-Identifier: Apache-2.0
// How the attention of a step is cut into tasks. The cache is cut at absolute multiples of 256 tokens into segments.
// For GENERATED rows a segment yields a partial result (largest score, sum, weighted values), and partial results are
// merged in the order of the segments, so a row's arithmetic depends on its position alone. Who computes them does not
// matter: one task may take a segment, or all of them in turn. [program]
#pragma once
#include <cstdint>
#include <vector>

namespace merritt::onednn {

inline constexpr uint32_t kSegmentTokens = 256;

/// Queries of one sequence that share every key and value read for them: consecutive tokens of its run.
struct QueryBlock {
  uint32_t seq, first, count;
};

/// KV heads [first, first + n) of a layer.
struct HeadRange {
  uint32_t first, n;
};

/// Segments [first, first + n) of the cache for one GENERATED block. With a partial result of its own it is one segment
/// of a block that several workers share; without, the whole block.
struct Piece {
  static constexpr uint32_t kWhole = UINT32_MAX;
  uint32_t block, first, n;
  uint32_t partial;  // in units of one token's rows, or kWhole
};

/// Pieces [first, first + n) are the segments of one block, in order.
struct SplitBlock {
  uint32_t first, n;
};

/// What attention nodes that see the same tokens have to do in this step.
struct Visibility {
  uint32_t window = 0, mask = 0;
  bool cached = false;
  std::vector<Piece> pieces;      // taken at create
  std::vector<SplitBlock> split;  // the blocks that several workers share
  uint32_t n_pieces = 0, n_split = 0;
};

}  // namespace merritt::onednn
