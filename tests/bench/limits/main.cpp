// SPDX-License-Identifier: Apache-2.0
// bench_limits: what this machine can do at most, as JSON. Reading memory with one thread and with all of them;
// operations per second of each instruction set, on registers only.
//
// usage: bench_limits [--threads 2] [--mib 2048] [--passes 7] [--read-only]
#include <cpuid.h>
#include <sched.h>
#include <sys/mman.h>

#include <algorithm>
#include <barrier>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <nlohmann/json.hpp>
#include <string>
#include <thread>
#include <vector>

#include "loops.hpp"
#include "support/os/amx.hpp"

namespace merritt::limits {
namespace {

using nlohmann::json;
constexpr uint64_t kHugePage = 2u << 20;

struct Options {
  uint64_t threads = 2, mib = 2048, passes = 7;
  bool read_only = false;
};

double now() { return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count(); }

// The CPUs this process may use, in order; thread t stays on the t-th.
std::vector<int> allowed_cpus() {
  cpu_set_t set;
  std::vector<int> cpus;
  if (sched_getaffinity(0, sizeof set, &set) != 0) return cpus;
  for (int cpu = 0; cpu < CPU_SETSIZE; ++cpu) {
    if (CPU_ISSET(cpu, &set)) cpus.push_back(cpu);
  }
  return cpus;
}

void pin(const std::vector<int>& cpus, uint64_t thread) {
  if (cpus.empty()) return;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpus[thread % cpus.size()], &set);
  (void)sched_setaffinity(0, sizeof set, &set);  // unpinned it is still a measurement
}

// Seconds from when all threads start until the last has ended, for each pass.
template <class Work>
std::vector<double> time_passes(uint64_t threads, uint64_t passes, Work work) {
  std::vector<double> start(passes * threads), end(passes * threads);
  std::barrier gate(static_cast<std::ptrdiff_t>(threads));
  const std::vector<int> cpus = allowed_cpus();
  std::vector<std::thread> team;
  for (uint64_t t = 0; t < threads; ++t) {
    team.emplace_back([&, t] {
      pin(cpus, t);
      for (uint64_t p = 0; p < passes; ++p) {
        gate.arrive_and_wait();
        start[p * threads + t] = now();
        work(t);
        end[p * threads + t] = now();
      }
    });
  }
  for (std::thread& one : team) one.join();
  std::vector<double> took;
  for (uint64_t p = 0; p < passes; ++p) {
    const auto at = static_cast<std::ptrdiff_t>(p * threads), last = at + static_cast<std::ptrdiff_t>(threads);
    took.push_back(*std::max_element(end.begin() + at, end.begin() + last) -
                   *std::min_element(start.begin() + at, start.begin() + last));
  }
  return took;
}

json summary(std::vector<double> rates) {
  std::sort(rates.begin(), rates.end());
  return {{"median", rates[rates.size() / 2]}, {"min", rates.front()}, {"max", rates.back()}};
}

struct Buffer {
  uint8_t* data = nullptr;
  uint64_t bytes = 0;

