// SPDX-License-Identifier: Apache-2.0
//
// merritt detokenize: token ids on stdin (separated by spaces, commas or brackets) to text.
#include <memory>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "engine_flags.hpp"
#include "terminal.hpp"
#include "token_list.hpp"
#include "vocabulary_file.hpp"

namespace merritt::tools {
namespace {

struct DetokenizeFlags {
  std::string model;
  bool special = false;
  bool json = false;
};

int detokenize(const DetokenizeFlags& flags) {
  const std::vector<int32_t> tokens = parse_tokens(read_stdin());
  VocabularyFile vocabulary;
  require_model_file(flags.model);
  require(vocabulary.open(flags.model), kVocabularyFix);
  std::string text;
  require(vocabulary.detokenize(tokens, flags.special, text), "give ids that `merritt tokenize` made with this model");
  emit(flags.json ? nlohmann::json(text).dump(-1, ' ', false, nlohmann::json::error_handler_t::replace) + "\n" : text);
  return kExitOk;
}

}  // namespace

void add_detokenize(CLI::App& app, Verb& verb) {
  auto flags = std::make_shared<DetokenizeFlags>();
  CLI::App* self = app.add_subcommand("detokenize", "Text of the token ids on stdin, with nothing added");
  self->add_option("-m,--model", flags->model, "GGUF file; its vocabulary is all that is read")->required();
  self->add_flag("--special", flags->special, "Special tokens appear as their text");
  self->add_flag("--json", flags->json, "A JSON string");
  self->callback([flags, &verb] { verb = [flags] { return detokenize(*flags); }; });
}

}  // namespace merritt::tools
