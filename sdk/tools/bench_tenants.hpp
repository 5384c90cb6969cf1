// SPDX-License-Identifier: Apache-2.0
//
// The part of `merritt bench` that has tenants.
#pragma once

#include <string>

#include "engine_flags.hpp"

namespace merritt::tools {

struct TenantBenchFlags {
  std::string spec;    // JSON file; empty = not asked for
  std::string report;  // HTML file to write; empty = none
  bool json = false;
};

int bench_tenants(const ModelFlags& model_flags, const TenantBenchFlags& flags);

}  // namespace merritt::tools
