// SPDX-License-Identifier: Apache-2.0
// The loads of the tests: pools, tenants and arrivals, from a seed.
#pragma once

#include <fstream>
#include <random>
#include <sstream>

#include "tests/sim/simulator.hpp"

namespace merritt::sim {

inline constexpr uint32_t kPoolTokens = 4096, kPageTokens = 16;

// One resource, no ceiling: a unit of service is a token of prompt.
inline World one_resource() {
  World world;
  world.limits = {.step_tokens_max = 512, .sequences_max = 16, .rows_max = 16};
  world.limits.costs = {.prompt_token = 1, .generated_token = 2, .compute_price = 1, .pages = false};
  world.shapes = {{.window = 0, .page_tokens = kPageTokens, .n_pages = kPoolTokens / kPageTokens, .page_bytes = 16}};
  return world;
}

class Dice {
 public:
  explicit Dice(uint64_t seed) : random_(seed) {}
  uint32_t from(uint32_t least, uint32_t most) { return least + static_cast<uint32_t>(random_() % (most - least + 1)); }

 private:
  std::mt19937_64 random_;  // its numbers are the standard's, those of the distributions are not
};

struct Load {
  uint32_t tenant = 0, requests = 0, live = 0;  // live 0 = all at once
  uint32_t prompt_least = 0, prompt_most = 0, output_least = 0, output_most = 0;
  uint64_t step = 1;
  uint32_t spacing = 0;  // steps from one to the next
};

inline void add_load(World& world, Dice& dice, const Load& load) {
  for (uint32_t i = 0; i < load.requests; ++i) {
    world.arrivals.push_back({.step = load.step + uint64_t{i} * load.spacing,
                              .tenant = load.tenant,
                              .prompt = dice.from(load.prompt_least, load.prompt_most),
                              .output = dice.from(load.output_least, load.output_most),
                              .live = load.live});
  }
}

enum class Shape { kEven, kWeights, kLengths, kReturn, kBursts, kFlood };
inline constexpr Shape kShapes[] = {Shape::kEven,   Shape::kWeights, Shape::kLengths,
                                    Shape::kReturn, Shape::kBursts,  Shape::kFlood};

// Four tenants that keep a queue.
inline World world_of(Shape shape, uint64_t seed) {
  World world = one_resource();
  Dice dice(seed);
  world.tenants.resize(4);
  constexpr uint32_t kWeights[] = {1, 2, 4, 1};
  for (uint32_t t = 0; t < 4; ++t) {
    Load load{.tenant = t,
              .requests = 500,
              .live = 12,
              .prompt_least = 16,
              .prompt_most = 512,
              .output_least = 16,
              .output_most = 256};
    if (shape == Shape::kWeights) world.tenants[t].weight = kWeights[t];
    if (shape == Shape::kLengths && t == 0) load.prompt_least = 480, load.output_most = 32;
    if (shape == Shape::kLengths && t == 1) load.prompt_most = 48, load.output_least = 200;
    if (shape == Shape::kReturn && t == 3) {
      load.requests = 10;
      add_load(world, dice, load);
      load.requests = 500;
      load.step = 1500;
    }
    if (shape == Shape::kBursts) load.live = 40, load.spacing = dice.from(2, 20);
    if (shape == Shape::kFlood && t == 0) load.live = 60;
    if (shape == Shape::kFlood && t != 0) load.live = 6;
    add_load(world, dice, load);
  }
  return world;
}

// Lines of "tenant prompt output live"; all may arrive from the first step on.
inline World world_of_trace(const std::string& path) {
  World world = one_resource();
  world.tenants.resize(4);
  std::ifstream file(path);
  for (std::string line; std::getline(file, line);) {
    if (line.empty() || line[0] == '#') continue;
    std::istringstream in(line);
    Arrival a{.step = 1};
    in >> a.tenant >> a.prompt >> a.output >> a.live;
    world.arrivals.push_back(a);
  }
  return world;
}

}  // namespace merritt::sim
