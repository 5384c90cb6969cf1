// SPDX-License-Identifier: Apache-2.0
#include "tests/soak/patience.hpp"
#include "tests/soak/round.hpp"

namespace merritt::soak {
namespace {

merritt_tenant make_probe(World& world, uint64_t kv_bytes) {
  merritt_tenant_options options{};
  options.struct_size = sizeof(options);
  options.kv_bytes_floor = kv_bytes;  // so that all it may need is promised at once
  merritt_tenant tenant = nullptr;
  test::Error error;
  const int32_t code = merritt_tenant_create(world.engine(), "probe", 5, &options, &tenant, error);
  world.report().check(Verb::kTenantCreate, code, codes(), error);
  return tenant;
}

// The code that a request for n sequences of the whole context begins with.
int32_t begin_whole_contexts(World& world, merritt_tenant tenant, merritt_model model, uint32_t n, test::Error& error) {
  Report& report = world.report();
  merritt_session session = nullptr;
  int32_t code = merritt_session_create(tenant, model, nullptr, &session, error);
  if (!report.check(Verb::kSessionCreate, code, codes(), error)) return code;
  const int32_t token = 5;
  merritt_request_options options{};
  options.struct_size = sizeof(options);
  options.tokens = &token;
  options.n_tokens = 1;
  options.max_tokens = world.info().context_max - 1;
  options.n = n;
  options.flags = MERRITT_REQUEST_IGNORE_EOS;
  merritt_request request = nullptr;
  code = merritt_session_submit(session, &options, &request, error);
  if (!report.check(Verb::kSubmit, code, codes(), error)) return code;
  merritt_event event{};
  event.struct_size = sizeof(event);
  for (uint32_t turn = 0; turn < kTurnsMost; ++turn) {
    code = merritt_request_next(request, kTurnMs, &event, error);
    // One that fails ends its samples first.
    if (code != MERRITT_OK || (event.kind != MERRITT_EVENT_NONE && event.kind != MERRITT_EVENT_CHOICE_END)) break;
  }
  if (code == MERRITT_OK && event.kind == MERRITT_EVENT_NONE) report.fail("nothing came of a request for a minute");
  test::Error ignored;
  report.check(Verb::kSessionDestroy, merritt_session_destroy(session, ignored), codes(), ignored);
  return code;
}

merritt_tenant_usage usage_of(World& world, merritt_tenant tenant) {
  merritt_tenant_usage usage{};
  usage.struct_size = sizeof(usage);
  test::Error error;
  world.report().check(Verb::kUsage, merritt_tenant_usage_get(tenant, &usage, error), codes(), error);
  return usage;
}

// Beginnings of its prompts stay until they may not. What it published stays as long as the tenant.
void drop_kept_prompts(World& world, const TenantSlot& slot) {
  test::Error error;
  const int32_t code = merritt_tenant_limits_set(slot.handle, nullptr, error);
  world.report().check(Verb::kLimitsSet, code, codes(), error);
  merritt_session session = nullptr;  // waits for the engine to have done that
  world.report().check(Verb::kSessionCreate,
                       merritt_session_create(slot.handle, world.models()[0], nullptr, &session, error), codes(),
                       error);
  world.report().check(Verb::kSessionDestroy, merritt_session_destroy(session, error), codes(), error);
}

}  // namespace

void expect_whole_pools(World& world) {
  Report& report = world.report();
  const merritt_model_info& info = world.info();
  const uint32_t pages_each = (info.context_max + info.page_tokens - 1) / info.page_tokens;
  const uint32_t n = info.kv_pages / pages_each;
  report.expect_equal(uint64_t{n} * pages_each, info.kv_pages, "pages of whole contexts");
  const merritt_tenant probe = make_probe(world, info.kv_bytes);
  if (probe == nullptr) return;
  for (const merritt_model model : world.models()) {
    test::Error error;
    int32_t code = begin_whole_contexts(world, probe, model, n, error);
    if (code != MERRITT_OK) report.fail("pages of a pool are in use with no tenant left: " + error.message());
    code = begin_whole_contexts(world, probe, model, n + 1, error);
    if (code != MERRITT_INVALID_ARGUMENT) {
      report.fail("a request for more pages than there are was answered " + std::string(merritt_code_name(code)) +
                  ": " + error.message());
    }
  }
  report.expect_equal(usage_of(world, probe).kv_bytes, 0, "KV bytes of the probe");
  test::Error error;
  report.check(Verb::kTenantDestroy, merritt_tenant_destroy(probe, error), codes(), error);
}

void audit_tenants(World& world) {
  Report& report = world.report();
  for (const auto& slot : world.tenants()) {
    if (slot->gone) continue;
    const merritt_tenant_usage usage = usage_of(world, slot->handle);
    report.expect_equal(usage.requests_running, 0, slot->name + ": requests running");
    report.expect_equal(usage.requests_waiting, 0, slot->name + ": requests waiting");
    report.expect_equal(usage.sessions, 0, slot->name + ": sessions");
    audit(report, "usage of " + slot->name, slot->books.use(), Told::of(usage));
    drop_kept_prompts(world, *slot);
  }
  // Nobody holds a page any more but for what was published.
  for (const auto& slot : world.tenants()) {
    if (slot->gone) continue;
    const merritt_tenant_usage usage = usage_of(world, slot->handle);
    if (!slot->published) report.expect_equal(usage.kv_bytes, 0, slot->name + ": KV bytes");
    slot->last = Told::of(usage);
    slot->has_last = true;
  }
  for (const auto& slot : world.tenants()) {
    if (slot->gone) continue;
    test::Error error;
    report.check(Verb::kTenantDestroy, merritt_tenant_destroy(slot->handle, error), codes(), error);
  }
}

void audit_journal(World& world) {
  Report& report = world.report();
  world.read_journal(true);
  for (const auto& slot : world.tenants()) {
    const auto found = world.journal().find(slot->name);
    const Told told = found == world.journal().end() ? Told{} : found->second;
    audit(report, "journal of " + slot->name, slot->books.use(), told);
    if (slot->has_last && !(told == slot->last)) {
      report.fail("journal of " + slot->name + ": " + told.text() + "; its usage was " + slot->last.text());
    }
  }
}

void audit_memory(World& world) {
  Report& report = world.report();
  test::Error error;
  for (const merritt_model model : world.models()) {
    report.check(Verb::kModel, merritt_model_destroy(model, error), codes(), error);
  }
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  report.check(Verb::kStats, merritt_engine_stats_get(world.engine(), &stats, error), codes(), error);
  report.expect_equal(stats.kv_bytes, 0, "KV bytes without a model");
  report.expect_equal(stats.weight_bytes, 0, "weight bytes without a model");
  report.expect_equal(stats.memory_bytes, world.memory_bytes_before(), "memory bytes without a model");
}

}  // namespace merritt::soak
