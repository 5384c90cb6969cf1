// SPDX-License-Identifier: Apache-2.0
// Internal to the parser: the tables of ops and attributes, and the shape rules of each op.
#pragma once
#include "support/plan.hpp"

namespace merritt::plugin {

struct OpRule {
  uint32_t op;
  const char* name;
  uint32_t min_args, max_args;  // positions; optional ones may also be MRT_REF_NONE
  uint64_t attributes;          // bit set: see attribute_bit
};
const OpRule* op_rule(uint32_t op) noexcept;

/// A bit for each known key, 0 for an unknown one.
uint64_t attribute_bit(uint32_t key) noexcept;

/// Stores one attribute into the typed set; checks range and enumerators.
int32_t set_attribute(uint32_t node, const char* op, const mrt_attr& attr, Attributes* a, mrt_error* err) noexcept;

/// Checks arguments, attributes, rows and width of nodes[i] against its op; resolves defaults and collects the inputs
/// the graph reads. Earlier nodes are already checked.
int32_t check_node(Plan* plan, uint32_t i, mrt_error* err) noexcept;

/// Derives groups and layers; called once after all nodes are checked.
int32_t derive_groups(Plan* plan, mrt_error* err);
/// Fills needed_by and last_use.
void derive_uses(Plan* plan);

}  // namespace merritt::plugin
