// SPDX-License-Identifier: Apache-2.0
// One round of a soak, from an engine to nothing.
#pragma once

#include "tests/soak/world.hpp"

namespace merritt::soak {

// About so many seconds of load, and the end. Deterministic in which kind of round it is.
void run_round(const Settings& settings, Report& report, uint32_t round, double seconds);

// ---- audits of an engine whose requests have all ended (audits.cpp)
// Every page of every model's pool can be had by one request. Of an engine whose tenants are all gone.
void expect_whole_pools(World& world);
// Each tenant holds nothing, and used what the clients know. Destroys the tenants.
void audit_tenants(World& world);
// The journal says of each tenant what the clients know. Of an engine whose tenants are all gone.
void audit_journal(World& world);
// Without its models, the engine holds what it held before.
void audit_memory(World& world);

}  // namespace merritt::soak
