// SPDX-License-Identifier: Apache-2.0
// Each wrong scheduler fails the case that is there for it, and the one that ships passes it.
#include <gtest/gtest.h>

#include <string>

#include "tests/support/run_case.hpp"

namespace merritt::testing {
namespace {

struct Mutant {
  const char* name;
  const char* fails;
};

class Mutants : public ::testing::TestWithParam<Mutant> {};

TEST_P(Mutants, FailTheirCase) {
  const auto [name, fails] = GetParam();
  const CaseRun mutant = run_case(std::string(MERRITT_PROGRAMS) + "/mutant_" + name, fails);
  EXPECT_EQ(mutant.code, 1) << mutant.output;
  EXPECT_NE(mutant.output.find(std::string("[  FAILED  ] ") + fails + "\n"), std::string::npos) << mutant.output;
  const CaseRun shipped = run_case(MERRITT_SHIPPED, fails);
  EXPECT_EQ(shipped.code, 0) << shipped.output;
  EXPECT_NE(shipped.output.find("[  PASSED  ] 1 test."), std::string::npos) << shipped.output;
}

INSTANTIATE_TEST_SUITE_P(All, Mutants,
                         ::testing::Values(Mutant{"kNoLift", "Theorem.WhoReturnsFromIdlenessHasNotSavedUp"},
                                           Mutant{"kNoLiftAfterCeiling",
                                                  "Theorem.WhoReturnsFromItsOwnCeilingHasNotSavedUp"},
                                           Mutant{"kChargeAtEnd", "Theorem.TightOnTheCommittedTrace"},
                                           Mutant{"kInputOnly", "Theorem.TightOnTheCommittedTrace"},
                                           Mutant{"kNoRefund", "Theorem.CancelledPromptsPayForWhatRan"},
                                           Mutant{"kFcfs", "Theorem.TightOnTheCommittedTrace"},
                                           Mutant{"kFcfs", "Neighbour.AFloodOfRequestsDoesNotHarm"},
                                           Mutant{"kFcfs", "Neighbour.AMemoryHogDoesNotHarm"},
                                           Mutant{"kNoCeilings", "Neighbour.AFloodOfRequestsDoesNotHarm"},
                                           Mutant{"kNoCeilings", "Neighbour.AMemoryHogDoesNotHarm"},
                                           Mutant{"kRestStays", "Neighbour.AHoardOfIdleSessionsDoesNotHarm"},
                                           Mutant{"kSequencesStay", "Neighbour.TenantsThatRunAllSequencesDoNotHarm"}),
                         [](const auto& one) {
                           const std::string fails = one.param.fails;
                           return one.param.name + ("_" + fails.substr(fails.find('.') + 1));
                         });

}  // namespace
}  // namespace merritt::testing
