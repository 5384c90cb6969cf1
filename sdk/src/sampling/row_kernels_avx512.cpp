// SPDX-License-Identifier: Apache-2.0
#include "sampling/lanes_avx512.hpp"
// The lanes come first.
#include "sampling/row_kernels_impl.hpp"

namespace merritt::sampling {

const RowKernels& row_kernels_avx512() {
  static constexpr RowKernels kTable = table("avx512");
  return kTable;
}

}  // namespace merritt::sampling
