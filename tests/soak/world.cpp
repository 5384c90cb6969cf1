// SPDX-License-Identifier: Apache-2.0
#include "tests/soak/world.hpp"

#include <algorithm>
#include <utility>

namespace merritt::soak {
namespace {

constexpr uint32_t kContext = 192, kPageTokens = 16, kSequences = 8;
constexpr uint32_t kModels = 2;          // of the same file: two pools, and a list of models that leaves one out
constexpr uint32_t kTransientMost = 5;   // tenants that come and go
constexpr size_t kCancellableMost = 64;  // handles remembered, dead or alive

}  // namespace

World::World(const Settings& settings, Report& report, uint32_t round, Ending ending, bool no_threads)
    : report_(report), round_(round), ending_(ending), no_threads_(no_threads) {
  if (!create_engine(settings) || !load_models(settings)) return;
  Random random(settings.seed ^ (uint64_t{round} << 32));
  create_tenant(random, true, true);
  create_tenant(random, true, true);
  create_tenant(random, true, false);
}

World::~World() {
  if (engine_ != nullptr && !destroyed_) destroy_engine();
}

void World::on_log(void* self, uint32_t level, const char* text, size_t length) {
  if (level >= MERRITT_LOG_ERROR) static_cast<World*>(self)->report_.fail("log: " + std::string(text, length));
}

int32_t World::on_ledger(void* self, int64_t bytes) {
  auto& world = *static_cast<World*>(self);
  if (world.ledger_bytes_.fetch_add(bytes) + bytes < 0) world.report_.fail("more memory was given back than taken");
  return 0;
}

bool World::create_engine(const Settings& settings) {
  std::vector<std::string> names;
  const auto publishers = test::read_trust(test::plugin_dir() + "/trust.json", names);
  const std::string dirs[] = {test::plugin_dir(), test::test_plugin_dir()};
  const char* const dir_data[] = {dirs[0].data(), dirs[1].data()};
  const size_t dir_lengths[] = {dirs[0].size(), dirs[1].size()};
  merritt_engine_options options{};
  options.struct_size = sizeof(options);
  options.threads = no_threads_ ? 0 : 2;
  options.flags = no_threads_ ? MERRITT_ENGINE_NO_THREADS : 0;
  options.plugin_dirs = dir_data;
  options.plugin_dir_lengths = dir_lengths;
  options.n_plugin_dirs = 2;
  options.publishers = publishers.data();
  options.n_publishers = static_cast<uint32_t>(publishers.size());
  options.log = &World::on_log;
  options.log_user = this;
  options.log_level = MERRITT_LOG_ERROR;
  options.ledger = &World::on_ledger;
  options.ledger_user = this;
  test::Error error;
  int32_t code = merritt_engine_create(&options, &engine_, error);
  if (!report_.check(Verb::kEngine, code, codes(), error)) return false;
  const bool fixture = settings.plugin == "fardevice";
  const std::string plugin = dirs[fixture ? 1 : 0] + "/libmerritt_" + settings.plugin + ".so";
  code = merritt_engine_load_backend(engine_, plugin.data(), plugin.size(), nullptr, error);
  if (!report_.check(Verb::kEngine, code, codes(), error)) return false;
  const std::string journal = folder_.path() + "/usage.journal";
  code = merritt_engine_journal_open(engine_, journal.data(), journal.size(), error);
  return report_.check(Verb::kEngine, code, codes(), error);
}

bool World::load_models(const Settings& settings) {
  test::Error error;
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  int32_t code = merritt_engine_stats_get(engine_, &stats, error);
  if (!report_.check(Verb::kStats, code, codes(), error)) return false;
  memory_bytes_before_ = stats.memory_bytes;
  model_path_ = settings.model;
  std::vector<merritt_model> loaded;
  for (uint32_t m = 0; m < kModels; ++m) {
    merritt_model model = nullptr;
    code = load_model(nullptr, &model, error);
    if (!report_.check(Verb::kModel, code, codes(), error)) return false;
    loaded.push_back(model);
  }
  info_.struct_size = sizeof(info_);
  code = merritt_model_info_get(loaded[0], &info_, error);
  if (!report_.check(Verb::kModel, code, codes(), error)) return false;
  models_ = std::move(loaded);
  return true;
}

int32_t World::load_model(merritt_tenant tenant, merritt_model* model, merritt_error** error) const {
  merritt_model_options options{};
  options.struct_size = sizeof(options);
  options.context_max = kContext;
  options.page_tokens = kPageTokens;
  options.sequences_max = kSequences;
  options.step_tokens_max = 64;
  options.tenant = tenant;
  return merritt_model_load(engine_, model_path_.data(), model_path_.size(), &options, model, error);
}

// ---- Tenants

merritt_tenant_options World::random_limits(Random& random, bool exact) const {
  const auto maybe = [&](uint32_t least, uint32_t most) { return random.one_in(3) ? random.between(least, most) : 0; };
  const uint32_t pool = static_cast<uint32_t>(info_.kv_bytes);
  merritt_tenant_options options{};
  options.struct_size = sizeof(options);
  options.weight = random.between(1, 8);
  options.sequences_max = maybe(1, 6);
  options.queue_max = maybe(1, 4);
  options.prompt_bytes_max = maybe(60, 400);
  options.kv_bytes_max = maybe(pool / 8, pool);
  const uint32_t most = options.kv_bytes_max != 0 ? static_cast<uint32_t>(options.kv_bytes_max) : pool;
  options.kv_bytes_floor = maybe(1, std::min(most, pool / 8));
  options.kv_bytes_burst = options.kv_bytes_max != 0 ? maybe(1, pool / 4) : 0;
  options.prefix_bytes_max = maybe(1, most);
  options.requests_per_second = maybe(5, 200);
  options.requests_burst = options.requests_per_second != 0 ? maybe(1, 50) : 0;
  options.tokens_per_minute = maybe(2'000, 100'000);
  options.tokens_burst = options.tokens_per_minute != 0 ? maybe(200, 2'000) : 0;
  options.context_max = maybe(info_.context_max / 4, info_.context_max);
  options.output_max = maybe(8, 64);
  options.deadline_ms_default = maybe(50, 2'000);
  options.flags = random.one_in(2) ? MERRITT_TENANT_PUBLISHES : 0;
  if (!exact && random.one_in(2)) options.model_bytes_max = uint64_t{1} << 30;
  // A list of one: sessions on the other model are refused.
  if (!exact && random.one_in(4)) {
    options.models = models_.data();
    options.n_models = 1;
  }
  return options;
}

void World::create_tenant(Random& random, bool lasting, bool exact) {
  auto slot = std::make_shared<TenantSlot>();
  {
    const std::lock_guard lock(mutex_);
    const auto passing = std::count_if(live_.begin(), live_.end(), [](const auto& each) { return !each->lasting; });
    if (!lasting && passing >= kTransientMost) return;
    slot->name = "t" + std::to_string(round_) + "-" + std::to_string(next_tenant_++);
  }
  slot->lasting = lasting;
  slot->exact = exact;
  const merritt_tenant_options options = random_limits(random, exact);
  test::Error error;
  const int32_t code =
      merritt_tenant_create(engine_, slot->name.data(), slot->name.size(), &options, &slot->handle, error);
  // The floors of all tenants may not fit.
  const Codes floors = options.kv_bytes_floor != 0 ? codes(MERRITT_INVALID_ARGUMENT) : codes();
  if (!report_.check(Verb::kTenantCreate, code, late() | floors, error)) {
    if (lasting && !draining()) create_tenant(random, lasting, exact);
    return;
  }
  const std::lock_guard lock(mutex_);
  all_.push_back(slot);
  live_.push_back(std::move(slot));
}

void World::destroy_some_tenant(Random& random) {
  std::shared_ptr<TenantSlot> slot;
  {
    const std::lock_guard lock(mutex_);
    std::vector<std::shared_ptr<TenantSlot>> passing;
    std::copy_if(live_.begin(), live_.end(), std::back_inserter(passing), [](const auto& s) { return !s->lasting; });
    if (passing.empty()) return;
    slot = random.any_of(passing);
    std::erase(live_, slot);
  }
  slot->gone = true;
  test::Error error;
  const int32_t code = merritt_tenant_destroy(slot->handle, error);
  report_.check(Verb::kTenantDestroy, code, late(), error);
}

std::shared_ptr<TenantSlot> World::any_tenant(Random& random) const {
  const std::lock_guard lock(mutex_);
  return live_.empty() ? nullptr : random.any_of(live_);
}

std::vector<std::shared_ptr<TenantSlot>> World::tenants() const {
  const std::lock_guard lock(mutex_);
  return all_;
}

// ---- Cancelling

void World::offer_for_cancelling(merritt_request request) {
  const std::lock_guard lock(mutex_);
  cancellable_.push_back(request);
  if (cancellable_.size() > kCancellableMost) cancellable_.pop_front();
}

void World::cancel_some(Random& random) {
  merritt_request request = nullptr;
  {
    const std::lock_guard lock(mutex_);
    if (cancellable_.empty()) return;
    request = random.any_of(cancellable_);
  }
  test::Error error;
  const int32_t code = merritt_request_cancel(request, error);
  report_.check(Verb::kCancel, code, codes(MERRITT_NOT_FOUND), error);  // stale handles are among them
}

// ---- Usage

// Counters only grow, whatever is changed meanwhile.
void World::look_at_usage(Random& random) {
  const std::shared_ptr<TenantSlot> slot = any_tenant(random);
  if (slot == nullptr) return;
  const std::lock_guard one(usage_mutex_);
  test::Error error;
  merritt_tenant_usage usage{};
  usage.struct_size = sizeof(usage);
  int32_t code = merritt_tenant_usage_get(slot->handle, &usage, error);
  if (!report_.check(Verb::kUsage, code, orphan(*slot), error)) return;
  const Told now = Told::of(usage);
  Told& before = seen_[slot->name];
  if (now.refusals < before.refusals || now.prompt_tokens < before.prompt_tokens ||
      now.cached_tokens < before.cached_tokens || now.generated_tokens < before.generated_tokens) {
    report_.fail("the usage of " + slot->name + " shrank: " + before.text() + ", then " + now.text());
  }
  before = now;
  std::string text(size_t{1} << 16, '\0');
  size_t length = 0;
  const uint32_t format = random.one_in(2) ? MERRITT_USAGE_JSON_LINES : MERRITT_USAGE_PROMETHEUS;
  code = merritt_engine_usage_export(engine_, format, text.data(), text.size(), &length, error);
  report_.check(Verb::kExport, code, late(), error);
  merritt_engine_stats stats{};
  stats.struct_size = sizeof(stats);
  code = merritt_engine_stats_get(engine_, &stats, error);
  report_.check(Verb::kStats, code, late(), error);
}

void World::read_journal(bool flush) {
  const std::lock_guard one(usage_mutex_);
  test::Error error;
  if (flush) report_.check(Verb::kJournal, merritt_engine_journal_flush(engine_, error), late(), error);
  std::string text(size_t{1} << 16, '\0');
  for (;;) {
    size_t length = 0;
    uint64_t last = journal_last_;
    const int32_t code =
        merritt_engine_usage_since(engine_, journal_last_, text.data(), text.size(), &length, &last, error);
    if (!report_.check(Verb::kUsageSince, code, late(), error) || length == 0) return;
    for (std::string_view rest(text.data(), length); !rest.empty();) {
      const size_t end = rest.find('\n');
      const nlohmann::json record = nlohmann::json::parse(rest.substr(0, end), nullptr, false);
      if (record.is_discarded()) return report_.fail("a record of the journal is no JSON");
      report_.expect_equal(record.value("record", uint64_t{0}), ++journal_last_, "number of a journal's record");
      for (const auto& entry : record.at("tenants")) journal_[entry.at("tenant")].add(entry);
      rest.remove_prefix(end + 1);
    }
    report_.expect_equal(last, journal_last_, "the last record told");
  }
}

void World::destroy_engine() {
  destroyed_ = true;  // the handle stays what it is: other threads may be about to call with it
  test::Error error;
  report_.check(Verb::kEngine, merritt_engine_destroy(engine_, error), codes(), error);
}

}  // namespace merritt::soak
