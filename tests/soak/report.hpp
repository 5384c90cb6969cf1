// SPDX-License-Identifier: Apache-2.0
// What a soak found: every answer of the ABI by call and code, and each thing that was not as it should be.
// Threads: any. Counting orders nothing between threads, so that it hides no race of the library.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string>

#include "tests/support/abi_host.hpp"

namespace merritt::soak {

// clang-format off
enum class Verb : uint32_t {
  kTenantCreate, kTenantDestroy, kLimitsSet, kUsage, kExport, kJournal, kUsageSince, kStats,
  kSessionCreate, kSessionDestroy, kLength, kTruncate, kFork, kPublish, kSubmit, kEval,
  kNext, kCancel, kRequestDestroy, kRequestStats,
  kQueueCreate, kQueueDestroy, kQueueAdd, kQueueRemove, kQueueFd, kQueueNext, kPoll, kDrain,
  kEngine, kModel, kRequestError, kCount
};
// clang-format on
inline constexpr uint32_t kVerbs = static_cast<uint32_t>(Verb::kCount);
inline constexpr uint32_t kCodes = MERRITT_INTERNAL + 1;

// A set of codes. OK is in each.
using Codes = uint32_t;
template <class... Code>
constexpr Codes codes(Code... code) {
  return (1u | ... | (1u << code));
}

class Report {
 public:
  explicit Report(uint64_t seed) : seed_(seed) {}

  void begin_round(uint32_t round) { round_.store(round); }
  // Prints what, with the seed and the round; the run has failed.
  void fail(const std::string& what);
  // Counts the answer; one that is not in `allowed` is a failure. True: it was OK.
  bool check(Verb verb, int32_t code, Codes allowed, const merritt_error* error, const char* more = "");
  bool check(Verb verb, int32_t code, Codes allowed, const test::Error& error, const char* more = "") {
    return check(verb, code, allowed, error.get(), more);
  }
  // A number that has to be another one.
  void expect_equal(uint64_t got, uint64_t wanted, const std::string& what);

  void add_finished(uint32_t reason) { finished_[reason % 8].fetch_add(1, std::memory_order_relaxed); }
  void add_tokens(uint64_t n) { tokens_.fetch_add(n, std::memory_order_relaxed); }
  uint64_t failures() const { return failures_.load(); }
  uint64_t count(Verb verb, int32_t code) const {
    return counts_[static_cast<uint32_t>(verb)][static_cast<uint32_t>(code)].load();
  }
  // The counts, as members of a JSON object.
  std::string json() const;

 private:
  const uint64_t seed_;
  std::atomic<uint32_t> round_{0};
  std::atomic<uint64_t> failures_{0}, tokens_{0};
  std::array<std::array<std::atomic<uint64_t>, kCodes>, kVerbs> counts_{};
  std::array<std::atomic<uint64_t>, 8> finished_{};
};

}  // namespace merritt::soak
