// SPDX-License-Identifier: Apache-2.0
// Which instruction set a device uses: the widest that CPU, kernel and the host's cap allow. The permission for AMX is
// asked for once per process here; a refusal is an answer, not an error.
#pragma once
#include <cstdint>

#include "onednn/kernels.hpp"
#include "support/host.hpp"

namespace merritt::onednn {

struct IsaChoice {
  uint32_t level = 0;                // MRT_ISA_*
  const Kernels* kernels = nullptr;  // of that level (AMX: those of VNNI)
  bool library = false;              // the library's matrix kernels fit under the level
  bool library_bf16 = false;         // and it has bf16 ones
};

/// MRT_ISA_*, MRT_ISA_ANY when below AVX2.
uint32_t cpu_level() noexcept;

/// Of a level from AVX2 to AMX, as this CPU's memory is best read; null for any other.
const Kernels* kernels_of(uint32_t level) noexcept;

/// Chooses for a device; MRT_UNSUPPORTED when the CPU or the cap is below AVX2.
int32_t choose_isa(const plugin::Host& host, IsaChoice* out, mrt_error* err);

}  // namespace merritt::onednn
