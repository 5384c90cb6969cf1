// SPDX-License-Identifier: Apache-2.0
// An amount held over time: bytes times nanoseconds, exactly, told in whole byte seconds. A time that goes back counts
// as none. Threads: one at a time.
#pragma once

#include <cstdint>

namespace merritt {

class HeldTime {
 public:
  // `bytes` are held from now on; what was held until now is counted.
  void change(uint64_t bytes, uint64_t now_ns) {
    if (now_ns > since_ns_) {
      const Wide held = Wide{bytes_} * (now_ns - since_ns_) + rest_;
      seconds_ += static_cast<uint64_t>(held / kNsPerSecond);
      rest_ = static_cast<uint64_t>(held % kNsPerSecond);
      since_ns_ = now_ns;
    }
    bytes_ = bytes;
  }
  // With what has gone by until now.
  uint64_t byte_seconds(uint64_t now_ns) const {
    HeldTime until = *this;
    until.change(bytes_, now_ns);
    return until.seconds_;
  }

 private:
  __extension__ using Wide = unsigned __int128;
  static constexpr uint64_t kNsPerSecond = 1'000'000'000;

  uint64_t bytes_ = 0, since_ns_ = 0;
  uint64_t seconds_ = 0, rest_ = 0;  // rest: byte nanoseconds, below one byte second
};

}  // namespace merritt
