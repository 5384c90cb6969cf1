// SPDX-License-Identifier: Apache-2.0
// What the samples of a run say about fairness. The gap of two tenants over an interval is how much more service, by
// weight, one got than the other in it; the worst over all intervals in which both were to be served takes one pass.
#pragma once

#include <algorithm>
#include <vector>

#include "tests/sim/simulator.hpp"

namespace merritt::sim {

// In counter units of a tenant with weight 1.
inline double dominant(const Simulator& sim, const Sample& sample, size_t tenant) {
  const uint64_t most = *std::max_element(sample.delivered.begin(), sample.delivered.end());
  return static_cast<double>(most) / std::max(sim.world().tenants[tenant].weight, 1u);
}

// Largest minus least difference within each stretch of steps after which both were still to be served.
inline double gap(const Simulator& sim, size_t a, size_t b) {
  double worst = 0, least = 0, most = 0;
  bool inside = false;
  uint64_t epochs = 0;
  for (const std::vector<Sample>& now : sim.samples()) {
    const bool both = now[a].eligible && now[b].eligible;
    const uint64_t epoch = (uint64_t{now[a].epoch} << 32) | now[b].epoch;
    const double difference = dominant(sim, now[a], a) - dominant(sim, now[b], b);
    if (both && inside && epoch == epochs) {
      least = std::min(least, difference);
      most = std::max(most, difference);
      worst = std::max(worst, most - least);
    } else {
      least = most = difference;
    }
    inside = both;
    epochs = epoch;
  }
  return worst;
}

inline double worst_gap(const Simulator& sim) {
  double worst = 0;
  for (size_t a = 0; a < sim.world().tenants.size(); ++a) {
    for (size_t b = a + 1; b < sim.world().tenants.size(); ++b) worst = std::max(worst, gap(sim, a, b));
  }
  return worst;
}

// Of the services by weight; 1 = all alike.
inline double jain(const Simulator& sim) {
  double sum = 0, squares = 0;
  const size_t n = sim.world().tenants.size();
  for (size_t t = 0; t < n; ++t) {
    const double service = dominant(sim, sim.samples().back()[t], t);
    sum += service;
    squares += service * service;
  }
  return sum * sum / (static_cast<double>(n) * squares);
}

}  // namespace merritt::sim
