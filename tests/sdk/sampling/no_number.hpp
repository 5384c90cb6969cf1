// SPDX-License-Identifier: Apache-2.0
#pragma once
#include <limits>

namespace merritt::sampling {

inline constexpr float kInf = std::numeric_limits<float>::infinity();
inline constexpr float kNan = std::numeric_limits<float>::quiet_NaN();

}  // namespace merritt::sampling
