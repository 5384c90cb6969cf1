// SPDX-License-Identifier: Apache-2.0
// Each wrong scheduler fails the case that is there for it, and the one that ships passes it.
#include <gtest/gtest.h>
#include <sys/wait.h>

#include <cstdio>
#include <string>

namespace {

struct Ran {
  int code = -1;
  std::string output;
};

Ran run(const std::string& program, const std::string& name) {
  Ran ran;
  FILE* pipe = ::popen(("\"" + program + "\" --gtest_color=no --gtest_filter=" + name + " 2>&1").c_str(), "r");
  if (pipe == nullptr) return ran;
  char buffer[4096];
  for (size_t n = 0; (n = std::fread(buffer, 1, sizeof(buffer), pipe)) != 0;) ran.output.append(buffer, n);
  const int status = ::pclose(pipe);
  ran.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return ran;
}

struct Mutant {
  const char* name;
  const char* fails;
};

class Mutants : public testing::TestWithParam<Mutant> {};

TEST_P(Mutants, FailTheirCase) {
  const auto [name, fails] = GetParam();
  const Ran mutant = run(std::string(MERRITT_PROGRAMS) + "/mutant_" + name, fails);
  EXPECT_EQ(mutant.code, 1) << mutant.output;
  EXPECT_NE(mutant.output.find(std::string("[  FAILED  ] ") + fails + "\n"), std::string::npos) << mutant.output;
  const Ran shipped = run(MERRITT_SHIPPED, fails);
  EXPECT_EQ(shipped.code, 0) << shipped.output;
  EXPECT_NE(shipped.output.find("[  PASSED  ] 1 test."), std::string::npos) << shipped.output;
}

INSTANTIATE_TEST_SUITE_P(All, Mutants,
                         testing::Values(Mutant{"kNoLift", "Theorem.WhoReturnsFromIdlenessHasNotSavedUp"},
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
