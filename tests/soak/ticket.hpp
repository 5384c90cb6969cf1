// SPDX-License-Identifier: Apache-2.0
// One request, and what its reader was told of it.
#pragma once

#include <atomic>
#include <memory>
#include <mutex>

#include "tests/soak/books.hpp"

namespace merritt::soak {

// A tenant of the round, for as long as somebody of the soak remembers it.
struct TenantSlot {
  std::string name;
  merritt_tenant handle = nullptr;
  bool lasting = false;                // lives as long as the round
  bool exact = false;                  // nobody destroys what has not said its end: its books have no ranges
  std::atomic<bool> gone{false};       // being destroyed: set before it is
  std::atomic<bool> published{false};  // something that holds pages for as long as it lives
  Books books;
  // At the end of the round, of those that are still there.
  bool has_last = false;
  Told last;
};

class Ticket {
 public:
  // prompt_most: no prompt of it has more tokens. In the books when its end was read, or when it was lost.
  Ticket(Report& report, std::shared_ptr<TenantSlot> tenant, merritt_request handle, uint32_t n, uint32_t most_tokens,
         uint32_t prompt_most);

  TenantSlot& tenant() const { return *tenant_; }
  merritt_request handle() const { return handle_; }
  uint64_t user() const { return reinterpret_cast<uintptr_t>(this); }

  // The next event of the request. True: it was the end, the books have it.
  bool take(uint32_t kind, uint32_t choice, uint32_t finish_reason, int32_t token, size_t text_length);
  // The request's failure, which comes before its end, or with it.
  void fail(int32_t code, const merritt_error* error);
  // Its session is about to be destroyed: it may end as one that came too late.
  void orphan() { orphan_ = true; }
  // Nobody will be told the rest: destroyed with its session, or before its end was read. Call it when it is gone.
  void lose();
  // Destroys the request before its end: then it is lost. False: it had been destroyed with its session.
  bool abandon(Codes allowed);
  bool destroyed() const { return destroyed_.load(); }  // by itself: nothing comes of it any more

  uint64_t events() const { return events_.load(); }  // told so far
  bool settled() const { return settled_.load(); }
  bool lost() const { return lost_.load(); }  // and may run on for a step or two

 private:
  bool read_stats(merritt_request_stats* stats);
  void settle(uint32_t finish_reason);

  Report& report_;
  const std::shared_ptr<TenantSlot> tenant_;
  const merritt_request handle_;
  const uint32_t n_, most_tokens_;
  uint32_t prompt_most_;

  std::mutex mutex_;  // guards all below; two threads may tell an event and the loss of the request
  bool has_stats_ = false;
  merritt_request_stats stats_{};  // the last that were read
  uint32_t tokens_ = 0, choice_ends_ = 0;
  int32_t code_ = MERRITT_OK;
  std::atomic<uint64_t> events_{0};
  std::atomic<bool> settled_{false}, lost_{false}, orphan_{false}, destroyed_{false};
};

}  // namespace merritt::soak
