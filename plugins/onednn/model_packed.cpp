// SPDX-License-Identifier: Apache-2.0
// The packed matrices as bytes that a host may keep ("weights.packed/1"): they are one run in memory already, so they
// leave and come back as they are.
#include <algorithm>
#include <atomic>
#include <cstring>

#include "onednn/model.hpp"
#include "support/kv_layout.hpp"

namespace merritt::onednn {
using namespace plugin;

mrt_packed_layout Model::packed_layout() const noexcept {
  Identity identity;
  identity.add(kPackedLayout);
  for (uint32_t m = 0; m < matrices_.size(); ++m) {
    const Packed& w = matrices_[m];
    identity.add(plan_.weights[schedule_.matrices[m]].name.c_str()).add(w.type).add(w.rows).add(w.cols);
    identity.add(matrix_at_[m]).add(w.bytes());
  }
  mrt_packed_layout layout{};
  identity.write(layout.layout);
  layout.bytes = matrix_bytes_;
  return layout;
}

int32_t Model::export_bytes(uint64_t offset, void* dst, uint64_t bytes, mrt_error* err) const noexcept {
  if (offset > weights_.size() || bytes > weights_.size() - offset || (dst == nullptr && bytes != 0)) {
    return fail_call(err, MRT_INVALID_ARGUMENT, "packed bytes: %llu at %llu of %llu",
                     static_cast<unsigned long long>(bytes), static_cast<unsigned long long>(offset),
                     static_cast<unsigned long long>(weights_.size()));
  }
  if (bytes != 0) std::memcpy(dst, weights_.data() + offset, bytes);
  return MRT_OK;
}

// *taken: all matrices are there. The host has nothing, or not all of it is good: then they are packed, and a chunk
// that was good is written over with the same bytes.
int32_t Model::take_packed(const mrt_packed* packed, const WeightReader& reader, const Host& host, bool* taken,
                           mrt_error* err) {
  *taken = false;
  if (packed == nullptr || matrix_bytes_ == 0) return MRT_OK;
  const mrt_packed_layout layout = packed_layout();
  uint64_t chunk = 0;
  mrt_error inner{};
  if (packed->open(packed->ctx, &layout, &chunk, &inner) != MRT_OK) return MRT_OK;
  if (chunk == 0) return fail_call(err, MRT_INVALID_ARGUMENT, "packed bytes: the host's chunks have no size");
  const uint64_t chunks = (matrix_bytes_ + chunk - 1) / chunk;
  if (chunks > UINT32_MAX) return MRT_OK;
  std::atomic<bool> failed{false};
  const int32_t code = host.parallel(static_cast<uint32_t>(chunks), [&](uint32_t i, uint32_t) {
    if (failed.load(std::memory_order_relaxed) || reader.cancelled()) return;
    const uint64_t at = i * chunk;
    mrt_error why{};
    if (packed->read(packed->ctx, at, weights_.data() + at, std::min(chunk, matrix_bytes_ - at), &why) != MRT_OK) {
      failed.store(true, std::memory_order_relaxed);
    }
  });
  if (code != MRT_OK) return fail_call(err, code, "reading the packed weights failed");
  if (reader.cancelled()) return fail_call(err, MRT_CANCELLED, "the compile was cancelled");
  *taken = !failed.load(std::memory_order_relaxed);
  return MRT_OK;
}

}  // namespace merritt::onednn
