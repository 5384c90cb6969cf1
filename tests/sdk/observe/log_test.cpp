// SPDX-License-Identifier: Apache-2.0
#include "observe/log.hpp"

#include <gtest/gtest.h>
#include <unistd.h>

#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "base/limits.hpp"

namespace merritt::observe {
namespace {

struct Records {
  std::mutex mutex;
  std::vector<std::pair<uint32_t, std::string>> list;
  static void add(void* user, uint32_t level, const char* text, size_t length) {
    auto& self = *static_cast<Records*>(user);
    const std::lock_guard lock(self.mutex);
    self.list.emplace_back(level, std::string(text, length));
  }
};

TEST(LogTest, RecordsReachTheHostFromTheirLevelUp) {
  Records records;
  Log log(LogLevel::kWarning, {&Records::add, &records});
  log.debug("debug");
  log.info("info");
  log.warning("braces {} and {0:x} are text");
  log.error("error");
  ASSERT_EQ(records.list.size(), 2u);
  EXPECT_EQ(records.list[0], std::pair(2u, std::string("braces {} and {0:x} are text")));
  EXPECT_EQ(records.list[1], std::pair(3u, std::string("error")));
  EXPECT_FALSE(log.enabled(LogLevel::kInfo));
}

TEST(LogTest, WithoutACallbackRecordsAreDropped) {
  Log log(LogLevel::kDebug, {});
  EXPECT_FALSE(log.enabled(LogLevel::kError));
  log.error("nobody");
}

TEST(LogTest, ARecordCannotForgeAnother) {
  Records records;
  Log log(LogLevel::kDebug, {&Records::add, &records});
  log.info("one\ntwo\r\x1b[2J");
  log.info(std::string(limits::kLogRecordBytesMax + 100, 'x'));
  ASSERT_EQ(records.list.size(), 2u);
  EXPECT_EQ(records.list[0].second, "one two  [2J");
  EXPECT_EQ(records.list[1].second.size(), limits::kLogRecordBytesMax);
}

TEST(LogTest, SeveralLogsDoNotMeet) {
  Records a, b;
  Log one(LogLevel::kDebug, {&Records::add, &a});
  {
    Log two(LogLevel::kError, {&Records::add, &b});
    two.error("two");
  }
  std::vector<std::thread> threads;
  for (int t = 0; t < 4; ++t) {
    threads.emplace_back([&] {
      for (int i = 0; i < 100; ++i) one.info("whole record");
    });
  }
  for (std::thread& thread : threads) thread.join();
  EXPECT_EQ(a.list.size(), 400u);
  for (const auto& [level, text] : a.list) EXPECT_EQ(text, "whole record");
  EXPECT_EQ(b.list.size(), 1u);
}

TEST(LogTest, ACallbackThatThrowsHarmsNobodyAndNothingIsPrinted) {
  testing::internal::CaptureStderr();
  testing::internal::CaptureStdout();
  Log log(LogLevel::kDebug, {[](void*, uint32_t, const char*, size_t) { throw 42; }, nullptr});
  Log other(LogLevel::kDebug, {[](void*, uint32_t, const char*, size_t) { throw std::runtime_error("x"); }, nullptr});
  log.error("text");
  other.error("text");
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
  EXPECT_EQ(testing::internal::GetCapturedStdout(), "");
}

}  // namespace
}  // namespace merritt::observe
