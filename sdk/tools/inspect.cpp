// SPDX-License-Identifier: Apache-2.0
//
// merritt inspect: what a model file holds, as the engine sees it once loaded.
#include <memory>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "engine_flags.hpp"
#include "interrupt.hpp"
#include "terminal.hpp"

namespace merritt::tools {
namespace {

struct InspectFlags {
  ModelFlags model;
  bool json = false;
};

nlohmann::ordered_json json_of(const ModelInfo& info) {
  return {{"architecture", info.architecture},
          {"name", info.name},
          {"license", info.license},
          {"quantization", info.quantization},
          {"parameters", info.parameters},
          {"layers", info.layers},
          {"width", info.width},
          {"vocabulary", info.vocabulary},
          {"bos", info.bos},
          {"eos", info.eos},
          {"add_bos", (info.flags & MERRITT_MODEL_ADD_BOS) != 0},
          {"chat_template", info.chat_template},
          {"context_trained", info.context_trained},
          {"context_max", info.context_max},
          {"kv_groups", info.kv_groups},
          {"page_tokens", info.page_tokens},
          {"kv_pages", info.kv_pages},
          {"kv_bytes", info.kv_bytes},
          {"kv_bytes_per_token", info.kv_bytes_per_token},
          {"file_bytes", info.file_bytes},
          {"weight_bytes", info.weight_bytes},
          {"backend", info.backend}};
}

int inspect(const InspectFlags& flags) {
  watch_interrupts();
  Engine engine = open_engine(flags.model.engine);
  Model model = load_model(engine, flags.model);
  const nlohmann::ordered_json out = json_of(expect(model.info(), "model"));
  if (flags.json) {
    emit(out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
    return kExitOk;
  }
  std::string text;
  for (const auto& [key, value] : out.items()) {
    const bool bytes = key.ends_with("_bytes");
    text +=
        format("%-20s %s%s\n", key.c_str(), value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str(),
               bytes ? ("  (" + human_bytes(value.get<uint64_t>()) + ")").c_str() : "");
  }
  emit(text);
  return kExitOk;
}

}  // namespace

void add_inspect(CLI::App& app, Verb& verb) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App* self = app.add_subcommand("inspect", "What a model file holds");
  add_model_flags(*self, flags->model, false);
  self->add_option("MODEL", flags->model.model, "GGUF file")->required();
  self->add_flag("--json", flags->json, "As JSON");
  self->callback([flags, &verb] { verb = [flags] { return inspect(*flags); }; });
}

}  // namespace merritt::tools
