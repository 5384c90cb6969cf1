// SPDX-License-Identifier: Apache-2.0
#include <pybind11/numpy.h>

#include <exception>
#include <optional>

#include "core.hpp"

namespace merritt::python {
namespace {

using TokenArray = py::array_t<int32_t, py::array::c_style | py::array::forcecast>;

std::span<const int32_t> span_of(const TokenArray& tokens) {
  return {tokens.data(), static_cast<size_t>(tokens.size())};
}

// A load or an evaluation runs without the GIL; each progress report takes it back, tells Python and looks for Ctrl-C.
// What Python raises there cancels the work and is raised here.
class ProgressWatch {
 public:
  explicit ProgressWatch(py::object progress = py::none()) : progress_(std::move(progress)) {}
  bool report(float fraction) {
    const py::gil_scoped_acquire acquired;
    try {
      if (PyErr_CheckSignals() != 0) throw py::error_already_set();
      if (!progress_.is_none()) progress_(fraction);
    } catch (...) {
      raised_ = std::current_exception();
    }
    return raised_ == nullptr;
  }
  void rethrow() const {
    if (raised_ != nullptr) std::rethrow_exception(raised_);
  }

 private:
  py::object progress_;
  std::exception_ptr raised_;
};

PyModel load(PyEngine& engine, const std::string& path, const std::string& backend, uint32_t kv_type,
             uint32_t context_max, uint32_t sequences_max, uint32_t step_tokens_max, uint32_t page_tokens,
             uint64_t kv_bytes, const std::string& pack_cache, PyTenant* tenant, py::object progress) {
  ProgressWatch watch(std::move(progress));
  ModelOptions options;
  options.backend = backend;
  options.kv_type = kv_type;
  options.context_max = context_max;
  options.sequences_max = sequences_max;
  options.step_tokens_max = step_tokens_max;
  options.page_tokens = page_tokens;
  options.kv_bytes = kv_bytes;
  options.pack_cache = pack_cache;
  if (tenant != nullptr) options.tenant = tenant->get().capi();
  options.progress = [&](float fraction) { return watch.report(fraction); };
  auto loaded = [&] {
    const py::gil_scoped_release released;
    return engine.get().load(path, options);
  }();
  watch.rethrow();
  if (!loaded) raise(loaded.error());
  return PyModel(std::move(loaded).value());
}

py::dict info(PyModel& model) {
  const ModelInfo info = without_gil([&] { return model.get().info(); });
  py::dict out;
  out["architecture"] = text_of(info.architecture);
  out["name"] = text_of(info.name);
  out["license"] = text_of(info.license);
  out["quantization"] = text_of(info.quantization);
  out["backend"] = text_of(info.backend);
  out["chat_template"] = text_of(info.chat_template);
  out["parameters"] = info.parameters;
  out["layers"] = info.layers;
  out["width"] = info.width;
  out["vocabulary"] = info.vocabulary;
  out["bos"] = info.bos;
  out["eos"] = info.eos;
  out["add_bos"] = (info.flags & MERRITT_MODEL_ADD_BOS) != 0;
  out["context_trained"] = info.context_trained;
  out["context_max"] = info.context_max;
  out["page_tokens"] = info.page_tokens;
  out["kv_groups"] = info.kv_groups;
  out["kv_pages"] = info.kv_pages;
  out["kv_bytes"] = info.kv_bytes;
  out["kv_bytes_per_token"] = info.kv_bytes_per_token;
  out["file_bytes"] = info.file_bytes;
  out["weight_bytes"] = info.weight_bytes;
  out["from_pack_cache"] = (info.flags & MERRITT_MODEL_FROM_PACK) != 0;
  return out;
}

py::array_t<int32_t> tokenize(PyModel& model, const std::string& text, uint32_t flags) {
  const std::vector<int32_t> tokens = without_gil([&] { return model.get().tokenize(text, flags); });
  return py::array_t<int32_t>(static_cast<py::ssize_t>(tokens.size()), tokens.data());
}

py::str detokenize(PyModel& model, const TokenArray& tokens, uint32_t flags) {
  const std::string text = without_gil([&] { return model.get().detokenize(span_of(tokens), flags); });
  return text_of(text);
}

std::string render_chat(PyModel& model, const std::vector<std::pair<std::string, std::string>>& messages) {
  std::vector<Message> all;
  for (const auto& [role, content] : messages) all.push_back({role, content});
  return without_gil([&] { return model.get().render_chat(all); });
}

py::array_t<float> eval(PyModel& model, PyTenant& tenant, const TokenArray& tokens, uint32_t flags) {
  const uint32_t vocabulary = without_gil([&] { return model.get().info(); }).vocabulary;
  py::array_t<float> logits({tokens.size(), static_cast<py::ssize_t>(vocabulary)});
  const std::span<float> room(logits.mutable_data(), static_cast<size_t>(logits.size()));
  ProgressWatch watch;
  EvalOptions options;
  options.flags = flags;
  options.progress = [&](float fraction) { return watch.report(fraction); };
  auto done = [&] {
    const py::gil_scoped_release released;
    return model.get().eval(tenant.get().capi(), span_of(tokens), room, options);
  }();
  watch.rethrow();
  if (!done) raise(done.error());
  return logits;
}

}  // namespace

void bind_model(py::module_& module) {
  py::class_<PyModel>(module, "Model", py::module_local())
      .def(py::init(&load), py::arg("engine"), py::arg("path"), py::kw_only(), py::arg("backend"), py::arg("kv_type"),
           py::arg("context_max"), py::arg("sequences_max"), py::arg("step_tokens_max"), py::arg("page_tokens"),
           py::arg("kv_bytes"), py::arg("pack_cache"), py::arg("tenant"), py::arg("progress"))
      .def("info", &info)
      .def("tokenize", &tokenize, py::arg("text"), py::arg("flags"))
      .def("detokenize", &detokenize, py::arg("tokens"), py::arg("flags"))
      .def("render_chat", &render_chat, py::arg("messages"))
      .def("eval", &eval, py::arg("tenant"), py::arg("tokens"), py::arg("flags"))
      .def("trace_kernels",
           [](PyModel& model, uint32_t row_class) {
             return without_gil([&] { return model.get().trace_kernels(static_cast<RowClass>(row_class)); });
           })
      .def("close", &PyModel::close);
  module.attr("TOKENIZE_RAW") = MERRITT_TOKENIZE_RAW;
  module.attr("TOKENIZE_SPECIAL") = MERRITT_TOKENIZE_SPECIAL;
  module.attr("DETOKENIZE_SPECIAL") = MERRITT_DETOKENIZE_SPECIAL;
  module.attr("EVAL_DECODE") = MERRITT_EVAL_DECODE;
}

}  // namespace merritt::python
