// SPDX-License-Identifier: Apache-2.0
// The draws of one thread. The same seed draws the same; what threads do to each other is not drawn.
#pragma once

#include <cstdint>
#include <random>

namespace merritt::soak {

class Random {
 public:
  explicit Random(uint64_t seed) : engine_(seed) {}
  uint32_t below(uint32_t n) { return n == 0 ? 0 : static_cast<uint32_t>(engine_() >> 33) % n; }
  uint32_t between(uint32_t least, uint32_t most) { return least + below(most - least + 1); }
  bool one_in(uint32_t n) { return below(n) == 0; }
  uint64_t number() { return engine_(); }
  template <class Array>
  const auto& any_of(const Array& values) {
    return values[below(static_cast<uint32_t>(std::size(values)))];
  }

 private:
  std::mt19937_64 engine_;
};

}  // namespace merritt::soak
