// SPDX-License-Identifier: Apache-2.0
#include "engine/callbacks.hpp"

#include <utility>

namespace merritt::engine {
namespace {

// The innermost one, whose engine the thread is inside of.
constinit thread_local const HostCallbacks* t_inside = nullptr;

}  // namespace

class HostCallbacks::Scope {
 public:
  explicit Scope(const HostCallbacks* callbacks) : before_(std::exchange(t_inside, callbacks)) {}
  ~Scope() { t_inside = before_; }
  Scope(const Scope&) = delete;
  Scope& operator=(const Scope&) = delete;

 private:
  const HostCallbacks* before_;
};

bool HostCallbacks::inside() const { return t_inside == this; }

observe::LogCallback HostCallbacks::log() {
  if (log_.fn == nullptr) return {};
  return {&HostCallbacks::on_log, this};
}

backend::LedgerCallback HostCallbacks::ledger() {
  if (ledger_.fn == nullptr) return {};
  return {&HostCallbacks::on_ledger, this};
}

std::function<bool(float)> HostCallbacks::progress(std::function<bool(float)> host) {
  if (!host) return {};
  return [this, host = std::move(host)](float fraction) {
    const Scope scope(this);
    return host(fraction);
  };
}

void HostCallbacks::on_log(void* self, uint32_t level, const char* text, size_t length) {
  const auto* callbacks = static_cast<const HostCallbacks*>(self);
  if (callbacks->silent_.load(std::memory_order_acquire)) return;
  const Scope scope(callbacks);
  callbacks->log_.fn(callbacks->log_.user, level, text, length);
}

int32_t HostCallbacks::on_ledger(void* self, int64_t bytes) {
  const auto* callbacks = static_cast<const HostCallbacks*>(self);
  if (callbacks->silent_.load(std::memory_order_acquire)) return bytes > 0 ? 1 : 0;
  const Scope scope(callbacks);
  return callbacks->ledger_.fn(callbacks->ledger_.user, bytes);
}

}  // namespace merritt::engine
