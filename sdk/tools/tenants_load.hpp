// SPDX-License-Identifier: Apache-2.0
//
// Puts the load of a LoadSpec on an engine: for each tenant a thread that sends what is due and reads it all through
// one queue.
#pragma once

#include <merritt/merritt.hpp>

#include "tenants_figures.hpp"
#include "tenants_spec.hpp"

namespace merritt::tools {

LoadFigures run_load(Engine& engine, Model& model, const LoadSpec& spec);

}  // namespace merritt::tools
