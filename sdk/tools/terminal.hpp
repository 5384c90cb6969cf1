// SPDX-License-Identifier: Apache-2.0
//
// What the verbs print besides their output: progress of long work (only when stderr is a terminal) and numbers people
// can read.
#pragma once

#include <chrono>
#include <cstdint>
#include <string>
#include <string_view>

namespace merritt::tools {

// One line on stderr that is rewritten in place and wiped at the end of the scope; silent when stderr is no terminal.
class Progress {
 public:
  explicit Progress(std::string what);
  ~Progress();
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;
  void at(float fraction);

 private:
  std::string what_;
  bool shown_ = false;
  int last_percent_ = -1;
};

bool stdout_is_terminal();
bool stderr_is_terminal();
// "253.1 MB"
std::string human_bytes(uint64_t bytes);
// printf into a string
std::string format(const char* pattern, ...) __attribute__((format(printf, 1, 2)));
// Writes to stdout and flushes, so that a reader sees each token as it comes.
void emit(std::string_view text);
// All of stdin, byte for byte.
std::string read_stdin();

class Stopwatch {
 public:
  double seconds() const { return std::chrono::duration<double>(std::chrono::steady_clock::now() - start_).count(); }

 private:
  std::chrono::steady_clock::time_point start_ = std::chrono::steady_clock::now();
};

}  // namespace merritt::tools
