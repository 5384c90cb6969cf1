// SPDX-License-Identifier: Apache-2.0
// A model compiled by a plugin: weights, KV pool, program and staging, with the plugin's verbs as functions that return
// Status. Owns the plugin's objects and destroys them children first.
//
// Threads: create and destruction on one thread at a time; everything else by the step thread.
#pragma once

#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <vector>

#include "backend/device.hpp"
#include "base/status.hpp"
#include "kv/page_pool.hpp"
#include "merritt/backend.h"
#include "model/model_file.hpp"
#include "model/weight_source.hpp"

namespace merritt::engine {

struct CompileOptions {
  static constexpr uint32_t kKvDefault = UINT32_MAX;  // f16, else f32, whichever the backend takes
  uint32_t kv_type = kKvDefault;                      // ggml type id of the KV cache
  uint32_t page_tokens = 64;
  uint32_t context_max = 0;  // 0 = min(the model's, 4096)
  uint32_t sequences_max = 32;
  uint32_t step_tokens_max = 512;
  uint32_t rows_max = 32;  // rows of logits in one step
  uint64_t kv_bytes = 0;   // 0 = sequences of context_max that fit the default
};

class CompiledModel final : public kv::PageVerbs {
 public:
  static Result<std::unique_ptr<CompiledModel>> create(std::shared_ptr<backend::Device> device,
                                                       const model::ModelFile& file, const CompileOptions& options,
                                                       model::WeightSource::Progress progress);
  ~CompiledModel() override;
  CompiledModel(const CompiledModel&) = delete;
  CompiledModel& operator=(const CompiledModel&) = delete;

  const mrt_staging& staging() const { return staging_; }
  const mrt_model_info& info() const { return info_; }
  const mrt_kv_spec& kv_spec() const { return spec_; }
  const mrt_kv_policy& kv_policy() const { return policy_; }
  uint32_t max_pages(uint32_t group) const { return program_policy_.max_pages[group]; }
  std::vector<kv::GroupShape> group_shapes() const;
  backend::Device& device() const { return *device_; }

  // One step over the filled staging. On success the outputs and seq_status are set and commit or abort must follow; on
  // failure the step was aborted, nobody advanced, and *culprit is the sequence to blame (UINT32_MAX = none).
  Status run_step(uint32_t n_tokens, uint32_t n_sequences, uint32_t n_rows, const volatile uint32_t* cancel,
                  uint32_t* blast, uint32_t* culprit);
  Status commit(std::span<const uint32_t> accepted);
  // After blast PROGRAM: a new program over the same pool.
  Status rebuild_program();

  // "index op kernel flops_share" lines of one row class.
  Result<std::string> trace(const model::ModelFile& file, uint32_t row_class) const;

  // kv::PageVerbs
  Status copy(uint32_t group, uint32_t from, uint32_t to, uint32_t n_tokens) override;
  Status zero(uint32_t group, std::span<const uint32_t> pages) override;

 private:
  explicit CompiledModel(std::shared_ptr<backend::Device> device) : device_(std::move(device)) {}
  Status choose_kv_type(const CompileOptions& options);
  Status size_pool(const CompileOptions& options);
  Status create_program();

  std::shared_ptr<backend::Device> device_;
  mrt_model* model_ = nullptr;
  mrt_pool* pool_ = nullptr;
  mrt_program* program_ = nullptr;
  mrt_model_info info_{};
  mrt_kv_policy policy_{};
  mrt_kv_spec spec_{};
  mrt_program_policy program_policy_{};
  mrt_staging staging_{};
};

}  // namespace merritt::engine
