// SPDX-License-Identifier: Apache-2.0
#include "engine/compiled_model.hpp"

#include <algorithm>
#include <utility>

#include "base/checked.hpp"
#include "base/limits.hpp"
#include "engine/abandoned.hpp"
#include "engine/plugin_answers.hpp"

namespace merritt::engine {
namespace {

constexpr uint32_t kDefaultSequences = 4;  // of context_max, when kv_bytes is 0

// Pages a sequence of the longest context needs in a group: windowed groups keep the window, the chunk being written
// and one page of misalignment at either end.
uint64_t pages_per_sequence(const mrt_kv_group& group, const CompileOptions& options) {
  uint64_t tokens = options.context_max;
  if (group.window != 0) tokens = std::min<uint64_t>(tokens, uint64_t{group.window} + options.step_tokens_max);
  return divide_up<uint64_t>(tokens, options.page_tokens) + (group.window != 0 ? 2 : 0);
}

uint64_t page_bytes(const mrt_kv_group& group) { return uint64_t{group.n_planes} * group.plane_bytes; }

}  // namespace

Result<std::unique_ptr<CompiledModel>> CompiledModel::create(std::shared_ptr<backend::Device> device,
                                                             const model::ModelFile& file,
                                                             const CompileOptions& options,
                                                             model::WeightSource::Progress progress,
                                                             const volatile uint32_t* cancel, PackedWeights* packed) {
  std::unique_ptr<CompiledModel> compiled(new CompiledModel(std::move(device)));
  if (compiled->device_lost()) return compiled->lost_status();
  compiled->windows_ = cache_windows(file.graph);
  compiled->vocabulary_ = file.info.vocabulary;
  compiled->cancel_grace_ns_ = options.cancel_grace_ns;
  MERRITT_CHECK(compiled->compile(file, std::move(progress), cancel, packed, options.stopped));
  compiled->policy_.struct_size = sizeof(mrt_kv_policy);
  compiled->policy_.page_tokens = options.page_tokens;
  MERRITT_CHECK(compiled->choose_kv_type(options));
  MERRITT_CHECK(compiled->size_pool(options));
  if (options.admit != nullptr) MERRITT_CHECK(options.admit(compiled->info_.weight_bytes + compiled->spec_.pool_bytes));
  MERRITT_CHECK(compiled->create_pool());
  compiled->program_policy_.struct_size = sizeof(mrt_program_policy);
  compiled->program_policy_.max_tokens = options.step_tokens_max;
  compiled->program_policy_.max_seqs = options.sequences_max;
  compiled->program_policy_.max_rows = options.rows_max;
  for (uint32_t g = 0; g < compiled->spec_.n_groups; ++g) {
    compiled->program_policy_.max_pages[g] =
        static_cast<uint32_t>(pages_per_sequence(compiled->spec_.group[g], options));
  }
  MERRITT_CHECK(compiled->create_program());
  return compiled;
}

CompiledModel::~CompiledModel() {
  if (abandoned_) {
    // The plugin's objects are kept with the device, and destroyed by nobody.
    struct Kept {
      std::shared_ptr<backend::Device> device;
      const void *program, *pool, *model;
    };
    try {
      keep_for_ever(std::make_shared<Kept>(Kept{device_, program_, pool_, model_}));
    } catch (...) {
      keep_for_ever(std::move(device_));
    }
    return;
  }
  const mrt_backend& table = device_->table();
  if (program_ != nullptr) table.program_destroy(program_);
  if (pool_ != nullptr) table.pool_destroy(pool_);
  if (model_ != nullptr) table.model_destroy(model_);
}

Status CompiledModel::lost_status() const {
  return Status(Code::kBackend,
                "the device of backend " + device_->plugin().id() + " is lost; load the model on another",
                Blast::kDevice);
}

Status CompiledModel::compile(const model::ModelFile& file, model::WeightSource::Progress progress,
                              const volatile uint32_t* cancel, PackedWeights* packed,
                              const std::function<bool()>& stopped) {
  model::WeightSource source(file, std::move(progress));
  const mrt_graph graph = file.graph.view();
  const mrt_weights weights = source.view();
  mrt_error error{};
  mrt_model* made = nullptr;
  info_.struct_size = sizeof(mrt_model_info);
  const bool keeps = packed != nullptr && packed->extension() != nullptr;
  int32_t code = MRT_OK;
  if (keeps) {
    const mrt_packed view = packed->view(source);
    code = backend::fenced(packed->extension()->compile, device_->handle(), &graph, &weights, &view, uint32_t{0},
                           cancel, &info_, &made, &error);
  } else {
    code = device_->table().model_compile(device_->handle(), &graph, &weights, 0, cancel, &info_, &made, &error);
  }
  MERRITT_CHECK(take_made(device_->status(code, error), made, &model_, "model", device_->plugin().id()));
  from_pack_cache_ = keeps && packed->used();
  if (keeps && !from_pack_cache_) {
    packed->keep(model_, [cancel, &stopped] {
      return (cancel != nullptr && __atomic_load_n(cancel, __ATOMIC_RELAXED) != 0) || (stopped != nullptr && stopped());
    });
  }
  return {};
}

// What a pool of the policy would be, checked. *code is the backend's own.
Status CompiledModel::ask_kv_spec(int32_t* code) {
  mrt_error error{};
  spec_ = {};
  spec_.struct_size = sizeof(spec_);
  *code = device_->table().kv_spec(model_, &policy_, &spec_, &error);
  MERRITT_CHECK(device_->status(*code, error));
  return check_kv_spec(spec_, policy_, windows_, device_->plugin().id());
}

// f16 halves the cache at no measurable loss; a backend that has only f32 gets that when the caller named no type.
Status CompiledModel::choose_kv_type(const CompileOptions& options) {
  constexpr uint32_t kF32 = 0, kF16 = 1;
  policy_.type = options.kv_type == CompileOptions::kKvDefault ? kF16 : options.kv_type;
  int32_t code = MRT_OK;
  Status answered = ask_kv_spec(&code);
  if (code != MRT_UNSUPPORTED || options.kv_type != CompileOptions::kKvDefault) return answered;
  policy_.type = kF32;
  return {};
}

// Divides the KV budget over the groups in the proportion a longest sequence needs, so that no group runs out first.
Status CompiledModel::size_pool(const CompileOptions& options) {
  int32_t code = MRT_OK;
  MERRITT_CHECK(ask_kv_spec(&code));
  uint64_t sequence_bytes = 0;
  for (uint32_t g = 0; g < spec_.n_groups; ++g) {
    const auto bytes = checked_mul<uint64_t>(pages_per_sequence(spec_.group[g], options), page_bytes(spec_.group[g]));
    const auto sum = bytes ? checked_add<uint64_t>(sequence_bytes, *bytes) : std::nullopt;
    if (!sum || *sum == 0) return Status(Code::kBackend, "the backend's KV page sizes are not usable");
    sequence_bytes = *sum;
  }
  if (spec_.n_groups == 0) return {};
  if (options.kv_bytes != 0 && options.kv_bytes < sequence_bytes) {
    return Status(Code::kInvalidArgument, "kv_bytes is " + std::to_string(options.kv_bytes) + "; one sequence of " +
                                              std::to_string(options.context_max) + " tokens needs " +
                                              std::to_string(sequence_bytes));
  }
  const uint64_t budget = options.kv_bytes != 0 ? options.kv_bytes : sequence_bytes * kDefaultSequences;
  for (uint32_t g = 0; g < spec_.n_groups; ++g) {
    const long double sequences = static_cast<long double>(budget) / static_cast<long double>(sequence_bytes);
    const long double pages = sequences * static_cast<long double>(pages_per_sequence(spec_.group[g], options));
    if (pages > static_cast<long double>(limits::kPagesMax)) {
      return Status(Code::kInvalidArgument, "kv_bytes is " + std::to_string(options.kv_bytes) +
                                                "; a KV group may have " + std::to_string(limits::kPagesMax) +
                                                " pages: take a smaller kv_bytes or a larger page_tokens");
    }
    policy_.n_pages[g] = static_cast<uint32_t>(pages);
  }
  const mrt_kv_spec before = spec_;
  MERRITT_CHECK(ask_kv_spec(&code));
  for (uint32_t g = 0; g < spec_.n_groups; ++g) {
    if (spec_.group[g].n_planes == before.group[g].n_planes &&
        spec_.group[g].plane_bytes == before.group[g].plane_bytes)
      continue;
    return Status(Code::kBackend, device_->plugin().id() + ": the page size of a KV group changed with its pages");
  }
  return {};
}

Status CompiledModel::create_pool() {
  mrt_error error{};
  mrt_pool* made = nullptr;
  const int32_t code = device_->table().pool_create(model_, &policy_, device_->opener(), &made, &error);
  return take_made(device_->status(code, error), made, &pool_, "KV pool", device_->plugin().id());
}

// Leaves no program behind when one of its steps fails.
Status CompiledModel::create_program() {
  const mrt_backend& table = device_->table();
  mrt_error error{};
  mrt_program* made = nullptr;
  const int32_t code = table.program_create(model_, pool_, &program_policy_, &made, &error);
  MERRITT_CHECK(take_made(device_->status(code, error), made, &program_, "program", device_->plugin().id()));
  mrt_staging staging{};
  staging.struct_size = sizeof(staging);
  Status outcome = device_->status(table.program_staging(program_, 0, &staging, &error), error);
  if (outcome.ok()) {
    outcome = check_staging(staging, program_policy_, spec_.n_groups, vocabulary_, device_->plugin().id());
  }
  if (outcome.ok()) {
    staging_ = staging;
    return {};
  }
  table.program_destroy(std::exchange(program_, nullptr));
  return outcome;
}

Status CompiledModel::rebuild_program() {
  if (abandoned_) return lost_status();
  staging_ = {};  // of the program that goes now
  step_open_ = false;
  if (program_ != nullptr) device_->table().program_destroy(std::exchange(program_, nullptr));
  return create_program();
}

std::vector<kv::GroupShape> CompiledModel::group_shapes() const {
  std::vector<kv::GroupShape> shapes;
  for (uint32_t g = 0; g < spec_.n_groups; ++g) {
    shapes.push_back({.window = spec_.group[g].window,
                      .page_tokens = policy_.page_tokens,
                      .n_pages = policy_.n_pages[g],
                      .page_bytes = page_bytes(spec_.group[g])});
  }
  return shapes;
}

Status CompiledModel::copy(uint32_t group, uint32_t from, uint32_t to, uint32_t n_tokens) {
  if (abandoned_) return lost_status();
  mrt_error error{};
  return device_->status(device_->table().kv_copy(pool_, group, &from, &to, 1, n_tokens, &error), error);
}

Status CompiledModel::zero(uint32_t group, std::span<const uint32_t> pages) {
  if (abandoned_) return lost_status();
  const mrt_kv_span span{group, 0, spec_.group[group].n_planes, static_cast<uint32_t>(pages.size()), pages.data()};
  mrt_error error{};
  return device_->status(device_->table().kv_zero(pool_, &span, &error), error);
}

}  // namespace merritt::engine
