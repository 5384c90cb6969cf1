// SPDX-License-Identifier: Apache-2.0
//
// merritt bench: prompt and generation speed of one model. The sessions are filled to the depth once; each repetition
// runs the prompt (prefill), cuts back to the depth and generates (decode). Wall clock over all sessions together.
#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "bench_tenants.hpp"
#include "cli.hpp"
#include "engine_flags.hpp"
#include "interrupt.hpp"
#include "kernel_trace.hpp"
#include "machine.hpp"
#include "terminal.hpp"

namespace merritt::tools {
namespace {

struct BenchFlags {
  ModelFlags model;
  uint32_t prompt = 512;
  uint32_t generate = 128;
  uint32_t depth = 0;
  uint32_t batch = 1;
  uint32_t speculate = 0;
  uint32_t repetitions = 5;
  bool trace_kernels = false;
  bool json = false;
  TenantBenchFlags tenants;
};

struct Samples {
  std::vector<double> values;

  double median() const { return at(0.5); }
  // Linear interpolation between order statistics.
  double at(double quantile) const {
    if (values.empty()) return 0;
    std::vector<double> sorted = values;
    std::sort(sorted.begin(), sorted.end());
    const double place = quantile * static_cast<double>(sorted.size() - 1);
    const auto low = static_cast<size_t>(place);
    const size_t high = std::min(low + 1, sorted.size() - 1);
    return sorted[low] + (sorted[high] - sorted[low]) * (place - static_cast<double>(low));
  }
  nlohmann::json json() const {
    return {{"median", median()}, {"p25", at(0.25)}, {"p75", at(0.75)},
            {"min", at(0)},       {"max", at(1)},    {"runs", values}};
  }
  std::string text(const char* unit) const {
    return format("%9.1f %s  (quartiles %.1f to %.1f, %zu runs)", median(), unit, at(0.25), at(0.75), values.size());
  }
};

struct Results {
  Samples prefill;      // tokens/s
  Samples decode;       // tokens/s
  Samples first_token;  // ms
};

// Ordinary ids, the same in every run.
std::vector<int32_t> some_tokens(uint32_t count, uint32_t vocabulary, uint32_t seed) {
  std::vector<int32_t> tokens(count);
  uint64_t state = 0x9E3779B97F4A7C15u * (seed + 1);
  for (int32_t& token : tokens) {
    state = state * 6364136223846793005u + 1442695040888963407u;
    const uint64_t span = vocabulary > 512 ? vocabulary - 300 : vocabulary;
    token = static_cast<int32_t>((vocabulary > 512 ? 300 : 0) + (state >> 33) % span);
  }
  return tokens;
}

struct Timing {
  double until_all_first = 0;  // seconds from submit until every session had its first token
  double rest = 0;             // from there to the last end
  uint64_t tokens_in_rest = 0;
};

// Submits the same work to every session and reads all of them in turn.
Timing run_all(std::vector<Session>& sessions, const std::vector<std::vector<int32_t>>& prompts, uint32_t max_tokens,
               uint32_t speculate = 0) {
  Timing timing;
  const Stopwatch watch;
  std::vector<Request> requests;
  for (size_t i = 0; i < sessions.size(); ++i) {
    RequestOptions options;
    options.tokens = prompts[i];
    options.max_tokens = max_tokens;
    options.speculate_max = speculate;
    options.flags = MERRITT_REQUEST_IGNORE_EOS;
    requests.push_back(expect(sessions[i].submit(options), "bench"));
  }
  std::vector<uint32_t> produced(requests.size(), 0);
  std::vector<bool> ended(requests.size(), false);
  size_t waiting_for_first = requests.size();
  size_t running = requests.size();
  while (running > 0) {
    if (interrupted()) throw Failure("interrupted");
    for (size_t i = 0; i < requests.size(); ++i) {
      if (ended[i]) continue;
      const Event event = expect(requests[i].next(1000), "bench");
      if (event.kind == EventKind::kEnd) {
        ended[i] = true;
        --running;
      } else if (event.kind == EventKind::kText && event.token >= 0) {
        if (produced[i]++ == 0 && --waiting_for_first == 0) {
          timing.until_all_first = watch.seconds();
          timing.tokens_in_rest = 0;
        } else if (waiting_for_first == 0) {
          ++timing.tokens_in_rest;
        }
      }
    }
  }
  timing.rest = watch.seconds() - timing.until_all_first;
  return timing;
}

void fill_to_depth(const BenchFlags& flags, Session& session, uint32_t seed, const ModelInfo& info) {
  RequestOptions fill;
  fill.tokens = some_tokens(flags.depth, info.vocabulary, seed);
  fill.max_tokens = 1;
  Request request = expect(session.submit(fill), "bench: filling to the depth");
  expect(request.read_text(), "bench: filling to the depth");
  if (expect(session.length(), "session") > flags.depth) {
    expect(session.truncate(flags.depth), "bench: cutting back to the depth");
  }
}

// Brings all sessions to the depth. What an earlier run left is cut off, since filling anew can take minutes; only
// where layers with a window have dropped what the depth would see must it be.
void bring_to_depth(const BenchFlags& flags, std::vector<Session>& sessions, const ModelInfo& info) {
  for (uint32_t i = 0; i < sessions.size(); ++i) {
    Session& session = sessions[i];
    const uint32_t length = expect(session.length(), "session");
    if (length == flags.depth) continue;
    if (length > flags.depth) {
      auto cut = session.truncate(flags.depth);
      if (cut) continue;
      if (cut.error().code() != Code::kFailedPrecondition) expect(std::move(cut), "bench: cutting back to the depth");
      expect(session.truncate(0), "bench: beginning anew");
    }
    fill_to_depth(flags, session, i + 2000, info);
  }
}

std::vector<std::vector<int32_t>> prompts_of(uint32_t batch, uint32_t tokens, uint32_t vocabulary) {
  std::vector<std::vector<int32_t>> prompts;
  for (uint32_t i = 0; i < batch; ++i) prompts.push_back(some_tokens(tokens, vocabulary, i));
  return prompts;
}

void repeat_once(const BenchFlags& flags, std::vector<Session>& sessions, const ModelInfo& info, Results& results) {
  if (flags.prompt > 0) {
    bring_to_depth(flags, sessions, info);
    const Timing timing = run_all(sessions, prompts_of(flags.batch, flags.prompt, info.vocabulary), 1);
    results.prefill.values.push_back(flags.batch * flags.prompt / timing.until_all_first);
    results.first_token.values.push_back(timing.until_all_first * 1e3);
  }
  if (flags.generate > 0) {
    bring_to_depth(flags, sessions, info);
    const Timing timing =
        run_all(sessions, prompts_of(flags.batch, 1, info.vocabulary), flags.generate, flags.speculate);
    results.decode.values.push_back(static_cast<double>(timing.tokens_in_rest) / timing.rest);
  }
}

nlohmann::json json_of(const BenchFlags& flags, const Model& model, const ModelInfo& info, const EngineStats& stats,
                       const Results& results) {
  const Machine machine = inspect_machine();
  nlohmann::json out = {{"model", info.name},
                        {"architecture", info.architecture},
                        {"quantization", info.quantization},
                        {"parameters", info.parameters},
                        {"file_bytes", info.file_bytes},
                        {"backend", info.backend},
                        {"threads", stats.threads},
                        {"cpu", machine.cpu},
                        {"cpu_features", features_used(machine, kernel_names(model))},
                        {"prompt_tokens", flags.prompt},
                        {"generated_tokens", flags.generate},
                        {"depth", flags.depth},
                        {"batch", flags.batch},
                        {"memory_bytes", stats.memory_bytes},
                        {"memory_bytes_peak", stats.memory_bytes_peak},
                        {"weight_bytes", stats.weight_bytes},
                        {"kv_bytes", stats.kv_bytes},
                        {"peak_rss_bytes", peak_rss_bytes()}};
  // What was not measured is left out; it is not 0.
  if (flags.prompt > 0) {
    out["prefill_tokens_per_s"] = results.prefill.json();
    out["first_token_ms"] = results.first_token.json();
  }
  if (flags.generate > 0) out["decode_tokens_per_s"] = results.decode.json();
  if (flags.speculate > 0) {
    out["speculate"] = flags.speculate;
    out["draft_tokens"] = stats.draft_tokens;
    out["draft_tokens_accepted"] = stats.draft_tokens_accepted;
  }
  return out;
}

void check_flags(const BenchFlags& flags) {
  if (flags.generate == 1) {
    throw with_fix("-n 1 measures nothing: the first token belongs to the prompt's run",
                   "-n 2 or more, or -n 0 for no decode run", kExitUsage);
  }
  if (flags.prompt == 0 && flags.generate == 0) {
    throw with_fix("-p 0 -n 0 measures nothing", "give -p, -n or both", kExitUsage);
  }
}

// A model's KV pool holds four sequences unless it is told its size, which only a loaded model knows: for a larger
// batch it is loaded again.
Model load_for(Engine& engine, const ModelFlags& flags, uint32_t batch) {
  constexpr uint32_t kSequencesOfPool = 4;
  ModelOptions options;
  {
    Model model = load_model(engine, flags);
    if (batch <= kSequencesOfPool) return model;
    options.kv_bytes = expect(model.info(), "model").kv_bytes / kSequencesOfPool * batch;
  }
  return load_model(engine, flags, options);
}

int bench(const BenchFlags& flags) {
  check_flags(flags);
  watch_interrupts();
  ModelFlags model_flags = flags.model;
  const uint32_t longest = flags.depth + std::max(flags.prompt + 1, flags.generate + 1);
  if (model_flags.context_max == 0) model_flags.context_max = std::max(longest + 16, 512u);
  model_flags.sequences_max = std::max(flags.batch, 1u);
  Engine engine = open_engine(flags.model.engine);
  Model model = load_for(engine, model_flags, flags.batch);
  const ModelInfo info = expect(model.info(), "model");
  Tenant tenant = expect(engine.tenant("bench"), "tenant");
  Results results;
  std::vector<Session> sessions;
  for (uint32_t i = 0; i < flags.batch; ++i) sessions.push_back(expect(tenant.session(model), "session"));
  {
    Progress progress("bench");
    Results warm_up;  // code paths, page faults, clocks
    repeat_once(flags, sessions, info, warm_up);
    for (uint32_t i = 0; i < flags.repetitions; ++i) {
      progress.at(static_cast<float>(i) / static_cast<float>(flags.repetitions));
      repeat_once(flags, sessions, info, results);
    }
  }
  const EngineStats stats = expect(engine.stats(), "statistics");
  nlohmann::json out = json_of(flags, model, info, stats, results);
  std::string text = format("%s, %s, %s, %u threads, batch %u, depth %u\n", info.name, info.quantization, info.backend,
                            stats.threads, flags.batch, flags.depth);
  if (flags.prompt > 0) text += format("prefill %5u ", flags.prompt) + results.prefill.text("t/s") + "\n";
  if (flags.generate > 0) text += format("decode  %5u ", flags.generate) + results.decode.text("t/s") + "\n";
  if (flags.trace_kernels) {
    out["kernels"] = trace_json(model);
    text += trace_text(model);
  }
  emit(flags.json ? out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n" : text);
  return kExitOk;
}

// The load of tenants is all in its file: what the other runs are made of does not go with it.
void add_tenants(CLI::App& self, TenantBenchFlags& flags) {
  auto* tenants = self.add_option("--tenants", flags.spec, "Load of several tenants at once, from a JSON file");
  for (const char* other : {"-p", "-n", "-d", "-b", "--speculate", "-r", "--trace-kernels"}) {
    tenants->excludes(self.get_option(other));
  }
  self.add_option("--report", flags.report, "HTML page to write, of each tenant's service and latency over time")
      ->needs(tenants);
}

}  // namespace

void add_bench(CLI::App& app, Verb& verb) {
  auto flags = std::make_shared<BenchFlags>();
  CLI::App* self = app.add_subcommand("bench", "Prompt and generation speed");
  add_model_flags(*self, flags->model);
  self->add_option("-p,--prompt-tokens", flags->prompt, "Prompt tokens, 0 = no prefill run");
  self->add_option("-n,--generate-tokens", flags->generate, "Generated tokens, 0 = no decode run, else 2 or more");
  self->add_option("-d,--depth", flags->depth, "Tokens in the cache before either");
  self->add_option("-b,--batch", flags->batch, "Sequences at the same time")->check(CLI::Range(1, 256));
  self->add_option("--speculate", flags->speculate, "Draft tokens in one step of the decode run, 0 = off");
  self->add_option("-r,--repetitions", flags->repetitions, "Measured runs after one warm-up")
      ->check(CLI::Range(1, 1000));
  self->add_flag("--trace-kernels", flags->trace_kernels,
                 "The kernel of each graph node, oneDNN's share of prefill FLOPs");
  self->add_flag("--json", flags->json, "As JSON");
  add_tenants(*self, flags->tenants);
  self->callback([flags, &verb] {
    flags->tenants.json = flags->json;
    const bool tenants = !flags->tenants.spec.empty();
    verb = [flags, tenants] { return tenants ? bench_tenants(flags->model, flags->tenants) : bench(*flags); };
  });
}

}  // namespace merritt::tools
