// SPDX-License-Identifier: Apache-2.0
#include "base/os/cpu.hpp"

#if defined(__x86_64__)
#include <cpuid.h>
#endif
#include <pthread.h>
#include <sched.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <memory>

#include "base/os/file.hpp"

namespace merritt::os {
namespace {

enum Register : uint8_t { kEbx7, kEcx7, kEdx7, kEax71, kEcx1, kRegisters };
// State components the kernel must save: SSE and AVX; opmask and the ZMM halves too; tiles.
constexpr uint64_t kAvxState = 0x6, kAvx512State = 0xE6, kAmxState = 0x60000;

struct Feature {
  const char* name;
  Register where;
  uint8_t bit;
  uint64_t state;
};
constexpr Feature kFeatures[] = {
    {"avx2", kEbx7, 5, kAvxState},
    {"fma", kEcx1, 12, kAvxState},
    {"f16c", kEcx1, 29, kAvxState},
    {"bmi2", kEbx7, 8, 0},
    {"avx512f", kEbx7, 16, kAvx512State},
    {"avx512bw", kEbx7, 30, kAvx512State},
    {"avx512dq", kEbx7, 17, kAvx512State},
    {"avx512vl", kEbx7, 31, kAvx512State},
    {"avx512_vnni", kEcx7, 11, kAvx512State},
    {"avx512_vbmi", kEcx7, 1, kAvx512State},
    {"avx512_bf16", kEax71, 5, kAvx512State},
    {"amx_tile", kEdx7, 24, kAmxState},
    {"amx_int8", kEdx7, 25, kAmxState},
    {"amx_bf16", kEdx7, 22, kAmxState},
};

struct CpuState {
  uint32_t registers[kRegisters] = {};
  uint64_t saved = 0;  // XCR0
};

CpuState read_cpu() {
  CpuState cpu;
#if defined(__x86_64__)
  constexpr uint32_t kOsXsave = 1u << 27;
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid(1, &a, &b, &c, &d) == 0) return cpu;
  cpu.registers[kEcx1] = c;
  if ((c & kOsXsave) != 0) {
    uint32_t low = 0, high = 0;
    __asm__ volatile("xgetbv" : "=a"(low), "=d"(high) : "c"(0));
    cpu.saved = uint64_t{high} << 32 | low;
  }
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0) return cpu;
  const uint32_t subleaves = a;
  cpu.registers[kEbx7] = b;
  cpu.registers[kEcx7] = c;
  cpu.registers[kEdx7] = d;
  if (subleaves >= 1 && __get_cpuid_count(7, 1, &a, &b, &c, &d) != 0) cpu.registers[kEax71] = a;
#endif
  return cpu;
}

bool offers(const CpuState& cpu, const Feature& feature) {
  return (cpu.registers[feature.where] >> feature.bit & 1) != 0 && (cpu.saved & feature.state) == feature.state;
}

uint32_t affinity_count() {
  // The kernel refuses a set smaller than its own, so it grows until it fits.
  for (int cpus = 1024; cpus <= 1 << 18; cpus *= 4) {
    cpu_set_t* set = CPU_ALLOC(static_cast<size_t>(cpus));
    if (set == nullptr) return 1;
    const size_t bytes = CPU_ALLOC_SIZE(static_cast<size_t>(cpus));
    const int failed = sched_getaffinity(0, bytes, set);
    const int count = failed == 0 ? CPU_COUNT_S(bytes, set) : 0;
    CPU_FREE(set);
    if (count > 0) return static_cast<uint32_t>(count);
  }
  return 1;
}

std::string read_small(const std::string& path) {
  constexpr size_t kBytesMax = 4096;
  const Result<File> file = File::open_read(path);
  if (!file.ok()) return {};
  std::string text(kBytesMax, '\0');
  // Files of /proc and /sys have no size; one read gives all of a small one.
  text.resize(file->read_some(std::as_writable_bytes(std::span(text.data(), text.size()))));
  return text;
}

// quota / period rounded up; 0 = no limit.
uint32_t cpus_of(int64_t quota, int64_t period) {
  if (quota <= 0 || period <= 0) return 0;
  return static_cast<uint32_t>(std::clamp<int64_t>((quota - 1) / period + 1, 1, 1 << 20));
}

