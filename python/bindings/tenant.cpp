// SPDX-License-Identifier: Apache-2.0
#include "core.hpp"

namespace merritt::python {
namespace {

PyTenant create(PyEngine& engine, const std::string& name, uint32_t sequences_max, uint32_t queue_max,
                uint32_t prompt_bytes_max, uint64_t kv_bytes_max) {
  const TenantOptions options{.sequences_max = sequences_max,
                              .queue_max = queue_max,
                              .prompt_bytes_max = prompt_bytes_max,
                              .kv_bytes_max = kv_bytes_max};
  return PyTenant(without_gil([&] { return engine.get().tenant(name, options); }));
}

py::dict usage(PyTenant& tenant) {
  const TenantUsage usage = without_gil([&] { return tenant.get().usage(); });
  py::dict out;
  out["requests"] = usage.requests;
  out["refusals"] = usage.refusals;
  out["requests_running"] = usage.requests_running;
  out["requests_waiting"] = usage.requests_waiting;
  out["sessions"] = usage.sessions;
  out["prompt_tokens"] = usage.prompt_tokens;
  out["generated_tokens"] = usage.generated_tokens;
  out["kv_bytes"] = usage.kv_bytes;
  return out;
}

}  // namespace

void bind_tenant(py::module_& module) {
  py::class_<PyTenant>(module, "Tenant", py::module_local())
      .def(py::init(&create), py::arg("engine"), py::arg("name"), py::kw_only(), py::arg("sequences_max"),
           py::arg("queue_max"), py::arg("prompt_bytes_max"), py::arg("kv_bytes_max"))
      .def("usage", &usage)
      .def("close", &PyTenant::close);
}

}  // namespace merritt::python
