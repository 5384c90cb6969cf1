// SPDX-License-Identifier: Apache-2.0
// Shares of a step's FLOPs: attention's are counted, at one length.
#include <gtest/gtest.h>

#include <map>
#include <sstream>

#include "tests/support/small_engine.hpp"

namespace merritt::test {
namespace {

TEST(Trace, CountsAttention) {
  SmallEngine engine;
  ASSERT_NE(engine.load_backend("reference"), nullptr);
  const auto model = engine.load_model("reference");
  ASSERT_TRUE(model.ok());
  for (const uint32_t row_class : {0u, 1u}) {
    const auto trace = (*model)->compiled->trace(*(*model)->file, row_class);
    ASSERT_TRUE(trace.ok()) << trace.status().message();
    std::istringstream lines(*trace);
    std::map<std::string, double> shares;
    std::string index, op, kernel;
    double share = 0, sum = 0, windowed = 0, global = 0;
    while (lines >> index >> op >> kernel >> share) {
      shares[op] += share;
      sum += share;
      if (op == "attention") (windowed == 0 ? windowed : global) = share;  // the last one is global
    }
    EXPECT_NEAR(sum, 1, 1e-3);
    EXPECT_GT(shares["attention"], 0.05);
    EXPECT_GT(shares["linear"], 0.05);
    EXPECT_GT(global, windowed);
    EXPECT_EQ(shares["rope"], 0);
  }
}

}  // namespace
}  // namespace merritt::test
