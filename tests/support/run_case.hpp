// SPDX-License-Identifier: Apache-2.0
// One case of a GoogleTest program, run in a process of its own.
#pragma once

#include <sys/wait.h>

#include <cstdio>
#include <filesystem>
#include <string>

namespace merritt::testing {

struct CaseRun {
  int code = -1;  // the exit status; -1: none, a signal ended it
  std::string output;
  bool ran() const { return output.find("[==========] 1 test from 1 test suite ran.") != std::string::npos; }
};

// `variable`: one more for its environment, NAME=VALUE. Which of several shards this process is, is not its concern.
inline CaseRun run_case(const std::string& program, const std::string& name, const std::string& variable = "") {
  CaseRun run;
  const std::string command = "env -u GTEST_TOTAL_SHARDS -u GTEST_SHARD_INDEX " + variable + " '" + program +
                              "' --gtest_color=no --gtest_filter=" + name + " 2>&1";
  FILE* const pipe = ::popen(command.c_str(), "r");
  if (pipe == nullptr) return run;
  char buffer[4096];
  for (size_t n = 0; (n = std::fread(buffer, 1, sizeof(buffer), pipe)) != 0;) run.output.append(buffer, n);
  const int status = ::pclose(pipe);
  run.code = WIFEXITED(status) ? WEXITSTATUS(status) : -1;
  return run;
}

inline std::string this_program() { return std::filesystem::read_symlink("/proc/self/exe").string(); }

}  // namespace merritt::testing
