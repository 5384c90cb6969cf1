// SPDX-License-Identifier: Apache-2.0
#include "tenants_spec.hpp"

#include <algorithm>
#include <cmath>
#include <fstream>
#include <set>

#include "cli.hpp"
#include "json_fields.hpp"

namespace merritt::tools {
namespace {

using nlohmann::json;

constexpr size_t kFileBytesMax = size_t{1} << 20;
constexpr size_t kTenantsMax = 256;
constexpr size_t kNameBytesMax = 63;
constexpr uint64_t kIdleTenantsMax = 10'000;
constexpr double kBucketsMax = 10'000;
constexpr uint32_t kTokensMax = 1u << 24;
constexpr double kSecondsMax = 24 * 3600;
constexpr double kMillisMax = 3600e3;

// A number, or an object with a law.
Lengths parse_lengths(JsonFields& fields, const std::string& name, uint32_t otherwise) {
  Lengths lengths;
  if (!fields.has(name) || fields.value(name).is_number()) {
    lengths.least = lengths.most = static_cast<uint32_t>(fields.whole(name, otherwise, 1, kTokensMax));
    return lengths;
  }
  JsonFields own(fields.value(name), fields.path(name));
  const size_t law = own.word("law", {"uniform", "lognormal"}, 2);
  if (law == 2) own.fail("law", "missing", "\"uniform\", \"lognormal\", or a number instead of the object");
  lengths.law = law == 0 ? Lengths::Law::kUniform : Lengths::Law::kLognormal;
  lengths.least = static_cast<uint32_t>(own.whole("least", 1, 1, kTokensMax));
  if (!own.has("most")) own.fail("most", "missing", "name the longest, so that it fits into the context");
  lengths.most = static_cast<uint32_t>(own.whole("most", 1, lengths.least, kTokensMax));
  if (law == 1) {
    if (!own.has("median")) own.fail("median", "missing", "name the median in tokens");
    lengths.median = own.number("median", 1, 1, kTokensMax);
    lengths.sigma = own.number("sigma", 1, 0, 10);
  }
  own.finish();
  return lengths;
}

Arrivals parse_arrivals(JsonFields& fields) {
  Arrivals arrivals;
  if (!fields.has("arrivals")) return arrivals;
  JsonFields own(fields.value("arrivals"), fields.path("arrivals"));
  const size_t law = own.word("law", {"closed", "poisson", "fixed"}, 0);
  arrivals.law = static_cast<Arrivals::Law>(law);
  if (arrivals.law == Arrivals::Law::kClosed) {
    arrivals.clients = static_cast<uint32_t>(own.whole("clients", 1, 1, 4096));
    arrivals.think_ms = own.number("think_ms", 0, 0, kMillisMax);
  } else {
    if (!own.has("per_second")) own.fail("per_second", "missing", "name the mean rate of arrivals");
    arrivals.per_second = own.number("per_second", 1, 1e-3, 1e5);
  }
  own.finish();
  return arrivals;
}

int32_t parse_priority(JsonFields& fields) {
  const double priority = fields.number("priority", 0, -100, 100);
  if (priority != std::trunc(priority)) fields.fail("priority", "is no whole number", "name one from -100 to 100");
  return static_cast<int32_t>(priority);
}

void parse_behaviour(JsonFields& fields, TenantLoad& load) {
  load.text_bytes = fields.whole("text_bytes", 0, 0, uint64_t{1} << 30);
  load.messages = static_cast<uint32_t>(fields.whole("messages", 0, 0, 1u << 22));
  if (load.messages != 0 && load.text_bytes != 0) fields.fail("messages", "beside text_bytes", "name one of them");
  load.stop_strings = static_cast<uint32_t>(fields.whole("stop_strings", 0, 0, 4096));
  load.stop_bytes = static_cast<uint32_t>(fields.whole("stop_bytes", load.stop_bytes, 1, 1u << 20));
  load.cancel_probability = fields.number("cancel_probability", 0, 0, 1);
  load.cancel_after_ms = fields.number("cancel_after_ms", 0, 0, kMillisMax);
  load.reader_pause_ms = fields.number("reader_pause_ms", 0, 0, kMillisMax);
  load.retry_ms = fields.number("retry_ms", -1, 0.1, kMillisMax);
  load.priority = parse_priority(fields);
  load.sessions_per_second = fields.number("sessions_per_second", 0, 0, 1e5);
  load.sessions_held = static_cast<uint32_t>(fields.whole("sessions_held", 0, 0, 1u << 17));
  load.sessions_kept = static_cast<uint32_t>(fields.whole("sessions_kept", 0, 0, 1u << 17));
}

void parse_limits(JsonFields& fields, TenantLoad& load) {
  load.weight = static_cast<uint32_t>(fields.whole("weight", 1, 1, 65536));
  load.sequences_max = static_cast<uint32_t>(fields.whole("sequences_max", 0, 0, 4096));
  load.queue_max = static_cast<uint32_t>(fields.whole("queue_max", 0, 0, 4096));
  load.requests_per_second = static_cast<uint32_t>(fields.whole("requests_per_second", 0, 0, UINT32_MAX));
  load.tokens_per_minute = fields.whole("tokens_per_minute", 0, 0, uint64_t{1} << 40);
  load.prompt_bytes_max = static_cast<uint32_t>(fields.whole("prompt_bytes_max", 0, 0, UINT32_MAX));
  load.kv_ceiling = fields.number("kv_ceiling", 0, 0, 1);
  load.kv_floor = fields.number("kv_floor", 0, 0, 1);
}

// Which of the earlier tenants it shares the capability of.
size_t parse_as(JsonFields& fields, const std::vector<TenantLoad>& earlier) {
  if (!fields.has("as")) return earlier.size();
  const std::string wanted = fields.text("as", "");
  for (size_t i = 0; i < earlier.size(); ++i) {
    if (earlier[i].name == wanted && earlier[i].as == i) return i;
  }
  fields.fail("as", "no earlier tenant of its own has this name", "name one that stands before it in the list");
}

// `copies`: tenants with this load; of several, each has its number behind the name.
TenantLoad parse_tenant(const json& object, const std::string& where, const std::vector<TenantLoad>& earlier,
                        uint64_t& copies) {
  JsonFields fields(object, where);
  TenantLoad load;
  copies = fields.whole("copies", 1, 1, kTenantsMax);
  load.as = parse_as(fields, earlier);
  load.name = fields.text("name", "");
  if (load.name.empty() || load.name.size() > kNameBytesMax) {
    fields.fail("name", load.name.empty() ? "missing" : "longer than 63 bytes", "a short name for each tenant");
  }
  constexpr const char* kLetters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._-";
  if (load.name.find_first_not_of(kLetters) != std::string::npos) {
    fields.fail("name", "has a letter that names of tenants do not", "only A-Z a-z 0-9 . _ -");
  }
  load.arrivals = parse_arrivals(fields);
  load.prompt = parse_lengths(fields, "prompt", 64);
  load.output = parse_lengths(fields, "output", 32);
  if (copies > 1 && fields.has("as")) fields.fail("copies", "beside as", "a load with another's capability is one");
  load.requests = fields.whole("requests", 0, 0, 100'000'000);
  parse_behaviour(fields, load);
  parse_limits(fields, load);
  fields.finish();
  return load;
}

}  // namespace

double Dice::unit() { return static_cast<double>(random_() >> 11) * 0x1p-53; }

double Dice::wait() { return -std::log1p(-unit()); }

double Dice::normal() {
  const double radius = std::sqrt(2 * wait());
  return radius * std::cos(2 * M_PI * unit());
}

uint64_t Dice::below(uint64_t n) { return n == 0 ? 0 : random_() % n; }

uint32_t Lengths::draw(Dice& dice) const {
  if (law == Law::kFixed) return most;
  if (law == Law::kUniform) return least + static_cast<uint32_t>(dice.below(uint64_t{most} - least + 1));
  const double drawn = std::round(median * std::exp(sigma * dice.normal()));
  return static_cast<uint32_t>(std::clamp(drawn, static_cast<double>(least), static_cast<double>(most)));
}

LoadSpec parse_load(const std::string& text, const std::string& file) {
  const json all = parse_strictly(text, file);
  JsonFields fields(all, file);
  LoadSpec spec;
  spec.seconds = fields.number("seconds", spec.seconds, 0.05, kSecondsMax);
  spec.warmup_seconds = fields.number("warmup_seconds", spec.warmup_seconds, 0, kSecondsMax);
  spec.bucket_seconds = fields.number("bucket_seconds", std::max(0.01, spec.seconds / 100), 0.01, kSecondsMax);
  if (spec.seconds / spec.bucket_seconds > kBucketsMax) {
    fields.fail("bucket_seconds", "more than 10000 pieces of time", "longer ones");
  }
  spec.seed = fields.whole("seed", spec.seed, 0, UINT64_MAX);
  spec.sequences_max = static_cast<uint32_t>(fields.whole("sequences_max", 0, 0, 4096));
  spec.step_tokens_max = static_cast<uint32_t>(fields.whole("step_tokens_max", 0, 0, 65536));
  spec.kv_tokens = fields.whole("kv_tokens", 0, 0, uint64_t{1} << 32);
  spec.idle_tenants = static_cast<uint32_t>(fields.whole("idle_tenants", 0, 0, kIdleTenantsMax));
  const json& tenants = fields.value("tenants");
  if (!tenants.is_array() || tenants.empty() || tenants.size() > kTenantsMax) {
    fields.fail("tenants", "not a list of 1 to " + std::to_string(kTenantsMax) + " tenants", "[{\"name\": ...}, ...]");
  }
  std::set<std::string> names;
  for (size_t i = 0; i < tenants.size(); ++i) {
    const std::string where = fields.path("tenants[" + std::to_string(i) + "]");
    uint64_t copies = 1;
    TenantLoad load = parse_tenant(tenants[i], where, spec.tenants, copies);
    const std::string name = load.name;
    const bool own = load.as == spec.tenants.size();
    for (uint64_t copy = 1; copy <= copies; ++copy) {
      if (copies > 1) load.name = name + std::to_string(copy);
      if (load.name.size() > kNameBytesMax) {
        throw with_fix(where + ".name: with the number of a copy longer than 63 bytes", "a shorter name", kExitUsage);
      }
      if (own) load.as = spec.tenants.size();
      if (!names.insert(load.name).second) {
        throw with_fix(where + ".name: another tenant has it", "a name of its own for each", kExitUsage);
      }
      spec.tenants.push_back(load);
    }
    if (spec.tenants.size() > kTenantsMax) {
      throw with_fix(where + ".copies: more than " + std::to_string(kTenantsMax) + " tenants in all", "fewer",
                     kExitUsage);
    }
  }
  fields.finish();
  return spec;
}

LoadSpec read_load(const std::string& file) {
  std::ifstream in(file, std::ios::binary);
  if (!in) throw with_fix(file + ": cannot be read", "name the JSON file that describes the tenants", kExitUsage);
  std::string text(kFileBytesMax + 1, '\0');
  in.read(text.data(), static_cast<std::streamsize>(text.size()));
  text.resize(static_cast<size_t>(in.gcount()));
  if (text.size() > kFileBytesMax) throw with_fix(file + ": more than 1 MiB", "a smaller file", kExitUsage);
  return parse_load(text, file);
}

}  // namespace merritt::tools
