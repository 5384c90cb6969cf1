// SPDX-License-Identifier: Apache-2.0
//
// merritt tokenize: the exact bytes of stdin to token ids.
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "engine_flags.hpp"
#include "terminal.hpp"

namespace merritt::tools {
namespace {

struct TokenizeFlags {
  ModelFlags model;
  bool raw = false;
  bool special = false;
  bool json = false;
};

int tokenize(const TokenizeFlags& flags) {
  Engine engine = open_engine(flags.model.engine);
  Model model = load_vocabulary(engine, flags.model);
  const uint32_t how = (flags.raw ? MERRITT_TOKENIZE_RAW : 0u) | (flags.special ? MERRITT_TOKENIZE_SPECIAL : 0u);
  const std::vector<int32_t> tokens = expect(model.tokenize(read_stdin(), how), "tokenize");
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
  add_model_flags(*self, flags->model);
  self->add_flag("--raw", flags->raw, "Add no BOS or EOS");
  self->add_flag("--special", flags->special, "The text of a special token becomes its id");
  self->add_flag("--json", flags->json, "A JSON array");
  self->callback([flags, &verb] { verb = [flags] { return tokenize(*flags); }; });
}

}  // namespace merritt::tools