uint32_t limit_v2(const std::string& folder) {
  const std::string text = read_small(folder + "/cpu.max");
  if (text.empty() || text.starts_with("max")) return 0;
  char* end = nullptr;
  const int64_t quota = std::strtoll(text.c_str(), &end, 10);
  return cpus_of(quota, std::strtoll(end, nullptr, 10));
}

uint32_t limit_v1(const std::string& folder) {
  const std::string quota = read_small(folder + "/cpu.cfs_quota_us");
  const std::string period = read_small(folder + "/cpu.cfs_period_us");
  if (quota.empty() || period.empty()) return 0;
  return cpus_of(std::strtoll(quota.c_str(), nullptr, 10), std::strtoll(period.c_str(), nullptr, 10));
}

// The tightest limit of a group and all groups above it.
uint32_t limit_upwards(const std::string& mount, std::string path, uint32_t (*limit)(const std::string&)) {
  uint32_t tightest = 0;
  while (true) {
    const uint32_t here = limit(mount + path);
    if (here != 0) tightest = tightest == 0 ? here : std::min(tightest, here);
    if (path.empty()) return tightest;
    path.resize(path.rfind('/') == std::string::npos ? 0 : path.rfind('/'));
  }
}

bool names_controller(std::string_view list, std::string_view wanted) {
  while (!list.empty()) {
    const size_t comma = std::min(list.find(','), list.size());
    if (list.substr(0, comma) == wanted) return true;
    list.remove_prefix(std::min(comma + 1, list.size()));
  }
  return false;
}

}  // namespace

std::vector<std::string> cpu_features() {
  const CpuState cpu = read_cpu();
  std::vector<std::string> names;
  for (const Feature& feature : kFeatures) {
    if (offers(cpu, feature)) names.emplace_back(feature.name);
  }
  return names;
}

bool has_cpu_feature(std::string_view name) {
  const CpuState cpu = read_cpu();
  return std::any_of(std::begin(kFeatures), std::end(kFeatures),
                     [&](const Feature& feature) { return feature.name == name && offers(cpu, feature); });
}

bool is_cpu_feature_name(std::string_view name) {
  return std::any_of(std::begin(kFeatures), std::end(kFeatures),
                     [&](const Feature& feature) { return feature.name == name; });
}

uint32_t cgroup_cpu_limit(const std::string& membership, const std::string& mount) {
  uint32_t tightest = 0;
  std::string_view rest = membership;
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, std::min(rest.find('\n'), rest.size()));
    rest.remove_prefix(std::min(line.size() + 1, rest.size()));
    // number:controllers:/path
    const size_t first = line.find(':');
    const size_t second = first == std::string_view::npos ? first : line.find(':', first + 1);
    if (second == std::string_view::npos) continue;
    const std::string_view controllers = line.substr(first + 1, second - first - 1);
    std::string path(line.substr(second + 1));
    if (path == "/") path.clear();
    if (path.find("..") != std::string::npos) continue;  // outside what this process may see
    uint32_t limit = 0;
    if (controllers.empty()) {
      limit = limit_upwards(mount, path, limit_v2);
    } else if (names_controller(controllers, "cpu")) {
      limit = limit_upwards(mount + "/cpu", path, limit_v1);
      if (limit == 0) limit = limit_upwards(mount + "/" + std::string(controllers), path, limit_v1);
    }
    if (limit != 0) tightest = tightest == 0 ? limit : std::min(tightest, limit);
  }
  return tightest;
}

uint32_t default_thread_count() {
  const uint32_t affinity = affinity_count();
  const uint32_t quota = cgroup_cpu_limit(read_small("/proc/self/cgroup"), "/sys/fs/cgroup");
  return std::max<uint32_t>(1, quota == 0 ? affinity : std::min(affinity, quota));
}

void name_this_thread(const char* name) {
  char cut[16] = {};
  std::strncpy(cut, name, sizeof(cut) - 1);
  pthread_setname_np(pthread_self(), cut);
}

}  // namespace merritt::os
