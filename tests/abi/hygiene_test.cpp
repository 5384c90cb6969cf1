// SPDX-License-Identifier: Apache-2.0
// A library that is a good guest: a load, a generation and a destroy change no signal handler and no locale, print
// nothing, read no environment, and leave no thread and no descriptor behind.
#include <dlfcn.h>
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <chrono>
#include <clocale>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <set>
#include <thread>

#include "tests/support/abi_host.hpp"
#include "tests/support/temp_folder.hpp"

namespace {
std::atomic<bool> g_watch{false};
std::array<char, 256> g_asked{};  // the first variable somebody asked for while watched
char* real_getenv(const char* name) {
  for (char** entry = environ; entry != nullptr && *entry != nullptr; ++entry) {
    const size_t length = std::strlen(name);
    if (std::strncmp(*entry, name, length) == 0 && (*entry)[length] == '=') return *entry + length + 1;
  }
  return nullptr;
}
char* watched_getenv(const char* name) {
  if (g_watch.exchange(false)) std::snprintf(g_asked.data(), g_asked.size(), "%s", name);
  return real_getenv(name);
}
}  // namespace

// The library's calls arrive here, because the dynamic linker asks the program first.
extern "C" {
__attribute__((visibility("default"))) char* getenv(const char* name) noexcept { return watched_getenv(name); }
__attribute__((visibility("default"))) char* secure_getenv(const char* name) noexcept { return watched_getenv(name); }
}

namespace merritt::test {
namespace {

std::set<int> open_descriptors() {
  std::set<int> found;
  for (int fd = 0; fd < 1024; ++fd) {
    if (fcntl(fd, F_GETFD) >= 0) found.insert(fd);
  }
  return found;
}

size_t threads_of_process() {
  const std::filesystem::directory_iterator tasks("/proc/self/task");
  return static_cast<size_t>(std::distance(std::filesystem::begin(tasks), std::filesystem::end(tasks)));
}

// A thread that was joined leaves /proc a moment later.
bool is_alone() {
  for (int tries = 0; threads_of_process() != 1; ++tries) {
    if (tries == 1000) return false;
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
  }
  return true;
}

struct Surroundings {
  std::array<struct sigaction, 32> handlers{};
  std::string locale = std::setlocale(LC_ALL, nullptr);
  std::set<int> descriptors = open_descriptors();
  Surroundings() {
    for (int signal = 1; signal < 32; ++signal) sigaction(signal, nullptr, &handlers[static_cast<size_t>(signal)]);
  }
};

bool use_it(const std::string& model_path, const std::string& backend) {
  merritt_engine engine = make_engine({}, true);
  if (engine == nullptr || !load_backend(engine, backend)) return false;
  const merritt_model model = load_model(engine, model_path);
  merritt_request_options text{};
  text.text = "the and of";
  text.text_length = 10;
  text.max_tokens = 4;
  text.flags = MERRITT_REQUEST_IGNORE_EOS;
  const Generation out = generate(make_session(make_tenant(engine, "acme"), model), text);
  return merritt_engine_destroy(engine, nullptr) == MERRITT_OK && out.code == MERRITT_OK && out.tokens.size() == 1;
}

std::string differences(const Surroundings& before, const Surroundings& after) {
  std::string text;
  for (size_t signal = 1; signal < 32; ++signal) {
    if (before.handlers[signal].sa_handler != after.handlers[signal].sa_handler ||
        before.handlers[signal].sa_flags != after.handlers[signal].sa_flags) {
      text += "signal " + std::to_string(signal) + " has another handler; ";
    }
  }
  if (before.locale != after.locale) text += "the locale is " + after.locale + "; ";
  for (const int fd : after.descriptors) {
    if (before.descriptors.count(fd) != 0) continue;
    const std::string link = "/proc/self/fd/" + std::to_string(fd);
    text += "descriptor " + std::to_string(fd) + " is open: " + std::filesystem::read_symlink(link).string() + "; ";
  }
  return text;
}

class Hygiene : public ::testing::TestWithParam<const char*> {};

// In a child, whose output is caught. Used once first: a verified plugin stays mapped, and its descriptor open, for as
// long as the process lives.
TEST_P(Hygiene, NothingIsLeftChangedOrPrinted) {
  const TempFolder folder;
  const std::string model = folder.tiny_model(), report = folder.path() + "/report", output = folder.path() + "/output";
  const pid_t child = fork();
  if (child == 0) {
    alarm(60);
    const int sink = open(output.c_str(), O_CREAT | O_WRONLY | O_CLOEXEC, 0600);
    dup2(sink, STDOUT_FILENO);
    dup2(sink, STDERR_FILENO);
    std::string text;
    const std::set<int> at_first = open_descriptors();
    g_watch = true;
    if (!use_it(model, GetParam())) text += "the first use failed; ";
    for (const int fd : open_descriptors()) {
      if (at_first.count(fd) == 0 && (fcntl(fd, F_GETFD) & FD_CLOEXEC) == 0) {
        text += "descriptor " + std::to_string(fd) + " would be inherited by exec; ";
      }
    }
    const Surroundings before;
    if (!use_it(model, GetParam())) text += "the second use failed; ";
    text += differences(before, Surroundings());
    if (!is_alone()) text += std::to_string(threads_of_process()) + " threads; ";
    g_watch = false;
    if (g_asked[0] != '\0') text += std::string("the environment was asked for ") + g_asked.data() + "; ";
    std::ofstream(report) << text;
    _exit(text.empty() ? 0 : 1);
  }
  int status = 0;
  ASSERT_EQ(waitpid(child, &status, 0), child);
  const auto read = [](const std::string& path) {
    std::ifstream in(path);
    return std::string(std::istreambuf_iterator<char>(in), {});
  };
  EXPECT_TRUE(WIFEXITED(status) && WEXITSTATUS(status) == 0) << "status " << status << ": " << read(report);
  EXPECT_EQ(read(output), "") << "something was printed";
}

INSTANTIATE_TEST_SUITE_P(Backends, Hygiene, ::testing::Values("reference", "fardevice"),
                         [](const auto& param) { return std::string(param.param); });

// The watch itself works: a call of this program is seen.
TEST(HygieneWatch, SeesACallOfGetenv) {
  g_watch = true;
  const auto looked_up = reinterpret_cast<char* (*)(const char*)>(dlsym(RTLD_DEFAULT, "getenv"));
  ASSERT_NE(looked_up, nullptr);
  EXPECT_EQ(looked_up("NO_SUCH_VARIABLE"), nullptr);
  EXPECT_STREQ(g_asked.data(), "NO_SUCH_VARIABLE");
  EXPECT_FALSE(g_watch);
  g_asked = {};
}

}  // namespace
}  // namespace merritt::test
