// SPDX-License-Identifier: Apache-2.0
//
// What `merritt bench --tenants FILE` reads: the load of each tenant, from JSON. Every field is checked; a name that is
// not known is an error that names the nearest one. docs/howto/measure_tenants.md describes the fields.
#pragma once

#include <cstdint>
#include <random>
#include <string>
#include <vector>

namespace merritt::tools {

// The numbers of the engine are the standard's; its distributions are not, so they are made here. The same seed gives
// the same load everywhere.
class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  double unit();    // [0, 1)
  double normal();  // mean 0, deviation 1
  double wait();    // of an exponential law with mean 1
  uint64_t below(uint64_t n);

 private:
  std::mt19937_64 random_;
};

// A length in tokens.
struct Lengths {
  enum class Law { kFixed, kUniform, kLognormal };
  Law law = Law::kFixed;
  uint32_t least = 1;
  uint32_t most = 1;
  double median = 1;  // of kLognormal
  double sigma = 0;   // of its logarithm

  uint32_t draw(Dice& dice) const;
};

struct Arrivals {
  enum class Law { kClosed, kPoisson, kFixed };
  Law law = Law::kClosed;
  uint32_t clients = 1;   // kClosed: each sends its next request after the last has ended
  double think_ms = 0;    // and this time
  double per_second = 0;  // kPoisson, kFixed
};

struct TenantLoad {
  std::string name;
  size_t as = 0;  // place of the tenant whose capability it sends with: its own, or an earlier one's
  Arrivals arrivals;
  Lengths prompt;
  Lengths output;
  uint64_t requests = 0;      // measured ones to send; 0 = until the end
  uint64_t text_bytes = 0;    // the prompt is a text of so many bytes instead; 0 = random tokens
  uint32_t messages = 0;      // or a conversation of so many, which the model's template renders
  uint32_t stop_strings = 0;  // stop strings of each request
  uint32_t stop_bytes = 16;   // in each of them
  double cancel_probability = 0;
  double cancel_after_ms = 0;
  double reader_pause_ms = 0;      // it reads what there is, then nothing for so long
  double retry_ms = -1;            // after a refusal; -1 = as the refusal says
  int32_t priority = 0;            // of its requests
  double sessions_per_second = 0;  // opened besides those of its requests
  uint32_t sessions_held = 0;      // of these, before the oldest is closed
  uint32_t sessions_kept = 0;      // of ended requests, before the oldest is closed
  // Limits.
  uint32_t weight = 1;
  uint32_t sequences_max = 0;
  uint32_t queue_max = 0;
  uint32_t requests_per_second = 0;
  uint64_t tokens_per_minute = 0;
  uint32_t prompt_bytes_max = 0;
  double kv_ceiling = 0;  // parts of the model's pool; 0 = none
  double kv_floor = 0;
};

struct LoadSpec {
  double seconds = 10;        // at most; earlier when every tenant with a number of requests is done
  double warmup_seconds = 1;  // before them, not measured
  double bucket_seconds = 0;  // of the timeline; 0 = a hundredth of `seconds`
  uint64_t seed = 1;
  uint32_t sequences_max = 0;  // in one step; 0 = the default
  uint32_t step_tokens_max = 0;
  uint64_t kv_tokens = 0;     // size of the pool; 0 = the default
  uint32_t idle_tenants = 0;  // besides those below: each has a session with a past, and sends nothing any more
  std::vector<TenantLoad> tenants;
};

// Throws Failure with kExitUsage.
LoadSpec parse_load(const std::string& text, const std::string& file);
LoadSpec read_load(const std::string& file);

}  // namespace merritt::tools
