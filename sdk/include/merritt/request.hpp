// SPDX-License-Identifier: Apache-2.0
//
// merritt/request.hpp: owns a request: one generation, read as a stream of events, one by one with next() or as an
// input range. Thread rule: one thread reads; cancel() and stats() from any thread. Invariant: an event's text is valid
// until the next event is read.
#pragma once

#include <cstddef>
#include <cstdint>
#include <iterator>
#include <string>
#include <string_view>
#include <vector>

#include <merritt/session.h>
#include <merritt/model.hpp>
#include <merritt/result.hpp>

namespace merritt {
inline namespace v0 {

using RequestStats = merritt_request_stats;

enum class EventKind : uint32_t {
  kNone = MERRITT_EVENT_NONE,  // the timeout passed
  kText = MERRITT_EVENT_TEXT,
  kChoiceEnd = MERRITT_EVENT_CHOICE_END,
  kEnd = MERRITT_EVENT_END,
};

enum class Finish : uint32_t {
  kNone = MERRITT_FINISH_NONE,
  kEos = MERRITT_FINISH_EOS,
  kStop = MERRITT_FINISH_STOP,
  kLength = MERRITT_FINISH_LENGTH,
  kCancelled = MERRITT_FINISH_CANCELLED,
  kDeadline = MERRITT_FINISH_DEADLINE,
  kError = MERRITT_FINISH_ERROR,
};

[[nodiscard]] inline const char* name(Finish finish) noexcept {
  constexpr const char* kNames[] = {"none", "eos", "stop", "length", "cancelled", "deadline", "error"};
  const auto index = static_cast<uint32_t>(finish);
  return index < std::size(kNames) ? kNames[index] : "unknown";
}

struct Event {
  EventKind kind = EventKind::kNone;
  uint32_t choice = 0;
  Finish finish = Finish::kNone;
  int32_t token = -1;  // -1 = none
  float logprob = 0;
  std::string_view text;  // whole UTF-8 characters
  uint64_t step = 0;
};

// One generation. Give exactly one of text, tokens and messages; zero is default, temperature 0 is greedy.
struct RequestOptions {
  std::string text{};
  std::vector<int32_t> tokens{};
  std::vector<Message> messages{};
  uint32_t flags = 0;       // MERRITT_REQUEST_*
  uint32_t max_tokens = 0;  // 0 = 1024
  uint32_t min_tokens = 0;
  uint32_t n = 0;            // 0 = 1
  uint32_t deadline_ms = 0;  // 0 = none
  uint64_t seed = 0;         // 0 = drawn at random
  float temperature = 0;
  float top_p = 0;
  float min_p = 0;
  uint32_t top_k = 0;
  float repetition_penalty = 0;
  float frequency_penalty = 0;
  float presence_penalty = 0;
  uint32_t penalty_last_n = 0;
  std::vector<merritt_logit_bias> logit_bias{};
  std::vector<std::string> stop{};
  std::vector<int32_t> stop_tokens{};
  uint32_t speculate_max = 0;  // draft tokens in one step, for text that repeats itself; 0 = off
  int32_t priority = 0;        // -100 to 100: which of the tenant's requests starts first; higher is first
};

class Request : public detail::Handle<merritt_request, merritt_request_destroy> {
 public:
  using Handle::Handle;

  [[nodiscard]] static Result<Request> submit(merritt_session session, const RequestOptions& options) {
    std::vector<merritt_message> messages;
    for (const Message& m : options.messages) {
      messages.push_back({m.role.data(), m.role.size(), m.content.data(), m.content.size()});
    }
    std::vector<merritt_string> stop;
    for (const std::string& text : options.stop) {
      stop.push_back({text.data(), text.size()});
    }
    merritt_request_options raw = raw_options(options);
    raw.messages = messages.data();
    raw.n_messages = messages.size();
    raw.message_stride = sizeof(merritt_message);
    raw.stop = stop.data();
    raw.n_stop = static_cast<uint32_t>(stop.size());
    Request request;
    auto made =
        detail::call([&](merritt_error** e) { return merritt_session_submit(session, &raw, &request.raw_, e); });
    if (!made) {
      return std::move(made).error();
    }
    return request;
  }

  // The next event, kNone when the timeout passed first, kEnd for ever after the last.
  [[nodiscard]] Result<Event> next(uint32_t timeout_ms = MERRITT_WAIT_FOREVER) {
    merritt_event raw{};
    raw.struct_size = sizeof(raw);
    auto got = detail::call([&](merritt_error** e) { return merritt_request_next(raw_, timeout_ms, &raw, e); });
    if (!got) {
      return std::move(got).error();
    }
    return Event{static_cast<EventKind>(raw.kind),
                 raw.choice,
                 static_cast<Finish>(raw.finish_reason),
                 raw.token,
                 raw.logprob,
                 std::string_view(raw.text, raw.text_length),
                 raw.step};
  }
  // Asks the engine to stop; the stream then ends with Finish::kCancelled.
  Result<void> cancel() const {
    return detail::call([&](merritt_error** e) { return merritt_request_cancel(raw_, e); });
  }
  [[nodiscard]] Result<RequestStats> stats() const {
    RequestStats stats{};
    stats.struct_size = sizeof(stats);
    auto got = detail::call([&](merritt_error** e) { return merritt_request_stats_get(raw_, &stats, e); });
    if (!got) {
      return std::move(got).error();
    }
    return stats;
  }

  // for (const merritt::Event& event : request) ... ends with the request or its failure; status() then tells which.
  class Iterator {
   public:
    using iterator_concept = std::input_iterator_tag;
    using value_type = Event;
    using difference_type = std::ptrdiff_t;

    Iterator() noexcept = default;
    [[nodiscard]] const Event& operator*() const noexcept { return event_; }
    [[nodiscard]] const Event* operator->() const noexcept { return &event_; }
    Iterator& operator++() {
      advance();
      return *this;
    }
    void operator++(int) { advance(); }
    [[nodiscard]] friend bool operator==(const Iterator& it, std::default_sentinel_t) noexcept {
      return it.request_ == nullptr;
    }

   private:
    friend class Request;
    explicit Iterator(Request* request) : request_(request) { advance(); }
    void advance() {
      auto got = request_->next();
      if (!got) {
        request_->status_ = std::move(got).error();
        request_ = nullptr;
      } else if (got->kind == EventKind::kEnd) {
        request_ = nullptr;
      } else {
        event_ = *got;
      }
    }

    Request* request_ = nullptr;
    Event event_;
  };
  [[nodiscard]] Iterator begin() { return Iterator(this); }
  [[nodiscard]] std::default_sentinel_t end() const noexcept { return {}; }
  // The failure that ended an iteration, if one did.
  [[nodiscard]] const Result<void>& status() const noexcept { return status_; }

  // Reads to the end and joins the text of choice 0.
  [[nodiscard]] Result<std::string> read_text() {
    std::string text;
    for (;;) {
      auto event = next();
      if (!event) {
        return std::move(event).error();
      }
      if (event->kind == EventKind::kEnd) {
        return text;
      }
      if (event->choice == 0) {
        text += event->text;
      }
    }
  }

 private:
  static merritt_request_options raw_options(const RequestOptions& options) {
    merritt_request_options raw{};
    raw.struct_size = sizeof(raw);
    raw.flags = options.flags;
    raw.text = options.text.empty() ? nullptr : options.text.data();
    raw.text_length = options.text.size();
    raw.tokens = options.tokens.data();
    raw.n_tokens = options.tokens.size();
    raw.max_tokens = options.max_tokens;
    raw.min_tokens = options.min_tokens;
    raw.n = options.n;
    raw.deadline_ms = options.deadline_ms;
    raw.seed = options.seed;
    raw.temperature = options.temperature;
    raw.top_p = options.top_p;
    raw.min_p = options.min_p;
    raw.top_k = options.top_k;
    raw.repetition_penalty = options.repetition_penalty;
    raw.frequency_penalty = options.frequency_penalty;
    raw.presence_penalty = options.presence_penalty;
    raw.penalty_last_n = options.penalty_last_n;
    raw.n_logit_bias = static_cast<uint32_t>(options.logit_bias.size());
    raw.logit_bias = options.logit_bias.data();
    raw.logit_bias_stride = sizeof(merritt_logit_bias);
    raw.n_stop_tokens = static_cast<uint32_t>(options.stop_tokens.size());
    raw.stop_tokens = options.stop_tokens.data();
    raw.speculate_max = options.speculate_max;
    raw.priority = options.priority;
    return raw;
  }

  Result<void> status_;
};

}  // namespace v0
}  // namespace merritt
