// SPDX-License-Identifier: Apache-2.0
#include "tenants_idle.hpp"

#include <malloc.h>

#include "cli.hpp"
#include "interrupt.hpp"
#include "tenants_spec.hpp"

namespace merritt::tools {
namespace {

constexpr uint32_t kPastTokens = 16;

// Of all arenas, the engine's threads' as well.
double allocated_bytes() {
#if defined(__GLIBC_PREREQ) && __GLIBC_PREREQ(2, 33)
  const auto heap = mallinfo2();
  return static_cast<double>(heap.uordblks) + static_cast<double>(heap.hblkhd);
#else
  throw Failure("idle tenants are measured with the GNU C library from 2.33 on");
#endif
}

// A request of which nothing is left but what the session keeps.
void run_once(Session& session, Dice& dice, uint32_t vocabulary) {
  RequestOptions options;
  options.max_tokens = 1;
  options.flags = MERRITT_REQUEST_IGNORE_EOS;
  for (uint32_t i = 0; i < kPastTokens; ++i) options.tokens.push_back(static_cast<int32_t>(dice.below(vocabulary)));
  Request request = expect(session.submit(options), "request of an idle tenant");
  while (expect(request.next(), "request of an idle tenant").kind != EventKind::kEnd) {
  }
}

}  // namespace

IdleTenants::IdleTenants(Engine& engine, Model& model, uint32_t count) {
  if (count == 0) return;
  const ModelInfo info = expect(model.info(), "model");
  Dice dice(count);
  tenants_.reserve(count);
  sessions_.reserve(count);
  const double before = allocated_bytes();
  for (uint32_t i = 0; i < count && !interrupted(); ++i) {
    tenants_.push_back(expect(engine.tenant("idle-" + std::to_string(i)), "idle tenant"));
    sessions_.push_back(expect(tenants_.back().session(model), "session of an idle tenant"));
    run_once(sessions_.back(), dice, info.vocabulary);
  }
  if (interrupted()) throw Failure("interrupted");
  heap_bytes_ = allocated_bytes() - before;
}

IdleFigures IdleTenants::figures() const {
  if (tenants_.empty()) return {};
  const auto count = static_cast<double>(tenants_.size());
  double kv_bytes = 0;
  for (const Tenant& tenant : tenants_) kv_bytes += static_cast<double>(expect(tenant.usage(), "usage").kv_bytes);
  return {static_cast<uint32_t>(tenants_.size()), heap_bytes_ / count, kv_bytes / count};
}

}  // namespace merritt::tools
