// SPDX-License-Identifier: Apache-2.0
// What one tenant has used: whole numbers that only grow, counted where the work happens and after it was delivered, so
// that no reader ever sees more than there was.
//
// Threads: add from any thread; read from any thread, each counter by itself.
#pragma once

#include <array>
#include <atomic>
#include <cstdint>
#include <string_view>

namespace merritt::tenant {

// Why a request was refused: bounded, for labels.
enum class Refusal : uint32_t {
  kPromptBytes,
  kRequestRate,
  kTokenRate,
  kQueue,
  kSequences,
  kKvBytes,
  kContext,
  kOutput,
  kTemplate,
  kModel,
  kOverload,  // everybody's queue
  kOther,
};
inline constexpr uint32_t kRefusals = 12;
inline constexpr uint32_t kFinishes = 7;  // the numbers of MERRITT_FINISH_*; 0 = an evaluation that is done

// The counters. The order is that of the journal's records: it only grows at the end.
enum class Counter : uint32_t {
  kRequests,             // accepted
  kPromptTokens,         // run
  kCachedTokens,         // of prompts, in the session's cache already
  kGeneratedTokens,      // handed out
  kDraftTokens,          // run as guesses
  kDraftTokensAccepted,  // of these, handed out
  kComputeNs,            // its rows' part of the time of steps
  kKvByteSeconds,        // KV bytes held, over time
  kTemplateSteps,        // of rendering chat templates
  kRefused,              // the first of kRefusals
  kFinished = kRefused + kRefusals,
  kModelLoads = kFinished + kFinishes,  // that were done
  kModelLoadNs,                         // of all of them, also of those that failed
};
inline constexpr uint32_t kCounters = static_cast<uint32_t>(Counter::kModelLoadNs) + 1;

// How a counter is called outside.
struct CounterName {
  std::string_view name;   // "prompt_tokens"
  std::string_view label;  // "cause" or "reason"; empty = none
  std::string_view value;  // of the label
  std::string_view help;
};
const CounterName& counter_name(uint32_t counter);

using Counts = std::array<uint64_t, kCounters>;

constexpr uint32_t index_of(Counter counter) { return static_cast<uint32_t>(counter); }
constexpr uint32_t index_of(Refusal cause) { return index_of(Counter::kRefused) + static_cast<uint32_t>(cause); }
constexpr uint32_t index_of_finish(uint32_t reason) {
  return index_of(Counter::kFinished) + (reason < kFinishes ? reason : kFinishes - 1);
}

class Ledger {
 public:
  void add(uint32_t index, uint64_t n) { counters_[index].fetch_add(n, std::memory_order_relaxed); }
  void add(Counter counter, uint64_t n) { add(index_of(counter), n); }
  uint64_t get(Counter counter) const { return counters_[index_of(counter)].load(std::memory_order_relaxed); }
  Counts counts() const;

 private:
  std::array<std::atomic<uint64_t>, kCounters> counters_{};
};

uint64_t sum_of_refusals(const Counts& counts);
// Shares of `total` by weight, in whole numbers that add up to it exactly; share i follows from the weights up to i.
uint64_t share_until(uint64_t total, uint64_t weight_until, uint64_t weight_total);

}  // namespace merritt::tenant
