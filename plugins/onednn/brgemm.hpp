// SPDX-License-Identifier: Apache-2.0
// oneDNN's batch-reduce matrix micro-kernels for one panel width: c [m][64] = a [m][k] times panel [k][64]. They run on
// the calling thread and need no pool, so they may run inside any task. Kernels are made at compile, for fixed row
// counts; a call cuts its rows into these, and a row's result does not depend on the cut (tested bit by bit).
#pragma once
#include <cstdint>
#include <memory>
#include <vector>

#include "support/error.hpp"

namespace merritt::onednn {

inline constexpr uint32_t kPanelColumns = 64;
inline constexpr uint32_t kRowBlock = 64;

class MatrixKernel {
 public:
  MatrixKernel() noexcept;
  MatrixKernel(MatrixKernel&&) noexcept;
  MatrixKernel& operator=(MatrixKernel&&) noexcept;
  ~MatrixKernel();

  /// How the rows of a call are cut: into one kernel of the next power of two, or without surplus into 64, 16, 4, 1.
  enum class Cut : uint8_t { kPowers, kExact };
  /// bf16: k even, panel in pairs; else f32. lda in elements. add: c += a times panel. False when the library has no
  /// such kernel.
  bool create(uint32_t k, uint32_t lda, bool bf16, Cut cut = Cut::kPowers, bool add = false);
  uint64_t k() const noexcept { return k_; }
  bool bf16() const noexcept { return bf16_; }
  uint64_t scratch_bytes() const noexcept { return scratch_bytes_; }
  /// At most kRowBlock rows. Up to the next power of two of `a` is read and of `c` written; the surplus means nothing.
  void run(uint32_t rows, const void* a, const void* panel, float* c, void* scratch) const noexcept;
  /// Made with Cut::kExact: any number of rows, reads and writes just these.
  void run_exact(uint32_t rows, const void* a, const void* panel, float* c, void* scratch) const noexcept;
  /// Tile registers back to the kernel's initial state; after the last run of a task.
  static void release() noexcept;

 private:
  struct Kernels;
  std::unique_ptr<Kernels> kernels_;
  uint64_t scratch_bytes_ = 0;
  uint32_t k_ = 0, lda_ = 0;
  bool bf16_ = false;
};

}  // namespace merritt::onednn
