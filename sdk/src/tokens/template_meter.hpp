// SPDX-License-Identifier: Apache-2.0
// What one rendering may still cost. Every function that works on values of a template takes the meter and pays before
// it works: a step for a node visited or a value touched, and a step for every 64 bytes of text looked at, copied or
// made. So the steps bound time and memory, whatever a single filter is given.
#pragma once

#include <cstdint>
#include <limits>
#include <string>

#include "base/status.hpp"

namespace merritt::tokens {

class Meter {
 public:
  Meter(uint64_t steps, uint64_t bytes)
      : steps_(steps), whole_(steps > kMost / kStep ? kMost : steps * kStep), left_(whole_), bytes_(bytes) {}

  uint64_t spent() const { return (whole_ - left_) / kStep; }
  bool exceeded() const { return exceeded_; }

  Status pay(uint64_t steps = 1) { return spend(steps > kMost / kStep ? kMost : steps * kStep); }
  Status pay_bytes(uint64_t bytes) { return spend(bytes); }
  // What a text of `size` bytes plus `more` comes to; refuses one that is too long by itself. Pays for what is new.
  Status pay_text(uint64_t more, uint64_t size = 0) {
    if (size > bytes_ || more > bytes_ - size) {
      exceeded_ = true;
      return Status(Code::kInvalidArgument, "rendering makes more than " + std::to_string(bytes_) + " bytes");
    }
    return spend(more);
  }

 private:
  static constexpr uint64_t kStep = 64, kMost = std::numeric_limits<uint64_t>::max();

  Status spend(uint64_t cost) {
    if (cost <= left_) {
      left_ -= cost;
      return {};
    }
    left_ = 0;
    exceeded_ = true;
    return Status(Code::kInvalidArgument, "rendering takes more than " + std::to_string(steps_) + " steps");
  }

  uint64_t steps_, whole_, left_, bytes_;
  bool exceeded_ = false;
};

}  // namespace merritt::tokens
