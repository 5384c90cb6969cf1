// SPDX-License-Identifier: Apache-2.0
//
// merritt inspect: what a model file holds, from its header alone; with --load also what an engine makes of it.
#include <memory>
#include <nlohmann/json.hpp>

#include "cli.hpp"
#include "engine_flags.hpp"
#include "interrupt.hpp"
#include "model_view.hpp"
#include "terminal.hpp"

namespace merritt::tools {
namespace {

using Json = nlohmann::ordered_json;

struct InspectFlags {
  ModelFlags model;
  bool metadata = false;
  bool tensors = false;
  bool load = false;
  bool json = false;
};

Json file_json(const FileView& view) {
  Json out = {{"architecture", view.architecture},
              {"name", view.name},
              {"license", view.license},
              {"quantization", view.quantization},
              {"parameters", view.parameters},
              {"layers", view.layers},
              {"width", view.width},
              {"vocabulary", view.vocabulary},
              {"context_trained", view.context},
              {"file_bytes", view.file_bytes},
              {"gguf_version", view.gguf_version},
              {"tensors", view.tensors.size()},
              {"supported", view.unsupported.empty()}};
  if (!view.unsupported.empty()) out["unsupported"] = view.unsupported;
  return out;
}

Json loaded_json(const ModelInfo& info) {
  return {{"backend", info.backend},
          {"chat_template", info.chat_template},
          {"bos", info.bos},
          {"eos", info.eos},
          {"add_bos", (info.flags & MERRITT_MODEL_ADD_BOS) != 0},
          {"context_max", info.context_max},
          {"weight_bytes", info.weight_bytes},
          {"from_pack_cache", (info.flags & MERRITT_MODEL_FROM_PACK) != 0},
          {"kv_groups", info.kv_groups},
          {"kv_pages", info.kv_pages},
          {"page_tokens", info.page_tokens},
          {"kv_bytes", info.kv_bytes},
          {"kv_bytes_per_token", info.kv_bytes_per_token}};
}

Json tensor_json(const FileView& view) {
  Json all = Json::array();
  for (const TensorView& tensor : view.tensors) {
    all.push_back({{"name", tensor.name}, {"type", tensor.type}, {"dims", tensor.dims}, {"bytes", tensor.bytes}});
  }
  return all;
}

Json metadata_json(const FileView& view) {
  Json all = Json::object();
  for (const auto& [key, value] : view.metadata) all[key] = value;
  return all;
}

std::string lines_of(const Json& values) {
  std::string text;
  for (const auto& [key, value] : values.items()) {
    const bool bytes = key.ends_with("_bytes");
    text +=
        format("%-20s %s%s\n", key.c_str(), value.is_string() ? value.get<std::string>().c_str() : value.dump().c_str(),
               bytes ? ("  (" + human_bytes(value.get<uint64_t>()) + ")").c_str() : "");
  }
  return text;
}

std::string tensor_lines(const FileView& view) {
  std::string text;
  for (const TensorView& tensor : view.tensors) {
    std::string dims;
    for (const uint64_t dim : tensor.dims) dims += (dims.empty() ? "" : " x ") + std::to_string(dim);
    text += format("%-40s %-6s %-24s %s\n", tensor.name.c_str(), tensor.type.c_str(), dims.c_str(),
                   human_bytes(tensor.bytes).c_str());
  }
  return text;
}

int inspect(const InspectFlags& flags) {
  watch_interrupts();
  FileView view;
  const std::string problem = view_file(flags.model.model, view);
  require(problem, "give a GGUF file; `merritt doctor` lists those on this machine");
  Json out = file_json(view);
  std::string text = lines_of(out);
  if (flags.load) {
    Engine engine = open_engine(flags.model.engine);
    const Json loaded = loaded_json(expect(load_model(engine, flags.model).info(), "model"));
    out["loaded"] = loaded;
    text += lines_of(loaded);
  }
  if (flags.metadata) {
    out["metadata"] = metadata_json(view);
    for (const auto& [key, value] : view.metadata) text += key + " = " + value + "\n";
  }
  if (flags.tensors) {
    out["tensor_list"] = tensor_json(view);
    text += tensor_lines(view);
  }
  emit(flags.json ? out.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n" : text);
  return kExitOk;
}

}  // namespace

void add_inspect(CLI::App& app, Verb& verb) {
  auto flags = std::make_shared<InspectFlags>();
  CLI::App* self = app.add_subcommand("inspect", "What a model file holds");
  add_model_flags(*self, flags->model, false);
  self->add_option("MODEL", flags->model.model, "GGUF file")->required();
  self->add_flag("--metadata", flags->metadata, "Every key of the header");
  self->add_flag("--tensors", flags->tensors, "Every tensor");
  self->add_flag("--load", flags->load, "Also load it and tell what the backend makes of it");
  self->add_flag("--json", flags->json, "As JSON");
  self->callback([flags, &verb] { verb = [flags] { return inspect(*flags); }; });
}

}  // namespace merritt::tools
