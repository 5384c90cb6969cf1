// SPDX-License-Identifier: Apache-2.0
// Usage as text: a JSON object a line, or the exposition format of Prometheus. Names of tenants need no escapes: they
// are made of [A-Za-z0-9._-]. The groups "(closed)" and "(other)" can be no tenant's name.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tenant/registry.hpp"

namespace merritt::tenant {

// A number of the whole engine, with its name outside.
struct EngineNumber {
  std::string_view name, help;
  bool counter = true;  // else a gauge
  uint64_t value = 0;
};

// Bounds the labels: the first limits::kUsageLabelsMax tenants, then one group of all others, one of all that are gone.
std::vector<NamedUsage> bounded_usages(std::vector<NamedUsage> live, const Counts& closed);

std::string usage_json_lines(std::span<const NamedUsage> usages, std::span<const EngineNumber> engine);
std::string usage_prometheus(std::span<const NamedUsage> usages, std::span<const EngineNumber> engine);
// The counters as fields of an object, `{` and `}` left to the caller. zeros false: only what is not zero.
void append_counts(const Counts& counts, bool zeros, std::string& out);

}  // namespace merritt::tenant
