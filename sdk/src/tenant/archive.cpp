// SPDX-License-Identifier: Apache-2.0
#include "tenant/archive.hpp"

#include <utility>

namespace merritt::tenant {

void Archive::add(uint32_t id, const std::string& name, const Counts& counts) noexcept {
  const std::lock_guard lock(mutex_);
  for (uint32_t i = 0; i < kCounters; ++i) total_[i] += counts[i];
  if (!keeps_) return;
  try {
    departed_.push_back({id, name, counts});
  } catch (...) {
    return;  // without memory the journal misses the last second of this tenant; the total does not
  }
}

Counts Archive::total() const {
  const std::lock_guard lock(mutex_);
  return total_;
}

void Archive::keep(bool keeps) {
  const std::lock_guard lock(mutex_);
  keeps_ = keeps;
  if (!keeps) departed_.clear();
}

std::vector<NamedCounts> Archive::take() {
  const std::lock_guard lock(mutex_);
  return std::exchange(departed_, {});
}

}  // namespace merritt::tenant
