// SPDX-License-Identifier: Apache-2.0
// What the handles of the reference plugin point to. Children keep pointers to their parents; the host destroys
// children first.
#pragma once
#include "reference/math/model.hpp"
#include "reference/math/runner.hpp"
#include "support/host.hpp"
#include "support/pool.hpp"
#include "support/staging.hpp"
#include "support/step.hpp"

struct mrt_device {
  merritt::plugin::Host host;
};

struct mrt_model {
  mrt_device* device = nullptr;
  merritt::plugin::reference::Model model;
  merritt::plugin::PlainLayout layout;
};

struct mrt_pool {
  mrt_model* model = nullptr;
  merritt::plugin::Pool pool;
};

struct mrt_program {
  mrt_model* model = nullptr;
  merritt::plugin::Staging staging;
  merritt::plugin::StepChecker checker;
  merritt::plugin::SlotState slot;
  merritt::plugin::reference::Runner runner;
};
