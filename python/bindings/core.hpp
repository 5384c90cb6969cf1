// SPDX-License-Identifier: Apache-2.0
//
// What the bindings share. Everything goes through the C++ layer over the C ABI. Thread rule: functions are entered
// with the GIL; every call that may block gives it up; handles are destroyed without it, since an engine joins its
// threads.
#pragma once

#include <pybind11/pybind11.h>
#include <pybind11/stl.h>

#include <merritt/merritt.hpp>
#include <utility>

namespace merritt::python {

namespace py = pybind11;

// A handle that gives up the GIL while it is destroyed.
template <typename T>
class Owned {
 public:
  explicit Owned(T handle) : handle_(std::move(handle)) {}
  Owned(Owned&& other) noexcept = default;
  Owned& operator=(Owned&&) = delete;
  ~Owned() { close(); }
  T& get() { return handle_; }
  void close() {
    if (!handle_) return;
    T dying = std::move(handle_);
    const py::gil_scoped_release released;
    dying.close();
  }

 private:
  T handle_;
};

using PyEngine = Owned<Engine>;
using PyModel = Owned<Model>;
using PyTenant = Owned<Tenant>;
using PySession = Owned<Session>;
using PyRequest = Owned<Request>;
using PyQueue = Owned<Queue>;

// merritt.errors' exception for the code; raise() raises it.
py::object exception_of(Code code, std::string_view message, uint32_t retry_after_ms, uint32_t blast);
[[noreturn]] void raise(const Error& error);

// Runs fn() -> Result<T> without the GIL, then raises or returns the value.
template <typename Fn>
auto without_gil(Fn&& fn) {
  auto result = [&] {
    const py::gil_scoped_release released;
    return fn();
  }();
  if (!result) raise(result.error());
  if constexpr (!std::is_same_v<decltype(result), Result<void>>) return std::move(result).value();
}

// Text of the library, which may carry what a file said: never a reason to raise.
inline py::str text_of(std::string_view text) {
  return py::reinterpret_steal<py::str>(
      PyUnicode_DecodeUTF8(text.data(), static_cast<Py_ssize_t>(text.size()), "replace"));
}

void bind_engine(py::module_& module);
void bind_model(py::module_& module);
void bind_tenant(py::module_& module);
void bind_session(py::module_& module);
void bind_request(py::module_& module);
void bind_queue(py::module_& module);

}  // namespace merritt::python
