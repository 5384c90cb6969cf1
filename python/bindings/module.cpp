// SPDX-License-Identifier: Apache-2.0
#include "core.hpp"

namespace merritt::python {

py::object exception_of(Code code, std::string_view message, uint32_t retry_after_ms, uint32_t blast) {
  return py::module_::import("merritt.errors")
      .attr("from_code")(static_cast<int32_t>(code), text_of(message), retry_after_ms, blast);
}

void raise(const Error& error) {
  const py::object made =
      exception_of(error.code(), error.message(), error.retry_after_ms(), static_cast<uint32_t>(error.blast()));
  PyErr_SetObject(reinterpret_cast<PyObject*>(Py_TYPE(made.ptr())), made.ptr());
  throw py::error_already_set();
}

}  // namespace merritt::python

PYBIND11_MODULE(_core, module) {
  using namespace merritt::python;  // NOLINT
  module.doc() = "The C ABI of libmerritt as Python objects; use the merritt package instead.";
  module.attr("__version__") = merritt_version_string();
  bind_engine(module);
  bind_model(module);
  bind_tenant(module);
  bind_session(module);
  bind_request(module);
  bind_queue(module);
}