  explicit Buffer(uint64_t size) : bytes(size) {
    void* at = mmap(nullptr, bytes + kHugePage, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) return;
    data = reinterpret_cast<uint8_t*>((reinterpret_cast<uintptr_t>(at) + kHugePage - 1) & ~(kHugePage - 1));
    (void)madvise(data, bytes, MADV_HUGEPAGE);  // what came of it is reported
  }
};

// Of this process's memory, kB on huge pages.
uint64_t huge_kib() {
  std::ifstream file("/proc/self/smaps_rollup");
  std::string word;
  uint64_t kib = 0;
  while (file >> word) {
    if (word == "AnonHugePages:" && file >> kib) return kib;
  }
  return 0;
}

json measure_read(const Options& options) {
  const Buffer buffer(options.mib << 20);
  if (buffer.data == nullptr) return {{"error", "no memory for the buffer"}};
  const ReadLoop read = __builtin_cpu_supports("avx512f") ? read_avx512 : read_avx2;
  std::vector<uint64_t> kept(options.threads * 8);  // the results are used, so that no read is left out
  const auto share = [&](uint64_t threads) { return buffer.bytes / threads / kHugePage * kHugePage; };
  const uint64_t each = share(options.threads);
  time_passes(options.threads, 1, [&](uint64_t t) { std::memset(buffer.data + t * each, 1, each); });
  std::memset(buffer.data + each * options.threads, 1, buffer.bytes - each * options.threads);
  json out = {{"bytes", buffer.bytes}, {"huge_pages", huge_kib() * 1024 >= buffer.bytes / 10 * 9}};
  for (const uint64_t threads : {uint64_t{1}, options.threads}) {
    const uint64_t part = share(threads);
    std::vector<double> rates;
    for (const double seconds :
         time_passes(threads, options.passes, [&](uint64_t t) { kept[t * 8] += read(buffer.data + t * part, part); })) {
      rates.push_back(static_cast<double>(part * threads) / seconds / 1e9);
    }
    out["gb_per_s"][std::to_string(threads)] = summary(rates);
  }
  out["checksum"] = kept[0];
  return out;
}

json measure_peak(const Options& options, PeakLoop loop) {
  json out;
  uint64_t rounds = 1 << 16;
  while (true) {  // about 50 ms a pass
    const double start = now();
    (void)loop(rounds);
    if (now() - start > 0.05) break;
    rounds *= 2;
  }
  for (const uint64_t threads : {uint64_t{1}, options.threads}) {
    const auto ops = static_cast<double>(threads * loop(1) * rounds);
    std::vector<double> rates;
    for (const double seconds : time_passes(threads, options.passes, [&](uint64_t) { (void)loop(rounds); })) {
      rates.push_back(ops / seconds / 1e12);
    }
    out[std::to_string(threads)] = summary(rates);
  }
  return out;
}

// Not every compiler's __builtin_cpu_supports knows AMX. bf16 is bit 22, tiles are bit 24, int8 bit 25.
uint32_t amx_bits() {
  uint32_t a = 0, b = 0, c = 0, d = 0;
  if (__get_cpuid_count(7, 0, &a, &b, &c, &d) == 0 || (d >> 24 & 1) == 0 || !plugin::os::request_amx()) return 0;
  return d;
}

json measure_peaks(const Options& options) {
  const uint32_t amx = amx_bits();
  const struct {
    const char* name;
    PeakLoop loop;
    bool has;
    const char* missing;
  } all[] = {{"avx2_f32", f32_fma_avx2, true, ""},
             {"avx512_f32", f32_fma_avx512, __builtin_cpu_supports("avx512f") != 0, "no AVX-512"},
             {"avx512_vnni_int8", int8_vnni, __builtin_cpu_supports("avx512vnni") != 0, "no AVX-512 VNNI"},
             {"avx512_bf16", bf16_avx512, __builtin_cpu_supports("avx512bf16") != 0, "no AVX-512 BF16"},
             {"amx_int8", int8_amx, (amx >> 25 & 1) != 0, "no AMX"},
             {"amx_bf16", bf16_amx, (amx >> 22 & 1) != 0, "no AMX"}};
  json out;
  for (const auto& peak : all) out[peak.name] = peak.has ? measure_peak(options, peak.loop) : json(peak.missing);
  return out;
}

bool parse(int argc, char** argv, Options* options) {
  for (int i = 1; i < argc; ++i) {
    const std::string word = argv[i];
    if (word == "--read-only") {
      options->read_only = true;
      continue;
    }
    uint64_t* to = word == "--threads"  ? &options->threads
                   : word == "--mib"    ? &options->mib
                   : word == "--passes" ? &options->passes
                                        : nullptr;
    if (to == nullptr || i + 1 == argc) return false;
    *to = std::strtoull(argv[++i], nullptr, 10);
    if (*to == 0 || *to > 1u << 20) return false;
  }
  return options->mib >= 4 * options->threads;
}

}  // namespace
}  // namespace merritt::limits

int main(int argc, char** argv) {
  using namespace merritt::limits;
  Options options;
  if (!parse(argc, argv, &options)) {
    std::fprintf(stderr, "usage: bench_limits [--threads 2] [--mib 2048] [--passes 7] [--read-only]\n");
    return 2;
  }
  if (!__builtin_cpu_supports("avx2") || !__builtin_cpu_supports("fma")) {
    std::fprintf(stderr, "bench_limits: this CPU has no AVX2\n");
    return 1;
  }
  json out = {{"threads", options.threads}, {"read", measure_read(options)}};
  if (!options.read_only) out["tera_ops_per_s"] = measure_peaks(options);
  std::printf("%s\n", out.dump(2).c_str());
  return out["read"].contains("error") ? 1 : 0;
}
