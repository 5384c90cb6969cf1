// SPDX-License-Identifier: Apache-2.0
// What the handles of the plugin point to. Children keep pointers to their parents; the host destroys children first.
#pragma once
#include "onednn/isa.hpp"
#include "onednn/layout.hpp"
#include "onednn/model.hpp"
#include "onednn/runner.hpp"
#include "support/host.hpp"
#include "support/pool.hpp"
#include "support/staging.hpp"
#include "support/step.hpp"

struct mrt_device {
  merritt::plugin::Host host;
  merritt::onednn::IsaChoice isa;
};

struct mrt_model {
  mrt_device* device = nullptr;
  merritt::onednn::Model model;
  merritt::onednn::TileLayout layout;
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
  merritt::onednn::Runner runner;
};
