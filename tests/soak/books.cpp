// SPDX-License-Identifier: Apache-2.0
#include "tests/soak/books.hpp"

#include <numeric>

namespace merritt::soak {

void Use::operator+=(const Use& more) {
  requests += more.requests;
  refusals += more.refusals;
  prompt_tokens += more.prompt_tokens;
  cached_tokens += more.cached_tokens;
  generated_tokens += more.generated_tokens;
  for (uint32_t r = 0; r < kFinishes; ++r) finished[r] += more.finished[r];
}

Told Told::of(const merritt_tenant_usage& usage) {
  Told told{.requests = usage.requests,
            .refusals = usage.refusals,
            .prompt_tokens = usage.prompt_tokens,
            .cached_tokens = usage.cached_tokens,
            .generated_tokens = usage.generated_tokens,
            .finished = {}};
  std::copy_n(usage.finished, kFinishes, told.finished.begin());
  return told;
}

// What is 0 is left out there.
void Told::add(const nlohmann::json& entry) {
  static constexpr const char* kReasons[] = {"evaluated", "eos", "stop", "length", "cancelled", "deadline", "error"};
  static_assert(std::size(kReasons) == kFinishes);
  requests += entry.value("requests", uint64_t{0});
  prompt_tokens += entry.value("prompt_tokens", uint64_t{0});
  cached_tokens += entry.value("cached_tokens", uint64_t{0});
  generated_tokens += entry.value("generated_tokens", uint64_t{0});
  if (const auto causes = entry.find("refusals"); causes != entry.end()) {
    for (const auto& [cause, n] : causes->items()) refusals += n.get<uint64_t>();
  }
  if (const auto reasons = entry.find("finished"); reasons != entry.end()) {
    for (uint32_t r = 0; r < kFinishes; ++r) finished[r] += reasons->value(kReasons[r], uint64_t{0});
  }
}

std::string Told::text() const {
  std::string out = std::to_string(requests) + " requests, " + std::to_string(refusals) + " refusals, tokens " +
                    std::to_string(prompt_tokens) + " prompt " + std::to_string(cached_tokens) + " cached " +
                    std::to_string(generated_tokens) + " generated, finished";
  for (const uint64_t n : finished) out += " " + std::to_string(n);
  return out;
}

void audit(Report& report, const std::string& source, const Use& known, const Told& told) {
  const auto compare = [&](const std::string& name, const Range& range, uint64_t n) {
    if (range.holds(n)) return;
    report.fail(source + ": " + name + " is " + std::to_string(n) + "; the clients know of " +
                std::to_string(range.least) + (range.most == range.least ? "" : " to " + std::to_string(range.most)));
  };
  compare("requests", known.requests, told.requests);
  compare("refusals", known.refusals, told.refusals);
  compare("prompt_tokens", known.prompt_tokens, told.prompt_tokens);
  compare("cached_tokens", known.cached_tokens, told.cached_tokens);
  compare("generated_tokens", known.generated_tokens, told.generated_tokens);
  for (uint32_t r = 0; r < kFinishes; ++r) {
    compare("finished[" + std::to_string(r) + "]", known.finished[r], told.finished[r]);
  }
  // Every request that was accepted has ended, in one way.
  const uint64_t ends = std::accumulate(told.finished.begin(), told.finished.end(), uint64_t{0});
  report.expect_equal(ends, told.requests, source + ": requests that have ended");
}

}  // namespace merritt::soak
