// SPDX-License-Identifier: Apache-2.0
//
// A completion queue: what an event loop waits on and reads.
#include "core.hpp"

namespace merritt::python {
namespace {

// (user, event, exception or None) of all there is, up to a bound; the event as Request.next() gives it.
py::list take(PyQueue& queue) {
  const auto completions = without_gil([&] { return queue.get().next(0); });
  py::list out;
  for (const Completion& c : completions) {
    const py::tuple event =
        py::make_tuple(static_cast<uint32_t>(c.event.kind), c.event.choice, static_cast<uint32_t>(c.event.finish),
                       c.event.token, c.event.logprob, text_of(c.event.text), c.event.step);
    py::object error = py::none();
    if (c.code != Code::kOk) error = exception_of(c.code, c.message, c.retry_after_ms, MERRITT_BLAST_REQUEST);
    out.append(py::make_tuple(c.user, event, error));
  }
  return out;
}

}  // namespace

void bind_queue(py::module_& module) {
  py::class_<PyQueue>(module, "Queue", py::module_local())
      .def(py::init([](PyEngine& engine) { return PyQueue(without_gil([&] { return engine.get().queue(); })); }),
           py::arg("engine"))
      .def("add", [](PyQueue& queue, PyRequest& request,
                     uint64_t user) { without_gil([&] { return queue.get().add(request.get(), user); }); })
      .def("remove",
           [](PyQueue& queue, PyRequest& request) { without_gil([&] { return queue.get().remove(request.get()); }); })
      .def("fd", [](PyQueue& queue) { return without_gil([&] { return queue.get().fd(); }); })
      .def("take", &take)
      .def("close", &PyQueue::close);
}

}  // namespace merritt::python
