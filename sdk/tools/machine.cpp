// SPDX-License-Identifier: Apache-2.0
#include "machine.hpp"

#include <sched.h>
#include <sys/resource.h>

#include <algorithm>
#include <fstream>
#include <iterator>
#include <sstream>

namespace merritt::tools {
namespace {

// The features backends ask for, with the --isa-max level that allows each.
struct Feature {
  const char* name;
  int level;
};
constexpr Feature kFeatures[] = {{"avx2", 1},       {"fma", 1},         {"f16c", 1},     {"avx512f", 2},
                                 {"avx512bw", 2},   {"avx512dq", 2},    {"avx512vl", 2}, {"avx512_vnni", 3},
                                 {"avx512vbmi", 3}, {"avx512_bf16", 3}, {"amx_tile", 4}, {"amx_int8", 4},
                                 {"amx_bf16", 4}};

int level_of(const std::string& isa_max) {
  if (isa_max == "avx2") return 1;
  if (isa_max == "avx512") return 2;
  return isa_max == "vnni" ? 3 : 4;
}

void read_cpuinfo(Machine& machine) {
  std::ifstream file("/proc/cpuinfo");
  std::string line;
  while (std::getline(file, line)) {
    const size_t colon = line.find(": ");
    if (colon == std::string::npos) continue;
    if (machine.cpu.empty() && line.starts_with("model name")) machine.cpu = line.substr(colon + 2);
    if (!line.starts_with("flags")) continue;
    std::istringstream words(line.substr(colon + 2));
    const std::vector<std::string> flags{std::istream_iterator<std::string>(words), {}};
    for (const Feature& feature : kFeatures) {
      if (std::find(flags.begin(), flags.end(), feature.name) != flags.end())
        machine.features.emplace_back(feature.name);
    }
    return;
  }
}

// "Name:   123 kB" of a /proc file; 0 when it is not there. `unit` multiplies.
uint64_t read_field(const char* path, const std::string& name, uint64_t unit) {
  std::ifstream file(path);
  std::string word;
  uint64_t value = 0;
  while (file >> word) {
    if (word == name && file >> value) return value * unit;
  }
  return 0;
}

double cgroup_quota() {
  std::ifstream file("/sys/fs/cgroup/cpu.max");
  std::string quota;
  double period = 0;
  if (!(file >> quota >> period) || quota == "max" || period <= 0) return 0;
  return std::stod(quota) / period;
}

std::string chosen_huge_pages() {
  std::ifstream file("/sys/kernel/mm/transparent_hugepage/enabled");
  std::string line;
  std::getline(file, line);
  const size_t open = line.find('[');
  const size_t close = line.find(']');
  return open == std::string::npos || close == std::string::npos ? "" : line.substr(open + 1, close - open - 1);
}

}  // namespace

Machine inspect_machine() {
  Machine machine;
  read_cpuinfo(machine);
  cpu_set_t allowed;
  CPU_ZERO(&allowed);
  if (sched_getaffinity(0, sizeof(allowed), &allowed) == 0) {
    machine.cpus_allowed = static_cast<uint32_t>(CPU_COUNT(&allowed));
  }
  machine.cpus_quota = cgroup_quota();
  machine.memory_total = read_field("/proc/meminfo", "MemTotal:", 1024);
  machine.memory_available = read_field("/proc/meminfo", "MemAvailable:", 1024);
  machine.huge_pages_free = read_field("/proc/meminfo", "HugePages_Free:", 1);
  machine.transparent_huge_pages = chosen_huge_pages();
  rlimit limit{};
  if (getrlimit(RLIMIT_MEMLOCK, &limit) == 0) {
    machine.memlock = limit.rlim_cur == RLIM_INFINITY ? UINT64_MAX : limit.rlim_cur;
  }
  return machine;
}

bool has_feature(const Machine& machine, const std::string& feature) {
  return std::find(machine.features.begin(), machine.features.end(), feature) != machine.features.end();
}

uint64_t peak_rss_bytes() { return read_field("/proc/self/status", "VmHWM:", 1024); }

std::string features_used(const Machine& machine, const std::string& isa_max) {
  std::string text;
  for (const Feature& feature : kFeatures) {
    if (feature.level > level_of(isa_max) || !has_feature(machine, feature.name)) continue;
    text += (text.empty() ? "" : " ") + std::string(feature.name);
  }
  return text.empty() ? "baseline x86-64" : text;
}

}  // namespace merritt::tools
