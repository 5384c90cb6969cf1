// SPDX-License-Identifier: Apache-2.0
//
// The sampling options of run and chat, and streaming an answer to stdout.
#pragma once

#include <CLI/CLI.hpp>
#include <merritt/merritt.hpp>
#include <string>
#include <vector>

namespace merritt::tools {

struct SamplingFlags {
  uint32_t max_tokens = 0;
  uint32_t top_k = 0;
  uint32_t speculate = 0;
  uint64_t seed = 0;
  float temperature = 0;
  float top_p = 0;
  float min_p = 0;
  float repetition_penalty = 0;
  std::vector<std::string> stop;
  bool ignore_eos = false;
};

void add_sampling_flags(CLI::App& verb, SamplingFlags& flags);
RequestOptions request_of(const SamplingFlags& flags);
// An empty raw prompt is the model's BOS alone, which the ABI takes as a token.
void set_raw_prompt(RequestOptions& options, const std::string& prompt, const ModelInfo& info);
// Writes each piece as it comes; Ctrl-C cancels the request. Ends with a newline when the text did not.
Finish stream_to_stdout(Request& request, std::string* whole = nullptr);
// One line on stderr.
void print_stats(const RequestStats& stats, const ModelInfo& info);

}  // namespace merritt::tools
