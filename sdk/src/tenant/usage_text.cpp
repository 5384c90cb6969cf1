// SPDX-License-Identifier: Apache-2.0
#include "tenant/usage_text.hpp"

#include "base/limits.hpp"

namespace merritt::tenant {
namespace {

// What a tenant has now.
struct Gauge {
  std::string_view name, help;
  uint64_t (*value)(const TenantUsage&);
};
constexpr Gauge kGauges[] = {
    {"requests_running", "Requests running now.", [](const TenantUsage& u) -> uint64_t { return u.requests_running; }},
    {"requests_waiting", "Requests waiting now.", [](const TenantUsage& u) -> uint64_t { return u.requests_waiting; }},
    {"sessions", "Sessions open now.", [](const TenantUsage& u) -> uint64_t { return u.sessions; }},
    {"kv_bytes", "Bytes of KV pages held now.", [](const TenantUsage& u) -> uint64_t { return u.kv_bytes; }},
    {"model_bytes", "Bytes of the models on its account now.",
     [](const TenantUsage& u) -> uint64_t { return u.model_bytes; }},
};

void append(std::string& out, std::initializer_list<std::string_view> parts) {
  for (const std::string_view part : parts) out += part;
}

void append_field(std::string_view name, uint64_t value, std::string& out) {
  append(out, {out.empty() || out.back() == '{' ? "" : ",", "\"", name, "\":"});
  out += std::to_string(value);
}

void append_family(std::string_view prefix, std::string_view name, std::string_view help, bool counter,
                   std::string& out) {
  const std::string_view suffix = counter ? "_total" : "";
  append(out, {"# HELP ", prefix, name, suffix, " ", help, "\n# TYPE ", prefix, name, suffix,
               counter ? " counter\n" : " gauge\n"});
}

void add(const NamedUsage& from, NamedUsage& to) {
  to.usage.requests_running += from.usage.requests_running;
  to.usage.requests_waiting += from.usage.requests_waiting;
  to.usage.sessions += from.usage.sessions;
  to.usage.kv_bytes += from.usage.kv_bytes;
  to.usage.model_bytes += from.usage.model_bytes;
  for (uint32_t i = 0; i < kCounters; ++i) to.usage.counts[i] += from.usage.counts[i];
}

}  // namespace

std::vector<NamedUsage> bounded_usages(std::vector<NamedUsage> live, const Counts& closed) {
  if (live.size() > limits::kUsageLabelsMax) {
    NamedUsage others{.id = 0, .name = "(other)", .usage = {}};
    for (size_t i = limits::kUsageLabelsMax; i < live.size(); ++i) add(live[i], others);
    live.resize(limits::kUsageLabelsMax);
    live.push_back(std::move(others));
  }
  live.push_back({.id = 0, .name = "(closed)", .usage = {}});
  live.back().usage.counts = closed;
  return live;
}

void append_counts(const Counts& counts, bool zeros, std::string& out) {
  std::string_view open;
  for (uint32_t i = 0; i < kCounters; ++i) {
    const CounterName& name = counter_name(i);
    if (counts[i] == 0 && !zeros) continue;
    const std::string_view group = name.label.empty() ? std::string_view() : name.name;
    if (group != open) {
      if (!open.empty()) out += '}';
      if (!group.empty()) append(out, {out.empty() || out.back() == '{' ? "" : ",", "\"", group, "\":{"});
      open = group;
    }
    append_field(group.empty() ? name.name : name.value, counts[i], out);
  }
  if (!open.empty()) out += '}';
}

std::string usage_json_lines(std::span<const NamedUsage> usages, std::span<const EngineNumber> engine) {
  std::string out = "{\"engine\":{";
  for (const EngineNumber& number : engine) append_field(number.name, number.value, out);
  out += "}}\n";
  for (const NamedUsage& one : usages) {
    append(out, {"{\"tenant\":\"", one.name, "\""});
    for (const Gauge& gauge : kGauges) append_field(gauge.name, gauge.value(one.usage), out);
    append_counts(one.usage.counts, true, out);
    out += "}\n";
  }
  return out;
}

std::string usage_prometheus(std::span<const NamedUsage> usages, std::span<const EngineNumber> engine) {
  constexpr std::string_view kEngine = "merritt_engine_", kTenant = "merritt_tenant_";
  std::string out;
  for (const EngineNumber& number : engine) {
    append_family(kEngine, number.name, number.help, number.counter, out);
    append(out, {kEngine, number.name, number.counter ? "_total " : " ", std::to_string(number.value), "\n"});
  }
  for (const Gauge& gauge : kGauges) {
    append_family(kTenant, gauge.name, gauge.help, false, out);
    for (const NamedUsage& one : usages) {
      append(out, {kTenant, gauge.name, "{tenant=\"", one.name, "\"} ", std::to_string(gauge.value(one.usage)), "\n"});
    }
  }
  for (uint32_t first = 0, last = 0; first < kCounters; first = last) {
    const CounterName& family = counter_name(first);
    for (last = first + 1; last < kCounters && counter_name(last).name == family.name; ++last) {
    }
    append_family(kTenant, family.name, family.help, true, out);
    for (const NamedUsage& one : usages) {
      for (uint32_t i = first; i < last; ++i) {
        append(out, {kTenant, family.name, "_total{tenant=\"", one.name, "\""});
        const CounterName& name = counter_name(i);
        if (!name.label.empty()) append(out, {",", name.label, "=\"", name.value, "\""});
        append(out, {"} ", std::to_string(one.usage.counts[i]), "\n"});
      }
    }
  }
  return out;
}

}  // namespace merritt::tenant
