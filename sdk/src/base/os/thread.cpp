// SPDX-License-Identifier: Apache-2.0
#include "base/os/thread.hpp"

#include <pthread.h>
#include <signal.h>

#include <string>
#include <system_error>

#include "base/os/cpu.hpp"

namespace merritt::os {

Result<std::thread> start_thread(const char* name, std::function<void()> body) {
  sigset_t all, before;
  sigfillset(&all);
  // A thread begins with the mask of the one that makes it.
  pthread_sigmask(SIG_SETMASK, &all, &before);
  std::thread thread;
  std::string failure;
  try {
    thread = std::thread([label = std::string(name), run = std::move(body)] {
      name_this_thread(label.c_str());
      run();
    });
  } catch (const std::system_error& error) {
    failure = error.what();
  }
  pthread_sigmask(SIG_SETMASK, &before, nullptr);
  if (!thread.joinable()) return Status(Code::kOverloaded, "no thread to be had: " + failure);
  return thread;
}

}  // namespace merritt::os
