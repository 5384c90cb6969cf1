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
#include "engine/packed_weights.hpp"
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
  // How long a step may go on after its cancel flag was set before the device counts as lost; 0 = from the device's own
  // bound, generously.
  uint64_t cancel_grace_ns = 0;
  // Asked when the weights are there and before the pool is made, with the bytes of both; not ok ends the load.
  std::function<Status(uint64_t bytes)> admit{};
  // Asked while a pack is written: true = leave it.
  std::function<bool()> stopped{};
};

class CompiledModel final : public kv::PageVerbs {
 public:
  // packed: null = the weights are packed from the file.
  static Result<std::unique_ptr<CompiledModel>> create(std::shared_ptr<backend::Device> device,
                                                       const model::ModelFile& file, const CompileOptions& options,
                                                       model::WeightSource::Progress progress,
                                                       const volatile uint32_t* cancel = nullptr,
                                                       PackedWeights* packed = nullptr);
  ~CompiledModel() override;
  CompiledModel(const CompiledModel&) = delete;
  CompiledModel& operator=(const CompiledModel&) = delete;

  const mrt_staging& staging() const { return staging_; }
  bool from_pack_cache() const { return from_pack_cache_; }
  const mrt_model_info& info() const { return info_; }
  const mrt_kv_spec& kv_spec() const { return spec_; }
  const mrt_kv_policy& kv_policy() const { return policy_; }
  uint32_t max_pages(uint32_t group) const { return program_policy_.max_pages[group]; }
  std::vector<kv::GroupShape> group_shapes() const;
  backend::Device& device() const { return *device_; }

  // One step over the filled staging. On success the outputs and seq_status are set and commit or abort must follow; on
  // failure the step was aborted, nobody advanced, and *culprit is the sequence to blame (UINT32_MAX = none). A step
  // that goes on for cancel_grace_ns after `cancel` was set ends with blast DEVICE and abandoned().
  Status run_step(uint32_t n_tokens, uint32_t n_sequences, uint32_t n_rows, const volatile uint32_t* cancel,
                  uint32_t* blast, uint32_t* culprit);
  // A commit that fails has aborted the step.
  Status commit(std::span<const uint32_t> accepted);
  // Gives up the step in hand, if there is one.
  void abort_step() noexcept;
  // After blast PROGRAM: a new program over the same pool. On failure there is none, and no step can run any more.
  Status rebuild_program();

  // Asks the device how it is; what it once said to be lost stays so.
  bool device_lost() noexcept;
  // The device never answered: it may still write what it was given, so nothing of it is ever called or freed again.
  bool abandoned() const { return abandoned_; }

  // "index op kernel flops_share" lines of one row class.
  Result<std::string> trace(const model::ModelFile& file, uint32_t row_class) const;

  // kv::PageVerbs
  Status copy(uint32_t group, uint32_t from, uint32_t to, uint32_t n_tokens) override;
  Status zero(uint32_t group, std::span<const uint32_t> pages) override;

 private:
  explicit CompiledModel(std::shared_ptr<backend::Device> device) : device_(std::move(device)) {}
  Status compile(const model::ModelFile& file, model::WeightSource::Progress progress, const volatile uint32_t* cancel,
                 PackedWeights* packed, const std::function<bool()>& stopped);
  Status ask_kv_spec(int32_t* code);
  Status choose_kv_type(const CompileOptions& options);
  Status size_pool(const CompileOptions& options);
  Status create_pool();
  Status create_program();
  int32_t wait_for_step(const volatile uint32_t* cancel, mrt_error* error);
  uint64_t cancel_grace_ns() const;
  void note_loss(int32_t code, const mrt_error& error) noexcept;
  Status lost_status() const;

  std::shared_ptr<backend::Device> device_;
  mrt_model* model_ = nullptr;
  mrt_pool* pool_ = nullptr;
  mrt_program* program_ = nullptr;
  mrt_model_info info_{};
  mrt_kv_policy policy_{};
  mrt_kv_spec spec_{};
  mrt_program_policy program_policy_{};
  mrt_staging staging_{};
  std::vector<uint32_t> windows_;  // of the graph's KV groups
  uint32_t vocabulary_ = 0;
  uint64_t cancel_grace_ns_ = 0;
  bool from_pack_cache_ = false;
  bool step_open_ = false;  // prepared, and neither committed nor aborted
  bool abandoned_ = false;
};

}  // namespace merritt::engine
