// SPDX-License-Identifier: Apache-2.0
//
// merritt tokenize: the exact bytes of stdin to token ids.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "engine_flags.hpp"
#include "terminal.hpp"
#include "vocabulary_file.hpp"

namespace merritt::tools {
namespace {

struct TokenizeFlags {
  std::string model;
  bool raw = false;
  bool special = false;
  bool json = false;
};

int tokenize(const TokenizeFlags& flags) {
  VocabularyFile vocabulary;
  require_model_file(flags.model);
  require(vocabulary.open(flags.model), kVocabularyFix);
  std::vector<int32_t> tokens;
  require(vocabulary.tokenize(read_stdin(), flags.raw, flags.special, tokens), "give less text at once");
  if (flags.json) {
    emit(nlohmann::json(tokens).dump() + "\n");
    return kExitOk;
  }
  std::string line;
  for (int32_t token : tokens) line += (line.empty() ? "" : " ") + std::to_string(token);
  emit(line + "\n");
  return kExitOk;
}

}  // namespace

void add_tokenize(CLI::App& app, Verb& verb) {
  auto flags = std::make_shared<TokenizeFlags>();
  CLI::App* self = app.add_subcommand("tokenize", "Token ids of the bytes on stdin");
  self->add_option("-m,--model", flags->model, "GGUF file; its vocabulary is all that is read")->required();
  self->add_flag("--raw", flags->raw, "Add no BOS or EOS");
  self->add_flag("--special", flags->special, "The text of a special token becomes its id");
  self->add_flag("--json", flags->json, "A JSON array");
  self->callback([flags, &verb] { verb = [flags] { return tokenize(*flags); }; });
}

}  // namespace merritt::tools
