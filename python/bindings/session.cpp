// SPDX-License-Identifier: Apache-2.0
#include "core.hpp"

namespace merritt::python {

void bind_session(py::module_& module) {
  py::class_<PySession>(module, "Session", py::module_local())
      .def(py::init([](PyTenant& tenant, PyModel& model) {
             return PySession(without_gil([&] { return tenant.get().session(model.get()); }));
           }),
           py::arg("tenant"), py::arg("model"))
      .def("length", [](PySession& session) { return without_gil([&] { return session.get().length(); }); })
      .def("truncate",
           [](PySession& session, uint32_t position) { without_gil([&] { return session.get().truncate(position); }); })
      .def("fork", [](PySession& session) { return PySession(without_gil([&] { return session.get().fork(); })); })
      .def("publish", [](PySession& session) { return without_gil([&] { return session.get().publish(); }); })
      .def("close", &PySession::close);
}

}  // namespace merritt::python
