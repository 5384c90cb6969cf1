// SPDX-License-Identifier: Apache-2.0
#include "sampling/lanes_portable.hpp"
// The lanes come first.
#include "sampling/row_kernels_impl.hpp"

namespace merritt::sampling {

const RowKernels& row_kernels_portable() {
  static constexpr RowKernels kTable = table("portable");
  return kTable;
}

}  // namespace merritt::sampling
