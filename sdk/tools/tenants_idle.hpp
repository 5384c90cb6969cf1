// SPDX-License-Identifier: Apache-2.0
//
// Tenants that are there and want nothing: each has one session, on which a short request has run.
#pragma once

#include <cstdint>
#include <merritt/merritt.hpp>
#include <vector>

#include "tenants_figures.hpp"

namespace merritt::tools {

class IdleTenants {
 public:
  // Throws Failure: of the engine, or because this C library does not tell what is allocated.
  IdleTenants(Engine& engine, Model& model, uint32_t count);
  // What they hold by now: others may have taken their KV.
  IdleFigures figures() const;

 private:
  std::vector<Tenant> tenants_;
  std::vector<Session> sessions_;
  double heap_bytes_ = 0;
};

}  // namespace merritt::tools
