// SPDX-License-Identifier: Apache-2.0
// Loading and unloading a model, on the caller's thread; the step thread only gets the finished object.
#include <algorithm>
#include <optional>
#include <utility>

#include "base/limits.hpp"
#include "engine/engine.hpp"
#include "model/vocabulary.hpp"
#include "model/weights/source.hpp"

namespace merritt::engine {
namespace {

constexpr uint32_t kContextDefault = 4096;
constexpr uint32_t kDraftRows = 16;  // decoding rows up to which drafts fill a step
constexpr uint32_t kRetryMs = 1000;  // after a load that was refused for others

// One of the loads that tenants may have going at once: they take cores and memory bandwidth from everybody's steps.
class LoadSlot {
 public:
  static std::optional<LoadSlot> take(std::atomic<uint32_t>& taken) {
    uint32_t now = taken.load();
    do {
      if (now >= limits::kTenantsLoadingMax) return std::nullopt;
    } while (!taken.compare_exchange_weak(now, now + 1));
    return LoadSlot(taken);
  }
  LoadSlot(LoadSlot&& other) noexcept : taken_(std::exchange(other.taken_, nullptr)) {}
  LoadSlot& operator=(LoadSlot&&) = delete;
  ~LoadSlot() {
    if (taken_ != nullptr) taken_->fetch_sub(1);
  }

