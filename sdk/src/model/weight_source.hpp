// SPDX-License-Identifier: Apache-2.0
// The weights of a model file as a backend asks for them: mrt_weights over a ModelFile. Every read is checked against
// the tensor and answered from the file; nothing is mapped and nothing is loaned (no pin).
//
// Threads: the view's read may be called from any thread. The object must not move while the view is in use.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <vector>

#include "merritt/backend.h"
#include "model/model_file.hpp"

namespace merritt::model {

class WeightSource {
 public:
  // The fraction of weight bytes read so far, in [0, 1]. Called by whichever thread reads, one call at a time, at most
  // once per percent; true cancels the load: that read and all later ones answer MRT_CANCELLED.
  using Progress = std::function<bool(float fraction)>;

  // `file` is borrowed.
  explicit WeightSource(const ModelFile& file, Progress progress = {});
  ~WeightSource();
  WeightSource(const WeightSource&) = delete;
  WeightSource& operator=(const WeightSource&) = delete;

  mrt_weights view() const;
  // Counts bytes that came from elsewhere in the place of these. True = the load was cancelled.
  bool note_read(uint64_t len) { return cancelled_.load(std::memory_order_relaxed) || report(len); }
  uint64_t bytes_total() const { return bytes_total_; }
  uint64_t bytes_read() const { return bytes_read_.load(std::memory_order_relaxed); }

 private:
  static int32_t read_weight(void* ctx, uint32_t weight, uint64_t offset, void* out, uint64_t len, mrt_error* err);
  int32_t read(uint32_t weight, uint64_t offset, void* out, uint64_t len, mrt_error* err);
  bool report(uint64_t len);

  const ModelFile& file_;
  Progress progress_;
  std::vector<mrt_weight> list_;
  uint64_t bytes_total_ = 0;
  std::atomic<uint64_t> bytes_read_{0};
  std::atomic<uint32_t> percent_{0};
  std::atomic<bool> cancelled_{false};
  std::atomic_flag reporting_ = ATOMIC_FLAG_INIT;
};

}  // namespace merritt::model
