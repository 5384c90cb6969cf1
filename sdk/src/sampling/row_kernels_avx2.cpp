// SPDX-License-Identifier: Apache-2.0
#include "sampling/lanes_avx2.hpp"
// The lanes come first.
#include "sampling/row_kernels_impl.hpp"

namespace merritt::sampling {

const RowKernels& row_kernels_avx2() {
  static constexpr RowKernels kTable = table("avx2");
  return kTable;
}

}  // namespace merritt::sampling
