// SPDX-License-Identifier: Apache-2.0
// A test fixture that runs once for every plugin found.
#pragma once
#include <gtest/gtest.h>

#include "tests/plugins/harness/rig.hpp"

namespace merritt::testing {

class EachPlugin : public ::testing::TestWithParam<std::string> {
 protected:
  const PluginLibrary& plugin() const { return plugin_named(GetParam()); }
};

inline std::vector<std::string> plugin_names() {
  std::vector<std::string> names;
  for (const PluginLibrary& p : plugins()) names.push_back(p.name);
  return names;
}
inline std::string plugin_test_name(const ::testing::TestParamInfo<std::string>& p) { return p.param; }

/// Token ids of a seed, below vocab.
inline std::vector<uint32_t> random_tokens(uint64_t seed, uint32_t n, uint32_t vocab) {
  std::vector<uint32_t> out;
  for (const float v : noise(seed, n, 0.5f))
    out.push_back(static_cast<uint32_t>((v + 0.5f) * static_cast<float>(vocab)));
  return out;
}

}  // namespace merritt::testing

#define MERRITT_EACH_PLUGIN(Suite)                                                             \
  INSTANTIATE_TEST_SUITE_P(On, Suite, ::testing::ValuesIn(::merritt::testing::plugin_names()), \
                           ::merritt::testing::plugin_test_name)
