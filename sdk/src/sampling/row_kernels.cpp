// SPDX-License-Identifier: Apache-2.0
#include "sampling/row_kernels.hpp"

#include <algorithm>
#include <initializer_list>

#include "base/os/cpu.hpp"
#include "merritt/backend.h"

namespace merritt::sampling {
namespace {

bool has(std::initializer_list<const char*> names) {
  return std::all_of(names.begin(), names.end(), [](const char* name) { return os::has_cpu_feature(name); });
}

const RowKernels& widest(uint32_t isa_max) {
  if (!has({"avx2", "fma", "f16c", "bmi2"})) return row_kernels_portable();  // what *_avx2.cpp is compiled for
  const bool avx512 = isa_max != MRT_ISA_AVX2 && has({"avx512f", "avx512bw", "avx512dq", "avx512vl"});
  return avx512 ? row_kernels_avx512() : row_kernels_avx2();
}

}  // namespace

const RowKernels& row_kernels(uint32_t isa_max) {
  static const RowKernels& any = widest(MRT_ISA_ANY);
  return isa_max == MRT_ISA_AVX2 ? widest(isa_max) : any;
}

}  // namespace merritt::sampling
