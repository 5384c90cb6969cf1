// SPDX-License-Identifier: Apache-2.0
#include "sampling_flags.hpp"

#include <cstdio>

#include "cli.hpp"
#include "interrupt.hpp"
#include "terminal.hpp"

namespace merritt::tools {

void add_sampling_flags(CLI::App& verb, SamplingFlags& flags) {
  verb.add_option("-n,--max-tokens", flags.max_tokens, "Tokens to generate at most, by default 1024");
  verb.add_option("--temperature", flags.temperature, "0 = greedy")->check(CLI::NonNegativeNumber);
  verb.add_option("--top-k", flags.top_k, "0 = off");
  verb.add_option("--top-p", flags.top_p, "1 = off")->check(CLI::Range(0.0f, 1.0f));
  verb.add_option("--min-p", flags.min_p, "0 = off")->check(CLI::Range(0.0f, 1.0f));
  verb.add_option("--repetition-penalty", flags.repetition_penalty, "1 = off");
  verb.add_option("--seed", flags.seed, "0 = drawn at random");
  verb.add_option("--stop", flags.stop, "Stop string (repeatable)");
  verb.add_option("--speculate", flags.speculate,
                  "Draft tokens in one step, for text that repeats itself; the output stays the same. 0 = off");
  verb.add_flag("--ignore-eos", flags.ignore_eos, "Go on after an end-of-generation token");
}

RequestOptions request_of(const SamplingFlags& flags) {
  RequestOptions options;
  options.max_tokens = flags.max_tokens;
  options.temperature = flags.temperature;
  options.top_k = flags.top_k;
  options.top_p = flags.top_p;
  options.min_p = flags.min_p;
  options.repetition_penalty = flags.repetition_penalty;
  options.seed = flags.seed;
  options.stop = flags.stop;
  options.speculate_max = flags.speculate;
  options.flags = flags.ignore_eos ? MERRITT_REQUEST_IGNORE_EOS : 0;
  return options;
}

void set_raw_prompt(RequestOptions& options, const std::string& prompt, const ModelInfo& info) {
  if (prompt.empty() && info.bos >= 0) {
    options.tokens = {info.bos};
  } else {
    options.text = prompt;
  }
}

Finish stream_to_stdout(Request& request, std::string* whole) {
  bool newline = true;
  bool cancelled = false;
  for (;;) {
    if (interrupted() && !cancelled) {
      cancelled = true;
      expect(request.cancel(), "cancel");
    }
    const Event event = expect(request.next(50), "generation");
    if (event.kind == EventKind::kEnd) {
      if (!newline) emit("\n");
      return event.finish;
    }
    if (event.kind == EventKind::kText && !event.text.empty()) {
      emit(event.text);
      newline = event.text.back() == '\n';
      if (whole != nullptr) whole->append(event.text);
    }
  }
}

void print_stats(const RequestStats& stats, const ModelInfo& info) {
  const double prefill = static_cast<double>(stats.prefill_ns) * 1e-9;
  const double decode = static_cast<double>(stats.decode_ns) * 1e-9;
  const uint32_t run = stats.prompt_tokens - stats.cached_tokens;
  const uint32_t later = stats.generated_tokens > 0 ? stats.generated_tokens - 1 : 0;
  std::fprintf(stderr,
               "%s: prompt %u tokens (%u cached) %.1f t/s, generated %u tokens %.1f t/s, first token %.0f ms, %s",
               info.backend, stats.prompt_tokens, stats.cached_tokens, prefill > 0 ? run / prefill : 0.0,
               stats.generated_tokens, decode > 0 ? later / decode : 0.0,
               static_cast<double>(stats.first_token_ns) * 1e-6, name(static_cast<Finish>(stats.finish_reason)));
  if (stats.draft_tokens != 0) {
    std::fprintf(stderr, ", %u of %u draft tokens accepted", stats.draft_tokens_accepted, stats.draft_tokens);
  }
  std::fputc('\n', stderr);
}

}  // namespace merritt::tools