 private:
  explicit LoadSlot(std::atomic<uint32_t>& taken) : taken_(&taken) {}
  std::atomic<uint32_t>* taken_;
};

Status check_options(CompileOptions& options, const model::ModelInfo& info) {
  if (options.context_max == 0) options.context_max = std::min(info.context_length, kContextDefault);
  if (options.context_max > info.context_length) {
    return Status(Code::kInvalidArgument, "context_max is " + std::to_string(options.context_max) +
                                              "; the model was trained for " + std::to_string(info.context_length));
  }
  if (options.sequences_max > limits::kSequencesMax) {
    return Status(Code::kInvalidArgument, "sequences_max is " + std::to_string(options.sequences_max) +
                                              "; the limit is " + std::to_string(limits::kSequencesMax));
  }
  if (options.step_tokens_max > limits::kStepTokensMax || options.step_tokens_max < options.sequences_max) {
    return Status(Code::kInvalidArgument, "step_tokens_max is " + std::to_string(options.step_tokens_max) +
                                              "; it must be in [sequences_max, " +
                                              std::to_string(limits::kStepTokensMax) + "]");
  }
  if (options.page_tokens > limits::kPageTokensMax) {
    return Status(Code::kInvalidArgument, "page_tokens is " + std::to_string(options.page_tokens) + "; the limit is " +
                                              std::to_string(limits::kPageTokensMax));
  }
  options.rows_max = std::max(options.sequences_max, std::min(kDraftRows, options.step_tokens_max));
  return {};
}

// The model's own template first; else a built-in one of its architecture; else none, with the reason kept for whoever
// asks for a conversation.
Status attach_chat_template(Model& model, const std::string& source) {
  std::string text = source, name = "model";
  if (text.empty()) {
    const auto builtin = tokens::builtin_chat_template(model.file->info.architecture);
    if (!builtin.has_value()) return {};
    text = builtin->text;
    name = "builtin:" + std::string(builtin->name);
  }
  auto compiled = tokens::ChatTemplate::compile(text);
  if (compiled.ok()) {
    model.chat_template = std::move(compiled).value();
    model.chat_template_name = name;
  } else {
    model.chat_template_problem = std::string(compiled.status().message()) + "; give the prompt as raw text";
  }
  return {};
}

}  // namespace

Result<std::shared_ptr<Model>> Engine::load_model(ModelLoadOptions options) {
  MERRITT_CHECK(check_may_wait());
  MERRITT_CHECK(check_not_draining());
  options.progress = services_->callbacks.progress(std::move(options.progress));
  return options.tenant == nullptr ? make_model(std::move(options), {}) : load_for_tenant(std::move(options));
}

Result<std::shared_ptr<Model>> Engine::load_for_tenant(ModelLoadOptions options) {
  const std::shared_ptr<tenant::Tenant> tenant = options.tenant;
  const uint64_t begun = now_ns();
  MERRITT_TRY(tenant::ModelCharge charge, tenant->admit_load(begun));
  const std::optional<LoadSlot> slot = LoadSlot::take(tenant_loads_);
  if (!slot) {
    return tenant->refuse(tenant::Refusal::kOverload,
                          Status(Code::kOverloaded,
                                 std::to_string(limits::kTenantsLoadingMax) +
                                     " models are being loaded for tenants, as many as may be at once",
                                 Blast::kRequest, kRetryMs));
  }
  struct Clock {  // also of a load that ends with an exception
    Engine& engine;
    tenant::Tenant& tenant;
    const uint64_t begun;
    ~Clock() { tenant.ledger().add(tenant::Counter::kModelLoadNs, engine.now_ns() - begun); }
  };
  const Clock clock{*this, *tenant, begun};
  options.compile.stopped = [tenant] { return tenant->closed(); };
  options.progress = [tenant, host = std::move(options.progress)](float fraction) {
    return tenant->closed() || (host != nullptr && host(fraction));
  };
  auto loaded = make_model(std::move(options), std::move(charge));
  if (loaded.ok()) tenant->ledger().add(tenant::Counter::kModelLoads, 1);
  return loaded;
}

Result<std::shared_ptr<Model>> Engine::make_model(ModelLoadOptions options, tenant::ModelCharge charge) {
  MERRITT_TRY(auto devices, devices_for(options.backend));
  MERRITT_TRY(auto source, model::weights::open_file_source(options.path));
  auto model = std::make_shared<Model>();
  MERRITT_TRY(auto file, model::open_model(std::move(source)));
  model->file = std::make_unique<model::ModelFile>(std::move(file));
  model->charge = std::move(charge);
  MERRITT_CHECK(model->charge.hold(model->file->info.file_bytes, tenant::ModelCharge::Known::kFile));
  options.compile.admit = [&charged = model->charge](uint64_t bytes) { return charged.hold(bytes); };
  MERRITT_CHECK(check_options(options.compile, model->file->info));
  MERRITT_TRY(tokens::Vocabulary vocabulary, model::load_vocabulary(*model->file));
  const std::string chat_template = vocabulary.chat_template;
  MERRITT_TRY(model->tokenizer, tokens::Tokenizer::create(std::move(vocabulary)));
  MERRITT_CHECK(attach_chat_template(*model, chat_template));

  std::optional<model::pack::PackCache> packs;
  if (!options.pack_cache.empty()) {
    const std::span<const std::byte> key =
        options.pack_cache_key == nullptr ? std::span<const std::byte>() : options.pack_cache_key->span();
    MERRITT_TRY(packs, model::pack::PackCache::open(options.pack_cache, key));
  }
  Status refusal;
  for (const auto& device : devices) {
    std::optional<PackedWeights> packed;
    if (packs) packed.emplace(*packs, *model->file, options.path, *device, *log_);
    auto compiled = CompiledModel::create(device, *model->file, options.compile, options.progress, stop_.address(),
                                          packed ? &*packed : nullptr);
    if (compiled.ok()) {
      model->compiled = std::move(compiled).value();
      model->from_pack_cache = model->compiled->from_pack_cache();
      model->backend_id = device->plugin().id();
      break;
    }
    refusal = std::move(compiled).status();
    log_->warning("backend " + device->plugin().id() + " declined the model: " + std::string(refusal.message()));
    if (refusal.code() != Code::kUnsupported) break;  // only "I cannot" makes the next one worth asking
  }
  if (model->compiled == nullptr) {
    if (refusal.code() != Code::kOutOfMemory || ledger_->budget() == 0) return refusal;
    return std::move(refusal).with_context("memory_bytes_max of this engine is " + std::to_string(ledger_->budget()) +
                                           ", of which " + std::to_string(ledger_->held()) + " are taken");
  }
  const std::vector<kv::GroupShape> shapes = model->compiled->group_shapes();
  MERRITT_TRY(model->cache, kv::Cache::make(shapes, *model->compiled));
  model->prefixes = std::make_unique<PrefixCache>(*model->cache);
  scheduler::Limits limits;
  limits.step_tokens_max = options.compile.step_tokens_max;
  limits.sequences_max = options.compile.sequences_max;
  limits.rows_max = options.compile.rows_max;
  limits.draft_rows_max = kDraftRows;
  limits.one_tenant = model->charge.tenant() != nullptr;
  model->scheduler = std::make_unique<scheduler::Scheduler>(limits, *model->cache, policy_);
  model->id = next_model_id_.fetch_add(1);
  model->context_max = options.compile.context_max;
  model->sequences_max = options.compile.sequences_max;
  model->file->release_metadata();

  MERRITT_CHECK(attach_model(model));
  model->charge.loaded();
  return model;
}

Status Engine::unload_model(const std::shared_ptr<Model>& model) {
  MERRITT_CHECK(check_may_wait());
  model->closed = true;
  // By reference: the command must not keep the model alive after the caller has gone on.
  return call([this, &model]() -> Status {
    detach_model(model);
    return {};
  });
}

}  // namespace merritt::engine
