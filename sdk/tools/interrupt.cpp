// SPDX-License-Identifier: Apache-2.0
#include "interrupt.hpp"

#include <signal.h>
#include <unistd.h>

#include <atomic>

namespace merritt::tools {
namespace {

std::atomic<int> g_interrupts{0};
static_assert(std::atomic<int>::is_always_lock_free);

void on_interrupt(int) {
  constexpr int kFailed = 1;
  if (g_interrupts.fetch_add(1) >= 1) _exit(kFailed);
}

void install() {
  struct sigaction action {};
  action.sa_handler = on_interrupt;  // without SA_RESTART, so that a read at the prompt returns
  sigemptyset(&action.sa_mask);
  sigaction(SIGINT, &action, nullptr);
}

}  // namespace

void end_on_interrupt() {
  g_interrupts.store(1);
  install();
}

void watch_interrupts() {
  g_interrupts.store(0);
  install();
}

bool interrupted() { return g_interrupts.load() != 0; }
void forget_interrupts() { g_interrupts.store(0); }

}  // namespace merritt::tools
