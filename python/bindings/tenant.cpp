// SPDX-License-Identifier: Apache-2.0
#include "core.hpp"

namespace merritt::python {
namespace {

template <typename T>
void take(const py::dict& limits, const char* name, T& field) {
  if (limits.contains(name)) field = limits[name].cast<T>();
}

TenantOptions tenant_options(const py::dict& limits) {
  TenantOptions options;
  take(limits, "sequences_max", options.sequences_max);
  take(limits, "queue_max", options.queue_max);
  take(limits, "prompt_bytes_max", options.prompt_bytes_max);
  take(limits, "kv_bytes_max", options.kv_bytes_max);
  take(limits, "kv_bytes_floor", options.kv_bytes_floor);
  take(limits, "kv_bytes_burst", options.kv_bytes_burst);
  take(limits, "weight", options.weight);
  take(limits, "requests_per_second", options.requests_per_second);
  take(limits, "requests_burst", options.requests_burst);
  take(limits, "context_max", options.context_max);
  take(limits, "tokens_per_minute", options.tokens_per_minute);
  take(limits, "tokens_burst", options.tokens_burst);
  take(limits, "output_max", options.output_max);
  take(limits, "deadline_ms_default", options.deadline_ms_default);
  take(limits, "template_steps_max", options.template_steps_max);
  take(limits, "template_bytes_max", options.template_bytes_max);
  take(limits, "prefix_bytes_max", options.prefix_bytes_max);
  take(limits, "model_bytes_max", options.model_bytes_max);
  take(limits, "publishes", options.publishes);
  if (limits.contains("models")) {
    for (const py::handle model : limits["models"]) options.models.push_back(model.cast<PyModel&>().get().capi());
  }
  return options;
}

PyTenant create_tenant(PyEngine& engine, const std::string& name, const py::dict& limits) {
  const TenantOptions options = tenant_options(limits);
  return PyTenant(without_gil([&] { return engine.get().tenant(name, options); }));
}

py::dict limits_of(PyTenant& tenant) {
  const TenantOptions limits = without_gil([&] { return tenant.get().limits(); });
  py::dict out;
  out["sequences_max"] = limits.sequences_max;
  out["queue_max"] = limits.queue_max;
  out["prompt_bytes_max"] = limits.prompt_bytes_max;
  out["kv_bytes_max"] = limits.kv_bytes_max;
  out["kv_bytes_floor"] = limits.kv_bytes_floor;
  out["kv_bytes_burst"] = limits.kv_bytes_burst;
  out["weight"] = limits.weight;
  out["requests_per_second"] = limits.requests_per_second;
  out["requests_burst"] = limits.requests_burst;
  out["context_max"] = limits.context_max;
  out["tokens_per_minute"] = limits.tokens_per_minute;
  out["tokens_burst"] = limits.tokens_burst;
  out["output_max"] = limits.output_max;
  out["deadline_ms_default"] = limits.deadline_ms_default;
  out["template_steps_max"] = limits.template_steps_max;
  out["template_bytes_max"] = limits.template_bytes_max;
  out["prefix_bytes_max"] = limits.prefix_bytes_max;
  out["model_bytes_max"] = limits.model_bytes_max;
  out["publishes"] = limits.publishes;
  return out;
}

void set_limits(PyTenant& tenant, const py::dict& limits) {
  const TenantOptions options = tenant_options(limits);
  without_gil([&] { return tenant.get().set_limits(options); });
}

template <size_t N>
py::dict named(const char* const (&names)[N], const uint64_t* counts) {
  py::dict out;
  for (size_t i = 0; i < N; ++i) out[names[i]] = counts[i];
  return out;
}

py::dict usage(PyTenant& tenant) {
  static constexpr const char* kCauses[] = {"prompt_bytes", "request_rate", "token_rate", "queue",
                                            "sequences",    "kv_bytes",     "context",    "output",
                                            "template",     "model",        "overload",   "other"};
  static constexpr const char* kReasons[] = {"evaluated", "eos", "stop", "length", "cancelled", "deadline", "error"};
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
  out["cached_tokens"] = usage.cached_tokens;
  out["draft_tokens"] = usage.draft_tokens;
  out["draft_tokens_accepted"] = usage.draft_tokens_accepted;
  out["kv_byte_seconds"] = usage.kv_byte_seconds;
  out["compute_ns"] = usage.compute_ns;
  out["template_steps"] = usage.template_steps;
  out["model_bytes"] = usage.model_bytes;
  out["model_loads"] = usage.model_loads;
  out["model_load_ns"] = usage.model_load_ns;
  out["refusals_by_cause"] = named(kCauses, usage.refusals_by_cause);
  out["finished"] = named(kReasons, usage.finished);
  return out;
}

}  // namespace

void bind_tenant(py::module_& module) {
  py::class_<PyTenant>(module, "Tenant", py::module_local())
      .def(py::init(&create_tenant), py::arg("engine"), py::arg("name"), py::arg("limits"))
      .def("usage", &usage)
      .def("limits", &limits_of)
      .def("set_limits", &set_limits, py::arg("limits"))
      .def("close", &PyTenant::close);
}

}  // namespace merritt::python
