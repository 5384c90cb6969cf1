// SPDX-License-Identifier: Apache-2.0
// Random load on one engine after another, by several threads over the C ABI, for as long as it is told; after each
// round everything has to be back and every count has to be right. Its last line is a JSON object; exit status 1 when
// anything was not as it should be. The seed draws what each thread does, not how the threads meet.
//
//   soak --seconds N --seed S --plugin reference|onednn|fardevice --model FILE
#include <algorithm>
#include <charconv>
#include <cmath>
#include <cstdio>
#include <string_view>
#include <thread>

#include "tests/soak/patience.hpp"
#include "tests/soak/process.hpp"
#include "tests/soak/round.hpp"

namespace merritt::soak {
namespace {

constexpr double kRoundSeconds = 20;
constexpr uint32_t kRoundsLeast = 3;  // however short it is: every ending once
constexpr uint64_t kMiB = uint64_t{1} << 20;
// From the second round on. A sanitizer keeps what was freed, and shadows of what was ever used.
#ifdef MERRITT_SANITIZED
constexpr uint64_t kResidentGrowthMost = 512 * kMiB;
#else
constexpr uint64_t kResidentGrowthMost = 48 * kMiB;
#endif
constexpr uint64_t kHeapGrowthMost = kMiB;

struct Options {
  Settings settings;
  double seconds = 10;
};

bool parse(int argc, char** argv, Options* out) {
  out->settings.model = test::stories_path();
  for (int i = 1; i + 1 < argc; i += 2) {
    const std::string_view name = argv[i], value = argv[i + 1];
    const auto number = [&](auto* to) {
      return std::from_chars(value.data(), value.data() + value.size(), *to).ptr == value.data() + value.size();
    };
    if (name == "--seconds" && number(&out->seconds)) continue;
    if (name == "--seed" && number(&out->settings.seed)) continue;
    if (name == "--plugin" && (value == "reference" || value == "onednn" || value == "fardevice")) {
      out->settings.plugin = value;
      continue;
    }
    if (name == "--model" && !value.empty()) {
      out->settings.model = value;
      continue;
    }
    return false;
  }
  return argc % 2 == 1 && out->seconds > 0;
}

// A thread that was joined may stand in /proc for a moment longer.
void expect_back(Report& report, const char* what, uint64_t (*now)(), uint64_t before) {
  (void)wait_for([&] { return now() == before; });
  report.expect_equal(now(), before, what);
}

void expect_no_growth(Report& report, const char* what, uint64_t now, uint64_t before, uint64_t most) {
  if (now <= before + most) return;
  report.fail(std::string(what) + " grew from " + std::to_string(before) + " after the second round to " +
              std::to_string(now));
}

int soak(const Options& options) {
  Report report(options.settings.seed);
  std::thread([] {}).join();  // with the first one ThreadSanitizer begins its own
  const uint64_t threads = threads_now();
  double spent = 0;  // in rounds, without their ends
  const double round_seconds = std::min(kRoundSeconds, options.seconds / kRoundsLeast);
  uint64_t descriptors = 0, resident = 0, heap = 0;
  uint32_t rounds = 0;
  for (; report.failures() == 0 && (rounds < kRoundsLeast || spent + 0.001 < options.seconds); ++rounds) {
    run_round(options.settings, report, rounds, round_seconds);
    spent += round_seconds;
    expect_back(report, "threads after a round", &threads_now, threads);
    malloc_trim(0);
    if (rounds == 0) descriptors = descriptors_now();
    expect_back(report, "descriptors after a round", &descriptors_now, descriptors);
    if (rounds == 1) {
      resident = resident_bytes();
      heap = heap_bytes();
    } else if (rounds > 1) {
      expect_no_growth(report, "resident memory", resident_bytes(), resident, kResidentGrowthMost);
      expect_no_growth(report, "the heap", heap_bytes(), heap, kHeapGrowthMost);
    }
  }
  const std::string line =
      "{\"seed\":" + std::to_string(options.settings.seed) + ",\"plugin\":\"" + options.settings.plugin +
      "\",\"rounds\":" + std::to_string(rounds) + ",\"seconds\":" + std::to_string(std::llround(spent)) +
      ",\"resident_bytes\":" + std::to_string(resident_bytes()) + ",\"heap_bytes\":" + std::to_string(heap_bytes()) +
      ",\"failures\":" + std::to_string(report.failures()) + "," + report.json() + "}\n";
  (void)std::fputs(line.c_str(), stdout);
  return report.failures() == 0 ? 0 : 1;
}

}  // namespace
}  // namespace merritt::soak

int main(int argc, char** argv) {
  merritt::soak::Options options;
  if (!merritt::soak::parse(argc, argv, &options)) {
    (void)std::fputs("usage: soak [--seconds N] [--seed S] [--plugin reference|onednn|fardevice] [--model FILE]\n",
                     stderr);
    return 2;
  }
  return merritt::soak::soak(options);
}
