// SPDX-License-Identifier: Apache-2.0
// What tenants had used that are gone: nothing that was counted is forgotten when its tenant is destroyed.
// Threads: any.
#pragma once

#include <cstdint>
#include <mutex>
#include <string>
#include <vector>

#include "tenant/ledger.hpp"

namespace merritt::tenant {

struct NamedCounts {
  uint32_t id = 0;
  std::string name;
  Counts counts{};
};

class Archive {
 public:
  // Called by a tenant's destructor.
  void add(uint32_t id, const std::string& name, const Counts& counts) noexcept;
  // Of all that are gone.
  Counts total() const;
  // Whether the departed are also kept one by one, until they are taken.
  void keep(bool keeps);
  std::vector<NamedCounts> take();

 private:
  mutable std::mutex mutex_;
  Counts total_{};
  bool keeps_ = false;
  std::vector<NamedCounts> departed_;
};

}  // namespace merritt::tenant
