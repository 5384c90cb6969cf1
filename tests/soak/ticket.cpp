// SPDX-License-Identifier: Apache-2.0
#include "tests/soak/ticket.hpp"

#include <algorithm>

namespace merritt::soak {
namespace {

// What may end a request that was accepted: limits of its tenant, and nobody who gives pages.
constexpr Codes kFailures = codes(MERRITT_QUOTA_EXCEEDED, MERRITT_OVERLOADED);

}  // namespace

Ticket::Ticket(Report& report, std::shared_ptr<TenantSlot> tenant, merritt_request handle, uint32_t n,
               uint32_t most_tokens, uint32_t prompt_most)
    : report_(report),
      tenant_(std::move(tenant)),
      handle_(handle),
      n_(n),
      most_tokens_(most_tokens),
      prompt_most_(prompt_most) {
  if (read_stats(&stats_)) prompt_most_ = stats_.prompt_tokens;
}

bool Ticket::read_stats(merritt_request_stats* stats) {
  merritt_request_stats now{};
  now.struct_size = sizeof(now);
  test::Error error;
  const int32_t code = merritt_request_stats_get(handle_, &now, error);
  // Its session, or its tenant, may have been destroyed.
  if (!report_.check(Verb::kRequestStats, code, codes(MERRITT_NOT_FOUND), error)) return false;
  *stats = now;
  has_stats_ = true;
  return true;
}

bool Ticket::take(uint32_t kind, uint32_t choice, uint32_t finish_reason, int32_t token, size_t text_length) {
  const std::lock_guard lock(mutex_);
  if (settled_) {
    // Else a reader was on its way when another thread destroyed the request.
    if (!lost_) report_.fail("an event came after the end of its request");
    return true;
  }
  if (kind == MERRITT_EVENT_NONE) return false;
  ++events_;
  if (kind == MERRITT_EVENT_TEXT) {
    if (token >= 0) ++tokens_;
    if (token < 0 && text_length == 0) report_.fail("an event says nothing");
    if (choice >= n_) report_.fail("an event of choice " + std::to_string(choice) + " of " + std::to_string(n_));
    return false;
  }
  if (kind == MERRITT_EVENT_CHOICE_END) {
    ++choice_ends_;
    return false;
  }
  if (kind != MERRITT_EVENT_END) {
    report_.fail("an event of kind " + std::to_string(kind));
    return false;
  }
  settle(finish_reason);
  return true;
}

void Ticket::fail(int32_t code, const merritt_error* error) {
  const std::lock_guard lock(mutex_);
  // It is told once; a second one would stand for another.
  if (code_ != MERRITT_OK) report_.fail("a request failed twice");
  code_ = code;
  const bool late = orphan_ || tenant_->gone;  // a parent went before it began
  report_.check(Verb::kRequestError, code, kFailures | (late ? codes(MERRITT_NOT_FOUND) : codes()), error);
}

// The receipt against what was read, then into the books.
void Ticket::settle(uint32_t finish_reason) {
  if (finish_reason == MERRITT_FINISH_NONE || finish_reason >= kFinishes) {
    report_.fail("a request ended for reason " + std::to_string(finish_reason));
    finish_reason = MERRITT_FINISH_ERROR;
  }
  if ((finish_reason == MERRITT_FINISH_ERROR) != (code_ != MERRITT_OK)) {
    report_.fail("a request ended for reason " + std::to_string(finish_reason) + " with code " + std::to_string(code_));
  }
  const bool receipt = read_stats(&stats_);
  if (receipt) {
    report_.expect_equal(stats_.generated_tokens, tokens_, "generated_tokens of a receipt, against those read");
    // A promise of the ABI: at most two a sample.
    if (stats_.steps_after_cancel > 2 * n_) {
      report_.fail(std::to_string(stats_.steps_after_cancel) + " steps after cancel, of " + std::to_string(n_) +
                   " samples");
    }
    if (stats_.cached_tokens >= stats_.prompt_tokens) report_.fail("all of a prompt was cached");
  }
  report_.expect_equal(choice_ends_, n_, "choices that have ended");
  Use use;
  use.requests = Range::exactly(1);
  use.generated_tokens = Range::exactly(tokens_);
  use.prompt_tokens = {0, prompt_most_};
  use.cached_tokens = {0, prompt_most_};
  if (receipt) {
    const uint64_t cached = stats_.cached_tokens, fresh = stats_.prompt_tokens - cached;
    // A token was drawn after the whole prompt; else nobody was told how much of it was run.
    use.prompt_tokens = {tokens_ != 0 ? fresh : 0, fresh};
    use.cached_tokens = {tokens_ != 0 ? cached : 0, cached};
  }
  use.finished[finish_reason] = Range::exactly(1);
  tenant_->books.add(use);
  report_.add_finished(finish_reason);
  report_.add_tokens(tokens_);
  settled_ = true;
}

void Ticket::lose() {
  const std::lock_guard lock(mutex_);
  if (settled_) return;
  Use use;
  use.requests = Range::exactly(1);
  use.generated_tokens = {std::max(tokens_, has_stats_ ? stats_.generated_tokens : 0), uint64_t{n_} * most_tokens_};
  use.prompt_tokens = {0, prompt_most_};
  use.cached_tokens = {0, prompt_most_};
  for (uint32_t r = MERRITT_FINISH_EOS; r < kFinishes; ++r) use.finished[r] = {0, 1};
  tenant_->books.add(use);
  lost_ = true;
  settled_ = true;
}

bool Ticket::abandon(Codes allowed) {
  {
    const std::lock_guard lock(mutex_);
    if (!settled_) (void)read_stats(&stats_);
  }
  test::Error error;
  const int32_t code = merritt_request_destroy(handle_, error);
  report_.check(Verb::kRequestDestroy, code, allowed, error);
  destroyed_ = code == MERRITT_OK;
  lose();
  return code == MERRITT_OK;
}

}  // namespace merritt::soak
