// SPDX-License-Identifier: Apache-2.0
//
// A request: submitting from a dictionary of options, and waiting for events so that Ctrl-C is seen within 50 ms.
#include <algorithm>
#include <map>

#include "core.hpp"

namespace merritt::python {
namespace {

constexpr uint32_t kSignalPollMs = 50;

template <typename T>
void take_out(py::dict& from, const char* key, T& into) {
  if (from.contains(key)) into = py::cast<T>(from.attr("pop")(key));
}

// The keys are the fields of merritt_request_options; one that is left over is a caller's slip.
RequestOptions request_options(py::dict from) {
  RequestOptions options;
  take_out(from, "text", options.text);
  take_out(from, "tokens", options.tokens);
  std::vector<std::pair<std::string, std::string>> messages;
  take_out(from, "messages", messages);
  for (auto& [role, content] : messages) options.messages.push_back({std::move(role), std::move(content)});
  take_out(from, "flags", options.flags);
  take_out(from, "max_tokens", options.max_tokens);
  take_out(from, "min_tokens", options.min_tokens);
  take_out(from, "n", options.n);
  take_out(from, "deadline_ms", options.deadline_ms);
  take_out(from, "seed", options.seed);
  take_out(from, "temperature", options.temperature);
  take_out(from, "top_p", options.top_p);
  take_out(from, "min_p", options.min_p);
  take_out(from, "top_k", options.top_k);
  take_out(from, "repetition_penalty", options.repetition_penalty);
  take_out(from, "frequency_penalty", options.frequency_penalty);
  take_out(from, "presence_penalty", options.presence_penalty);
  take_out(from, "penalty_last_n", options.penalty_last_n);
  std::map<int32_t, float> bias;
  take_out(from, "logit_bias", bias);
  for (const auto& [token, value] : bias) options.logit_bias.push_back({token, value});
  take_out(from, "stop", options.stop);
  take_out(from, "stop_tokens", options.stop_tokens);
  take_out(from, "speculate_max", options.speculate_max);
  take_out(from, "priority", options.priority);
  if (!from.empty()) {
    throw py::type_error("unknown sampling option " + py::cast<std::string>(py::str(from.begin()->first)));
  }
  return options;
}

// An event as (kind, choice, finish, token, logprob, text, step), or None when timeout_ms (< 0: none) has passed.
py::object next(PyRequest& request, int64_t timeout_ms) {
  for (;;) {
    const uint32_t slice =
        timeout_ms < 0 ? kSignalPollMs : static_cast<uint32_t>(std::min<int64_t>(timeout_ms, kSignalPollMs));
    const Event event = without_gil([&] { return request.get().next(slice); });
    // Also with an event in hand: a Ctrl-C that came while waiting is raised here, where it cancels.
    if (PyErr_CheckSignals() != 0) {
      static_cast<void>(request.get().cancel());
      throw py::error_already_set();
    }
    if (event.kind != EventKind::kNone) {
      return py::make_tuple(static_cast<uint32_t>(event.kind), event.choice, static_cast<uint32_t>(event.finish),
                            event.token, event.logprob, text_of(event.text), event.step);
    }
    if (timeout_ms >= 0 && (timeout_ms -= slice) <= 0) return py::none();
  }
}

py::dict request_stats(PyRequest& request) {
  const RequestStats stats = without_gil([&] { return request.get().stats(); });
  py::dict out;
  out["finish"] = name(static_cast<Finish>(stats.finish_reason));
  out["prompt_tokens"] = stats.prompt_tokens;
  out["cached_tokens"] = stats.cached_tokens;
  out["generated_tokens"] = stats.generated_tokens;
  out["steps"] = stats.steps;
  out["draft_tokens"] = stats.draft_tokens;
  out["draft_tokens_accepted"] = stats.draft_tokens_accepted;
  out["queue_s"] = static_cast<double>(stats.queue_ns) * 1e-9;
  out["first_token_s"] = static_cast<double>(stats.first_token_ns) * 1e-9;
  out["prefill_s"] = static_cast<double>(stats.prefill_ns) * 1e-9;
  out["decode_s"] = static_cast<double>(stats.decode_ns) * 1e-9;
  return out;
}

}  // namespace

void bind_request(py::module_& module) {
  py::class_<PyRequest>(module, "Request", py::module_local())
      .def(py::init([](PySession& session, const py::dict& options) {
             const RequestOptions request = request_options(py::cast<py::dict>(options.attr("copy")()));
             return PyRequest(without_gil([&] { return session.get().submit(request); }));
           }),
           py::arg("session"), py::arg("options"))
      .def("next", &next, py::arg("timeout_ms") = -1)
      .def("cancel", [](PyRequest& request) { without_gil([&] { return request.get().cancel(); }); })
      .def("stats", &request_stats)
      .def("close", &PyRequest::close);
  module.attr("EVENT_TEXT") = MERRITT_EVENT_TEXT;
  module.attr("EVENT_CHOICE_END") = MERRITT_EVENT_CHOICE_END;
  module.attr("EVENT_END") = MERRITT_EVENT_END;
  module.attr("REQUEST_IGNORE_EOS") = MERRITT_REQUEST_IGNORE_EOS;
  module.attr("REQUEST_ECHO_SPECIAL") = MERRITT_REQUEST_ECHO_SPECIAL;
  module.attr("REQUEST_PARSE_SPECIAL") = MERRITT_REQUEST_PARSE_SPECIAL;
}

}  // namespace merritt::python
