// SPDX-License-Identifier: Apache-2.0
#include <algorithm>

#include "core.hpp"

namespace merritt::python {
namespace {

using PublisherTuple = std::tuple<std::string, py::bytes, std::string, int64_t>;

PyEngine create(uint32_t threads, uint32_t isa_max, uint64_t memory_bytes_max, std::vector<std::string> plugin_dirs,
                const std::vector<PublisherTuple>& publishers, uint32_t flags) {
  EngineOptions options;
  options.threads = threads;
  options.isa_max = isa_max;
  options.memory_bytes_max = memory_bytes_max;
  options.plugin_dirs = std::move(plugin_dirs);
  options.flags = flags;
  for (const auto& [name, key, plugin_id, not_after] : publishers) {
    Publisher publisher;
    const std::string bytes = key;
    if (bytes.size() != publisher.public_key.size()) throw py::value_error("a publisher's key has 32 bytes");
    publisher.name = name;
    std::copy(bytes.begin(), bytes.end(), publisher.public_key.begin());
    publisher.plugin_id = plugin_id;
    publisher.not_after = not_after;
    options.publishers.push_back(std::move(publisher));
  }
  return PyEngine(without_gil([&] { return Engine::create(options); }));
}

py::dict dict_of(const BackendInfo& info) {
  py::dict out;
  out["id"] = text_of(info.id);
  out["version"] = text_of(info.version);
  out["abi"] = info.abi;
  out["devices"] = info.devices;
  out["device"] = text_of(info.device_name);
  out["batch_invariant"] = (info.flags & MERRITT_BACKEND_BATCH_INVARIANT) != 0;
  out["sha256"] = text_of(info.digest);
  return out;
}

py::dict stats(PyEngine& engine) {
  const EngineStats stats = without_gil([&] { return engine.get().stats(); });
  py::dict out;
  out["threads"] = stats.threads;
  out["memory_bytes"] = stats.memory_bytes;
  out["memory_bytes_peak"] = stats.memory_bytes_peak;
  out["kv_bytes"] = stats.kv_bytes;
  out["weight_bytes"] = stats.weight_bytes;
  out["steps"] = stats.steps;
  out["steps_mixed"] = stats.steps_mixed;
  out["draft_tokens"] = stats.draft_tokens;
  out["draft_tokens_accepted"] = stats.draft_tokens_accepted;
  out["prompt_tokens"] = stats.prompt_tokens;
  out["generated_tokens"] = stats.generated_tokens;
  out["requests_running"] = stats.requests_running;
  out["requests_waiting"] = stats.requests_waiting;
  return out;
}

}  // namespace

void bind_engine(py::module_& module) {
  py::class_<PyEngine>(module, "Engine", py::module_local())
      .def(py::init(&create), py::kw_only(), py::arg("threads"), py::arg("isa_max"), py::arg("memory_bytes_max"),
           py::arg("plugin_dirs"), py::arg("publishers"), py::arg("flags"))
      .def("poll", [](PyEngine& engine,
                      uint64_t budget_us) { return without_gil([&] { return engine.get().poll(budget_us); }); })
      .def("drain",
           [](PyEngine& engine, uint32_t deadline_ms) { without_gil([&] { return engine.get().drain(deadline_ms); }); })
      .def("load_backend",
           [](PyEngine& engine, const std::string& path) {
             return without_gil([&] { return engine.get().load_backend(path); });
           })
      .def("backends",
           [](PyEngine& engine) {
             py::list all;
             for (const BackendInfo& info : without_gil([&] { return engine.get().backends(); }))
               all.append(dict_of(info));
             return all;
           })
      .def("stats", &stats)
      .def(
          "usage_export",
          [](PyEngine& engine, uint32_t format) {
            return without_gil([&] { return engine.get().usage_export(static_cast<UsageFormat>(format)); });
          },
          py::arg("format"))
      .def("open_journal",
           [](PyEngine& engine, const std::string& path) {
             without_gil([&] { return engine.get().open_journal(path); });
           })
      .def("flush_journal", [](PyEngine& engine) { without_gil([&] { return engine.get().flush_journal(); }); })
      .def("usage_since",
           [](PyEngine& engine, uint64_t after) {
             const UsageRecords records = without_gil([&] { return engine.get().usage_since(after); });
             return py::make_tuple(records.lines, records.last);
           })
      .def("close", &PyEngine::close);
  module.attr("ENGINE_NO_THREADS") = MERRITT_ENGINE_NO_THREADS;
}

}  // namespace merritt::python
