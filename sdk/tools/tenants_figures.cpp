// SPDX-License-Identifier: Apache-2.0
#include "tenants_figures.hpp"

#include <algorithm>

#include "terminal.hpp"

namespace merritt::tools {
namespace {

using Json = nlohmann::ordered_json;

Json quantiles(const std::vector<double>& values) {
  return {{"p50", quantile(values, 0.5)},
          {"p90", quantile(values, 0.9)},
          {"p99", quantile(values, 0.99)},
          {"max", quantile(values, 1)},
          {"count", values.size()}};
}

double per_second(uint64_t count, double seconds) { return seconds > 0 ? static_cast<double>(count) / seconds : 0; }

Json timeline_of(const TenantFigures& tenant, double bucket_seconds) {
  Json all = Json::array();
  for (size_t i = 0; i < tenant.timeline.size(); ++i) {
    const Bucket& bucket = tenant.timeline[i];
    Json one = {{"at_s", static_cast<double>(i) * bucket_seconds},
                {"tokens_in", bucket.tokens_in},
                {"tokens_out", bucket.tokens_out},
                {"refused", bucket.refused},
                {"compute_ms", static_cast<double>(bucket.compute_ns) / 1e6},
                {"kv_bytes", bucket.kv_bytes},
                {"running", bucket.running},
                {"waiting", bucket.waiting}};
    if (!bucket.first_token_ms.empty()) {
      one["first_token_ms_p50"] = quantile(bucket.first_token_ms, 0.5);
      one["first_token_ms_max"] = quantile(bucket.first_token_ms, 1);
    }
    all.push_back(std::move(one));
  }
  return all;
}

Json json_of(const TenantFigures& tenant, const LoadFigures& all) {
  return {{"tenant", tenant.name},
          {"weight", tenant.weight},
          {"first_token_ms", quantiles(tenant.first_token_ms)},
          {"first_token_steps", quantiles(tenant.first_token_steps)},
          {"between_tokens_ms", quantiles(tenant.between_ms)},
          {"late_ms", quantiles(tenant.late_ms)},
          {"tokens_in_per_s", per_second(tenant.tokens_in, all.seconds)},
          {"tokens_out_per_s", per_second(tenant.tokens_out, all.seconds)},
          {"tokens_in", tenant.tokens_in},
          {"tokens_out", tenant.tokens_out},
          {"requests",
           {{"sent", tenant.sent},
            {"done", tenant.done},
            {"cancelled", tenant.cancelled},
            {"unanswered", tenant.unanswered},
            {"unfinished", tenant.unfinished},
            {"refused", tenant.refused},
            {"failed", tenant.failed},
            {"messages", tenant.messages}}},
          {"sessions", tenant.sessions},
          {"compute_ms", static_cast<double>(tenant.compute_ns) / 1e6},
          {"kv_byte_seconds", tenant.kv_byte_seconds},
          {"timeline", timeline_of(tenant, all.bucket_seconds)}};
}

std::string codes_of(const char* what, const std::map<std::string, uint64_t>& counts, const TenantFigures& tenant) {
  std::string text;
  for (const auto& [code, count] : counts) {
    const auto said = tenant.messages.find(code);
    text += format("  %s %llu as %s", what, static_cast<unsigned long long>(count), code.c_str());
    text += (said == tenant.messages.end() ? "" : ": " + said->second) + "\n";
  }
  return text;
}

}  // namespace

double quantile(std::vector<double> values, double part) {
  if (values.empty()) return 0;
  const double place = std::clamp(part, 0.0, 1.0) * static_cast<double>(values.size() - 1);
  const auto low = static_cast<std::ptrdiff_t>(place);
  std::nth_element(values.begin(), values.begin() + low, values.end());
  const double at_low = values[static_cast<size_t>(low)];
  if (low + 1 == static_cast<std::ptrdiff_t>(values.size())) return at_low;
  const double next = *std::min_element(values.begin() + low + 1, values.end());
  return at_low + (next - at_low) * (place - static_cast<double>(low));
}

double jain(const std::vector<double>& values) {
  double sum = 0, squares = 0;
  for (const double value : values) {
    sum += value;
    squares += value * value;
  }
  return squares > 0 ? sum * sum / (static_cast<double>(values.size()) * squares) : 1;
}

uint64_t TenantFigures::refusals() const {
  uint64_t all = 0;
  for (const auto& [code, count] : refused) all += count;
  return all;
}

double LoadFigures::jain_of_service() const {
  std::vector<double> services;
  for (const TenantFigures& tenant : tenants) {
    services.push_back(static_cast<double>(tenant.compute_ns) / tenant.weight);
  }
  return jain(services);
}

Json json_of(const LoadFigures& figures) {
  Json out = {{"seconds", figures.seconds},
              {"bucket_seconds", figures.bucket_seconds},
              {"steps", figures.steps},
              {"kv_pool_bytes", figures.kv_pool_bytes},
              {"jain_index", figures.jain_of_service()},
              {"tenants", Json::array()}};
  for (const TenantFigures& tenant : figures.tenants) out["tenants"].push_back(json_of(tenant, figures));
  if (figures.idle.tenants > 0) {
    out["idle"] = {{"tenants", figures.idle.tenants},
                   {"heap_bytes_each", figures.idle.heap_bytes_each},
                   {"kv_bytes_each", figures.idle.kv_bytes_each}};
  }
  return out;
}

std::string table_of(const LoadFigures& figures) {
  std::string text = format("%-16s %6s %8s %8s %8s %9s | %8s %8s %8s %8s | %8s %8s | %10s %10s %8s\n", "tenant",
                            "weight", "done", "cancel", "refused", "failed", "ttft p50", "p90", "p99", "max ms",
                            "itl p50", "p99 ms", "in/s", "out/s", "compute");
  double compute = 0;
  for (const TenantFigures& tenant : figures.tenants) compute += static_cast<double>(tenant.compute_ns);
  for (const TenantFigures& tenant : figures.tenants) {
    uint64_t failed = 0;
    for (const auto& [code, count] : tenant.failed) failed += count;
    const auto first = [&](double part) { return quantile(tenant.first_token_ms, part); };
    text +=
        format("%-16s %6u %8llu %8llu %8llu %9llu | %8.2f %8.2f %8.2f %8.2f | %8.2f %8.2f | %10.1f %10.1f %7.1f%%\n",
               tenant.name.c_str(), tenant.weight, static_cast<unsigned long long>(tenant.done),
               static_cast<unsigned long long>(tenant.cancelled), static_cast<unsigned long long>(tenant.refusals()),
               static_cast<unsigned long long>(failed), first(0.5), first(0.9), first(0.99), first(1),
               quantile(tenant.between_ms, 0.5), quantile(tenant.between_ms, 0.99),
               per_second(tenant.tokens_in, figures.seconds), per_second(tenant.tokens_out, figures.seconds),
               compute > 0 ? 100 * static_cast<double>(tenant.compute_ns) / compute : 0);
    text += codes_of("refused", tenant.refused, tenant) + codes_of("failed", tenant.failed, tenant);
    if (tenant.unanswered > 0) {
      text += format("  without a first token at the end: %llu\n", static_cast<unsigned long long>(tenant.unanswered));
    }
    if (quantile(tenant.late_ms, 0.99) > 1) {
      text += format("  sent late by %.1f ms at p99: the load took longer than its arrivals allow\n",
                     quantile(tenant.late_ms, 0.99));
    }
  }
  if (figures.idle.tenants > 0) {
    text += format("beside %u idle tenants, each with %.1f KiB of memory and %.1f KiB of KV\n", figures.idle.tenants,
                   figures.idle.heap_bytes_each / 1024, figures.idle.kv_bytes_each / 1024);
  }
  return text + format("%.1f s, %llu engine steps, Jain index of compute over weight %.4f\n", figures.seconds,
                       static_cast<unsigned long long>(figures.steps), figures.jain_of_service());
}

}  // namespace merritt::tools
