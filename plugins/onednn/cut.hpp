// SPDX-License-Identifier: Apache-2.0
// How the groups of a matrix are cut into tasks: long runs, then for each worker about one in short ones, so that at
// the end of a phase nobody waits long for the last. What a task is never changes a result.
#pragma once
#include <algorithm>
#include <cstdint>

namespace merritt::onednn {

struct Cut {
  struct Run {
    uint64_t g0;
    uint32_t groups;  // 0 past the end
  };
  uint64_t groups = 0, length = 1, rest = 1;  // of a long run, of a short one
  uint64_t longs = 0;

  Cut() = default;
  Cut(uint64_t n, uint64_t long_run, uint64_t short_run, uint32_t workers) noexcept
      : groups(n),
        length(long_run),
        rest(std::min(long_run, short_run)),
        longs(n > long_run * workers ? (n - long_run * workers) / long_run : 0) {}
  uint32_t tasks() const noexcept { return static_cast<uint32_t>(longs + (groups - longs * length + rest - 1) / rest); }
  Run task(uint64_t i) const noexcept {
    const uint64_t g0 = i < longs ? i * length : longs * length + (i - longs) * rest;
    return {g0, g0 < groups ? static_cast<uint32_t>(std::min(i < longs ? length : rest, groups - g0)) : 0};
  }
};

}  // namespace merritt::onednn
