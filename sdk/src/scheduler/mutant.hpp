// SPDX-License-Identifier: Apache-2.0
// Schedulers that are wrong on purpose. tests/sim builds these sources once more for each, with MERRITT_MUTANT defined,
// and expects a case that fails: a test that cannot tell them from the real one proves nothing.
#pragma once

#include <cstdint>

namespace merritt::scheduler {

enum class Mutant : uint32_t {
  kNone,
  kNoLift,
  kNoLiftAfterCeiling,
  kChargeAtEnd,
  kInputOnly,
  kNoRefund,
  kFcfs,
  kNoCeilings,
  kRestStays,
  kSequencesStay
};

#ifdef MERRITT_MUTANT
inline constexpr Mutant kMutant = Mutant::MERRITT_MUTANT;
#else
inline constexpr Mutant kMutant = Mutant::kNone;
#endif
// First come, first served is what engines without tenants do: they have no ceilings either.
inline constexpr bool kWithoutCeilings = kMutant == Mutant::kNoCeilings || kMutant == Mutant::kFcfs;

}  // namespace merritt::scheduler
