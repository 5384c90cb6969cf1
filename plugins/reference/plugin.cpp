// SPDX-License-Identifier: Apache-2.0
// The reference plugin: the oracle every other plugin is compared with. Plain definitions, double sums, every op and
// weight type of the ABI; never optimised.
#include "reference/plugin.hpp"

MERRITT_PLUGIN(merritt::plugin::reference::Plugin)
