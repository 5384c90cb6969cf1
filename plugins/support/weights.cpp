// SPDX-License-Identifier: Apache-2.0
#include "support/weights.hpp"

#include <algorithm>

#include "support/blocks.hpp"

namespace merritt::plugin {
namespace {
constexpr uint64_t kPiece = 4u << 20;
}

int32_t WeightReader::read(uint32_t weight, uint64_t offset, void* dst, uint64_t bytes, mrt_error* err) const noexcept {
  auto* to = static_cast<uint8_t*>(dst);
  while (bytes != 0) {
    if (cancelled()) return fail_call(err, MRT_CANCELLED, "the compile was cancelled");
    const uint64_t n = std::min(bytes, kPiece);
    mrt_error inner{};
    const int32_t code = source_->read(source_->ctx, weight, offset, to, n, &inner);
    if (code != MRT_OK) {
      inner.message[sizeof inner.message - 1] = 0;
      return fail(err, code, MRT_BLAST_CALL, weight, "weight %u (%.60s) could not be read: %.120s", weight,
                  (*weights_)[weight].name.c_str(), inner.message);
    }
    offset += n;
    to += n;
    bytes -= n;
  }
  return MRT_OK;
}

int32_t WeightReader::read_f32(uint32_t weight, float* out, mrt_error* err) const {
  const PlanWeight& w = (*weights_)[weight];
  std::vector<uint8_t> row(w.row_bytes);
  for (uint64_t r = 0; r < w.rows; ++r) {
    MERRITT_PLUGIN_TRY(read(weight, r * w.row_bytes, row.data(), w.row_bytes, err));
    dequantise_row(w.type, row.data(), out + r * w.cols, w.cols);
  }
  return MRT_OK;
}

}  // namespace merritt::plugin
