// SPDX-License-Identifier: Apache-2.0
// What the clients know of a tenant's use, counted from the answers they got and from nothing else. Where a request was
// destroyed before its end was read nobody was told all of it: then there is a least and a most.
// Threads: any.
#pragma once

#include <array>
#include <cstdint>
#include <mutex>
#include <nlohmann/json.hpp>
#include <string>

#include "tests/soak/report.hpp"

namespace merritt::soak {

struct Range {
  uint64_t least = 0, most = 0;

  static Range exactly(uint64_t n) { return {n, n}; }
  void operator+=(const Range& more) {
    least += more.least;
    most += more.most;
  }
  bool holds(uint64_t n) const { return least <= n && n <= most; }
};

inline constexpr uint32_t kFinishes = MERRITT_FINISH_ERROR + 1;

// The counters of a tenant that somebody outside can know.
struct Use {
  Range requests, refusals, prompt_tokens, cached_tokens, generated_tokens;
  std::array<Range, kFinishes> finished{};  // 0 = an evaluation that is done

  void operator+=(const Use& more);
};

// The same as the library tells it, in one of its ways.
struct Told {
  uint64_t requests = 0, refusals = 0, prompt_tokens = 0, cached_tokens = 0, generated_tokens = 0;
  std::array<uint64_t, kFinishes> finished{};

  static Told of(const merritt_tenant_usage& usage);
  void add(const nlohmann::json& entry);  // of a journal's record
  bool operator==(const Told&) const = default;
  std::string text() const;
};

class Books {
 public:
  void add(const Use& use) {
    const std::lock_guard lock(mutex_);
    use_ += use;
  }
  void refused() {
    Use use;
    use.refusals = Range::exactly(1);
    add(use);
  }
  Use use() const {
    const std::lock_guard lock(mutex_);
    return use_;
  }

 private:
  mutable std::mutex mutex_;
  Use use_;
};

// Fails where the library told another number than the clients know; `source` says who told it.
void audit(Report& report, const std::string& source, const Use& known, const Told& told);

}  // namespace merritt::soak
