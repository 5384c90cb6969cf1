// SPDX-License-Identifier: Apache-2.0
//
// What every verb of the `merritt` command shares: how it registers, how it fails, and its exit codes. Text and data go
// to stdout, everything else to stderr. A verb is one file; main.cpp lists them.
#pragma once

#include <CLI/CLI.hpp>
#include <functional>
#include <merritt/merritt.hpp>
#include <stdexcept>
#include <string>

namespace merritt::tools {

constexpr int kExitOk = 0;
constexpr int kExitFailed = 1;
constexpr int kExitUsage = 2;

// Ends the verb: main prints the text, which says what to do, and exits with the code.
class Failure : public std::runtime_error {
 public:
  explicit Failure(const std::string& text, int exit_code = kExitFailed)
      : std::runtime_error(text), exit_code_(exit_code) {}
  int exit_code() const { return exit_code_; }

 private:
  int exit_code_;
};

// The value, or a Failure that says what was being done, why it failed and what to try.
template <typename T>
T expect(Result<T> result, const std::string& doing);
void expect(Result<void> result, const std::string& doing);
Failure failure_of(const Error& error, const std::string& doing);

template <typename T>
T expect(Result<T> result, const std::string& doing) {
  if (!result) throw failure_of(result.error(), doing);
  return std::move(result).value();
}

// A Failure whose second line says what to do about it.
Failure with_fix(const std::string& text, const std::string& fix, int exit_code = kExitFailed);
// Fails with the problem and its fix unless there is none.
void require(const std::string& problem, const std::string& fix);

// The verb the command line chose.
using Verb = std::function<int()>;

void add_run(CLI::App& app, Verb& verb);
void add_chat(CLI::App& app, Verb& verb);
void add_tokenize(CLI::App& app, Verb& verb);
void add_detokenize(CLI::App& app, Verb& verb);
void add_eval(CLI::App& app, Verb& verb);
void add_bench(CLI::App& app, Verb& verb);
void add_inspect(CLI::App& app, Verb& verb);
void add_backends(CLI::App& app, Verb& verb);
void add_plugin(CLI::App& app, Verb& verb);
void add_doctor(CLI::App& app, Verb& verb);
void add_demo(CLI::App& app, Verb& verb);

}  // namespace merritt::tools
