// SPDX-License-Identifier: Apache-2.0
#include "engine/compiled_model.hpp"

#include <algorithm>
#include <cstring>

#include "base/checked.hpp"

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
                                                             model::WeightSource::Progress progress) {
  std::unique_ptr<CompiledModel> compiled(new CompiledModel(std::move(device)));
  const mrt_backend& table = compiled->device_->table();
  const model::WeightSource source(file, std::move(progress));
  const mrt_graph graph = file.graph.view();
  const mrt_weights weights = source.view();
  mrt_error error{};
  compiled->info_.struct_size = sizeof(mrt_model_info);
  MERRITT_CHECK(compiled->device_->status(table.model_compile(compiled->device_->handle(), &graph, &weights, 0, nullptr,
                                                              &compiled->info_, &compiled->model_, &error),
                                          error));
  compiled->policy_.struct_size = sizeof(mrt_kv_policy);
  compiled->policy_.page_tokens = options.page_tokens;
  MERRITT_CHECK(compiled->choose_kv_type(options));
  MERRITT_CHECK(compiled->size_pool(options));
  MERRITT_CHECK(compiled->device_->status(
      table.pool_create(compiled->model_, &compiled->policy_, compiled->device_->opener(), &compiled->pool_, &error),
      error));
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
  const mrt_backend& table = device_->table();
  if (program_ != nullptr) table.program_destroy(program_);
  if (pool_ != nullptr) table.pool_destroy(pool_);
  if (model_ != nullptr) table.model_destroy(model_);
}

// f16 halves the cache at no measurable loss; a backend that has only f32 gets that when the caller named no type.
Status CompiledModel::choose_kv_type(const CompileOptions& options) {
  constexpr uint32_t kF32 = 0, kF16 = 1;
  policy_.type = options.kv_type == CompileOptions::kKvDefault ? kF16 : options.kv_type;
  mrt_error error{};
  spec_.struct_size = sizeof(spec_);
  const int32_t code = device_->table().kv_spec(model_, &policy_, &spec_, &error);
  if (code == MRT_UNSUPPORTED && options.kv_type == CompileOptions::kKvDefault) {
    policy_.type = kF32;
    return {};
  }
  return device_->status(code, error);
}

// Divides the KV budget over the groups in the proportion a longest sequence needs, so that no group runs out first.
Status CompiledModel::size_pool(const CompileOptions& options) {
  const mrt_backend& table = device_->table();
  mrt_error error{};
  spec_.struct_size = sizeof(spec_);
  MERRITT_CHECK(device_->status(table.kv_spec(model_, &policy_, &spec_, &error), error));
  if (spec_.n_groups > MRT_MAX_GROUPS) return Status(Code::kBackend, "the backend names too many KV groups");
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
    if (pages >= static_cast<long double>(MRT_PAGE_SEALED)) {
      return Status(Code::kInvalidArgument, "kv_bytes is larger than page numbers can count");
    }
    policy_.n_pages[g] = static_cast<uint32_t>(pages);
  }
  return device_->status(table.kv_spec(model_, &policy_, &spec_, &error), error);
}

Status CompiledModel::create_program() {
  const mrt_backend& table = device_->table();
  mrt_error error{};
  MERRITT_CHECK(device_->status(table.program_create(model_, pool_, &program_policy_, &program_, &error), error));
  staging_ = {};
  staging_.struct_size = sizeof(staging_);
  MERRITT_CHECK(device_->status(table.program_staging(program_, 0, &staging_, &error), error));
  const bool complete = staging_.token && staging_.position && staging_.rows && staging_.seq_first &&
                        staging_.seq_tokens && staging_.seq_past && staging_.seq_class && staging_.seq_key &&
                        staging_.seq_status && staging_.output[0].data;
  if (!complete) return Status(Code::kBackend, "the backend's staging lacks an input that the scheduler needs");
  return {};
}

Status CompiledModel::rebuild_program() {
  device_->table().program_destroy(program_);
  program_ = nullptr;
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

Status CompiledModel::run_step(uint32_t n_tokens, uint32_t n_sequences, uint32_t n_rows,
                               const volatile uint32_t* cancel, uint32_t* blast, uint32_t* culprit) {
  const mrt_backend& table = device_->table();
  mrt_step step{};
  step.struct_size = sizeof(step);
  step.n_tokens = n_tokens;
  step.n_seqs = n_sequences;
  step.n_rows = n_rows;
  step.outputs = n_rows != 0 ? 1 : 0;
  step.cancel = cancel;
  mrt_error error{};
  error.index = UINT32_MAX;
  int32_t code = table.step_prepare(program_, &step, &error);
  const bool prepared = code == MRT_OK;
  if (prepared) code = table.step_run(program_, 0, &error);
  while (prepared && code == MRT_OK) {
    constexpr uint64_t kSecond = 1'000'000'000;
    code = table.step_wait(program_, 0, kSecond, &error);
    if (code != MRT_DEADLINE) break;
    code = MRT_OK;
  }
  if (code == MRT_OK) return {};
  *blast = error.blast;
  *culprit = error.blast == MRT_BLAST_SEQUENCE && error.index < n_sequences ? error.index : UINT32_MAX;
  Status failure = device_->status(code, error);
  if (prepared) {
    mrt_error ignored{};
    table.step_abort(program_, 0, &ignored);
  }
  return failure;
}

Status CompiledModel::commit(std::span<const uint32_t> accepted) {
  mrt_error error{};
  return device_->status(device_->table().step_commit(program_, 0, accepted.data(), &error), error);
}

Status CompiledModel::copy(uint32_t group, uint32_t from, uint32_t to, uint32_t n_tokens) {
  mrt_error error{};
  return device_->status(device_->table().kv_copy(pool_, group, &from, &to, 1, n_tokens, &error), error);
}

Status CompiledModel::zero(uint32_t group, std::span<const uint32_t> pages) {
  const mrt_kv_span span{group, 0, spec_.group[group].n_planes, static_cast<uint32_t>(pages.size()), pages.data()};
  mrt_error error{};
  return device_->status(device_->table().kv_zero(pool_, &span, &error), error);
}

}  // namespace merritt::engine
