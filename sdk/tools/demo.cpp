// SPDX-License-Identifier: Apache-2.0
//
// merritt demo: two tenants stream from one engine at the same time. Their lines are printed as they come, with the
// engine steps that made them, then the rows of one step they shared; the run fails unless there was one.
#include <algorithm>
#include <array>
#include <cstdio>
#include <filesystem>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>

#include "cli.hpp"
#include "engine_flags.hpp"
#include "interrupt.hpp"
#include "kernel_trace.hpp"
#include "machine.hpp"
#include "terminal.hpp"

namespace merritt::tools {
namespace {

struct DemoFlags {
  ModelFlags model;
  uint32_t max_tokens = 96;
  bool json = false;
};

// A token and the engine step that drew it.
struct Drawn {
  uint64_t step;
  int32_t token;
};

// One tenant of the demo: its request and the line being written.
struct Stream {
  const char* tenant_name;
  const char* colour;
  const char* prompt;
  Tenant tenant{};
  Session session{};
  Request request{};
  std::string line{};
  uint64_t line_first_step = 0;
  std::set<uint64_t> steps{};
  std::vector<Drawn> drawn{};
  std::string text{};
  Finish finish = Finish::kNone;
  bool ended = false;
};

constexpr size_t kLineWidth = 72;

// Two openings that a small base model continues sensibly: the default one is not tuned to answer.
std::array<Stream, 2> make_streams() {
  return {Stream{.tenant_name = "acme",
                 .colour = "\033[36m",
                 .prompt = "The capital of Canada is Ottawa, and the capital of Japan is"},
          Stream{.tenant_name = "globex",
                 .colour = "\033[33m",
                 .prompt = "def fibonacci(n):\n    \"\"\"Return the n-th Fibonacci number.\"\"\"\n"}};
}

void open_session(Stream& stream, Engine& engine, const Model& model) {
  stream.tenant = expect(engine.tenant(stream.tenant_name), "tenant");
  stream.session = expect(stream.tenant.session(model), "session");
}

void submit(Stream& stream, const ModelInfo& info, uint32_t max_tokens) {
  RequestOptions options;
  options.max_tokens = max_tokens;
  options.temperature = 0.7f;
  options.top_p = 0.95f;
  options.seed = 7;
  if (std::string_view(info.chat_template) == "none") {
    options.text = stream.prompt;
  } else {
    options.messages = {{"user", stream.prompt}};
  }
  stream.request = expect(stream.session.submit(options), "submit");
}

void flush_line(Stream& stream, bool quiet) {
  if (!quiet && !stream.line.empty()) {
    const bool colour = stdout_is_terminal();
    emit(format("%s%-7s%s steps %4llu-%-4llu | %s\n", colour ? stream.colour : "", stream.tenant_name,
                colour ? "\033[0m" : "", static_cast<unsigned long long>(stream.line_first_step),
                static_cast<unsigned long long>(*stream.steps.rbegin()), stream.line.c_str()));
  }
  stream.line.clear();
}

// Breaks at newlines, and at a space once the line is full.
void write_text(Stream& stream, std::string_view text, uint64_t step, bool quiet) {
  for (const char c : text) {
    if (stream.line.empty()) stream.line_first_step = step;
    const bool full = stream.line.size() >= kLineWidth && c == ' ';
    if (c == '\n' || full) {
      flush_line(stream, quiet);
    } else {
      stream.line += c;
    }
  }
}

void read_one(Stream& stream, bool quiet) {
  const Event event = expect(stream.request.next(50), std::string("tenant ") + stream.tenant_name);
  if (event.kind == EventKind::kText) {
    stream.steps.insert(event.step);
    if (event.token >= 0) stream.drawn.push_back({event.step, event.token});
    stream.text += event.text;
    write_text(stream, event.text, event.step, quiet);
  } else if (event.kind == EventKind::kEnd) {
    stream.finish = event.finish;
    stream.ended = true;
    flush_line(stream, quiet);
  }
}

std::vector<uint64_t> shared_steps(const std::array<Stream, 2>& streams) {
  std::vector<uint64_t> shared;
  std::set_intersection(streams[0].steps.begin(), streams[0].steps.end(), streams[1].steps.begin(),
                        streams[1].steps.end(), std::back_inserter(shared));
  return shared;
}

nlohmann::ordered_json json_of(const Stream& stream) {
  const RequestStats stats = expect(stream.request.stats(), "statistics");
  const double decode = static_cast<double>(stats.decode_ns) * 1e-9;
  const uint32_t later = stats.generated_tokens > 0 ? stats.generated_tokens - 1 : 0;
  return {{"tenant", stream.tenant_name},
          {"prompt_tokens", stats.prompt_tokens},
          {"generated_tokens", stats.generated_tokens},
          {"tokens_per_s", decode > 0 ? later / decode : 0.0},
          {"first_token_ms", static_cast<double>(stats.first_token_ns) * 1e-6},
          {"finish", name(stream.finish)},
          {"text", stream.text}};
}

// The row a tenant had in a step that generated for it: the row of the token drawn before, at that token's position.
// Null for a step that ran its prompt or had nothing of it.
nlohmann::ordered_json row_of(const Stream& stream, const Model& model, uint64_t step) {
  const auto piece = [&](int32_t token) { return expect(model.detokenize({&token, 1}, 1), "text of a token"); };
  const uint32_t prompt = expect(stream.request.stats(), "statistics").prompt_tokens;
  for (size_t i = 1; i < stream.drawn.size(); ++i) {
    if (stream.drawn[i].step != step) continue;
    const int32_t token = stream.drawn[i - 1].token;
    return {{"tenant", stream.tenant_name},
            {"class", "generated"},
            {"position", prompt + i - 1},
            {"token", token},
            {"text", piece(token)},
            {"drawn", stream.drawn[i].token},
            {"drawn_text", piece(stream.drawn[i].token)}};
  }
  return nullptr;
}

// The rows of a step in the middle of those in which both tenants generated; null when there was none.
nlohmann::ordered_json step_trace(const std::array<Stream, 2>& streams, const Model& model) {
  std::vector<nlohmann::ordered_json> traces;
  for (const uint64_t step : shared_steps(streams)) {
    auto left = row_of(streams[0], model, step);
    auto right = row_of(streams[1], model, step);
    if (!left.is_null() && !right.is_null()) traces.push_back({{"step", step}, {"rows", {left, right}}});
  }
  return traces.empty() ? nlohmann::ordered_json() : traces[traces.size() / 2];
}

// What the file states, in full where the short form says little, and the copy of the terms beside the file.
std::string licence_of(const std::string& stated, const std::string& model_path) {
  if (stated.empty()) return "not stated in the file";
  if (stated != "gemma") return stated;
  const std::filesystem::path copy = std::filesystem::path(model_path).parent_path() / "gemma-terms.html";
  std::error_code failed;
  return "Gemma Terms of Use, https://ai.google.dev/gemma/terms" +
         (std::filesystem::is_regular_file(copy, failed) ? " (" + copy.string() + ")" : std::string());
}

nlohmann::ordered_json summary_of(const std::array<Stream, 2>& streams, const DemoFlags& flags, const Model& model,
                                  const ModelInfo& info, const EngineStats& stats) {
  const Machine machine = inspect_machine();
  nlohmann::ordered_json out;
  out["model"] = info.name;
  out["license"] = licence_of(info.license, flags.model.model);
  out["quantization"] = info.quantization;
  out["backend"] = info.backend;
  out["cpu"] = machine.cpu;
  out["cpu_features"] = features_used(machine, kernel_names(model));
  out["threads"] = stats.threads;
  out["tenants"] = {json_of(streams[0]), json_of(streams[1])};
  out["steps"] = stats.steps;
  out["steps_mixed"] = stats.steps_mixed;
  out["steps_seen_by_both"] = shared_steps(streams);
  out["step_trace"] = step_trace(streams, model);
  out["memory_bytes"] = stats.memory_bytes;
  out["weight_bytes"] = stats.weight_bytes;
  out["kv_bytes"] = stats.kv_bytes;
  out["peak_rss_bytes"] = peak_rss_bytes();
  return out;
}

std::string trace_table(const nlohmann::ordered_json& trace) {
  if (trace.is_null()) return "";
  std::string text = format("step %llu, one batch:\n  %-8s %-10s %8s  %s\n", trace["step"].get<unsigned long long>(),
                            "tenant", "class", "position", "token -> drawn");
  for (const auto& row : trace["rows"]) {
    const auto token = [&](const char* id, const char* piece) {
      return row[id].dump() + " " + row[piece].dump(-1, ' ', false, nlohmann::json::error_handler_t::replace);
    };
    text += format("  %-8s %-10s %8u  %s -> %s\n", row["tenant"].get<std::string>().c_str(),
                   row["class"].get<std::string>().c_str(), row["position"].get<uint32_t>(),
                   token("token", "text").c_str(), token("drawn", "drawn_text").c_str());
  }
  return text;
}

void print_table(const nlohmann::ordered_json& out) {
  std::string text = format("\n%llu of %llu steps carried rows of both tenants\n",
                            out["steps_mixed"].get<unsigned long long>(), out["steps"].get<unsigned long long>());
  text += trace_table(out["step_trace"]) + "\n";
  text += format("%-10s %8s %8s %10s %14s  %s\n", "tenant", "prompt", "tokens", "tokens/s", "first token ms", "finish");
  for (const auto& row : out["tenants"]) {
    text += format("%-10s %8u %8u %10.1f %14.0f  %s\n", row["tenant"].get<std::string>().c_str(),
                   row["prompt_tokens"].get<uint32_t>(), row["generated_tokens"].get<uint32_t>(),
                   row["tokens_per_s"].get<double>(), row["first_token_ms"].get<double>(),
                   row["finish"].get<std::string>().c_str());
  }
  const auto line = [&](const char* what, const std::string& value) {
    text += format("%-14s %s\n", what, value.c_str());
  };
  text += "\n";
  line("model", out["model"].get<std::string>() + ", " + out["quantization"].get<std::string>());
  line("licence", out["license"].get<std::string>());
  line("backend", out["backend"].get<std::string>() + format(", %u threads", out["threads"].get<uint32_t>()));
  line("cpu", out["cpu"].get<std::string>());
  line("features used", out["cpu_features"].get<std::string>());
  line("load", format("%.2f s", out["load_s"].get<double>()));
  line("memory", human_bytes(out["memory_bytes"].get<uint64_t>()) + " (weights " +
                     human_bytes(out["weight_bytes"].get<uint64_t>()) + ", KV " +
                     human_bytes(out["kv_bytes"].get<uint64_t>()) + "), peak resident " +
                     human_bytes(out["peak_rss_bytes"].get<uint64_t>()));
  emit(text);
}

int demo(const DemoFlags& flags) {
  watch_interrupts();
  Engine engine = open_engine(flags.model.engine);
  const Stopwatch watch;
  Model model = load_model(engine, flags.model);
  const double load_s = watch.seconds();
  const ModelInfo info = expect(model.info(), "model");
  std::array<Stream, 2> streams = make_streams();
  // All that takes time first, so that the two requests arrive together.
  for (Stream& stream : streams) open_session(stream, engine, model);
  for (Stream& stream : streams) submit(stream, info, flags.max_tokens);
  while (!streams[0].ended || !streams[1].ended) {
    if (interrupted()) throw Failure("interrupted");
    for (Stream& stream : streams) {
      if (!stream.ended) read_one(stream, flags.json);
    }
  }
  const EngineStats stats = expect(engine.stats(), "statistics");
  nlohmann::ordered_json out = summary_of(streams, flags, model, info, stats);
  out["load_s"] = load_s;
  if (flags.json) {
    emit(out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
  } else {
    print_table(out);
  }
  if (stats.steps_mixed == 0 || out["step_trace"].is_null()) {
    throw with_fix("no step generated for both tenants: the two requests ran one after the other",
                   "-n with more tokens gives them more steps to share");
  }
  return kExitOk;
}

}  // namespace

void add_demo(CLI::App& app, Verb& verb) {
  auto flags = std::make_shared<DemoFlags>();
  CLI::App* self = app.add_subcommand("demo", "Two tenants streaming from one engine at the same time");
  add_model_flags(*self, flags->model);
  self->add_option("-n,--max-tokens", flags->max_tokens, "Tokens each tenant may generate")
      ->check(CLI::Range(2, 100000));
  self->add_flag("--json", flags->json, "Only the figures, as JSON");
  self->callback([flags, &verb] { verb = [flags] { return demo(*flags); }; });
}

}  // namespace merritt::tools
