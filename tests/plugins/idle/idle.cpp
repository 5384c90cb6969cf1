// SPDX-License-Identifier: Apache-2.0
// The reference plugin whose steps compute nothing: the logits are what they were. What a step of an engine then costs
// is the engine's own part, with the checks of the step that every plugin makes.
#include "reference/plugin.hpp"

namespace {

struct Idle : merritt::plugin::reference::Plugin {
  static int32_t step_run(mrt_program* program, uint32_t, mrt_error* err) {
    MERRITT_PLUGIN_TRY(program->slot.start(err));
    program->slot.finish(mrt_error{});
    return MRT_OK;
  }
};

}  // namespace

MERRITT_PLUGIN(Idle)
