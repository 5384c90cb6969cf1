// SPDX-License-Identifier: Apache-2.0
#include "backend/elf_check.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <optional>
#include <string_view>

#include "base/limits.hpp"
#include "base/os/elf.hpp"
#include "merritt/backend.h"

namespace merritt::backend {
namespace {

constexpr uint32_t kProgramHeadersMax = 64;
constexpr uint32_t kDynamicEntriesMax = 4096;
constexpr size_t kNameBytesMax = 1024;

#if defined(__x86_64__)
constexpr uint16_t kMachine = EM_X86_64;
#elif defined(__aarch64__)
constexpr uint16_t kMachine = EM_AARCH64;
#endif

// The system libraries a plugin may lean on; everything else is linked into it.
constexpr std::string_view kLibraries[] = {
    "libc.so.6",       "libm.so.6",  "libstdc++.so.6",       "libgcc_s.so.1",        "libdl.so.2",
    "libpthread.so.0", "librt.so.1", "ld-linux-x86-64.so.2", "ld-linux-aarch64.so.1"};
#if defined(MERRITT_SANITIZED)
constexpr std::string_view kSanitizerLibraries[] = {"libasan.so", "libubsan.so", "libtsan.so", "liblsan.so"};
#endif

Status corrupt(const std::string& what) { return Status(Code::kCorrupt, "the plugin's ELF file " + what); }
Status refused(const std::string& what) { return Status(Code::kPermissionDenied, "the plugin " + what); }

bool is_allowed(std::string_view library) {
#if defined(MERRITT_SANITIZED)
  for (const std::string_view name : kSanitizerLibraries) {
    if (library.starts_with(name)) return true;
  }
#endif
  return std::find(std::begin(kLibraries), std::end(kLibraries), library) != std::end(kLibraries);
}

class Reader {
 public:
  explicit Reader(std::span<const std::byte> file) : file_(file) {}
  Result<ElfInfo> read();
  bool writable_code() const { return writable_code_; }
  bool executable_stack() const { return executable_stack_; }
  bool has(int64_t tag) const { return value_of(tag).has_value(); }
  bool flag(int64_t tag, uint64_t bit) const { return (value_of(tag).value_or(0) & bit) != 0; }

 private:
  template <class T>
  bool at_offset(uint64_t offset, T& out) const {
    if (offset > file_.size() || sizeof(T) > file_.size() - offset) return false;
    std::memcpy(&out, file_.data() + offset, sizeof(T));
    return true;
  }
  // The file offset of a mapped address with at least `bytes` of the file behind it.
  std::optional<uint64_t> offset_of(uint64_t address, uint64_t bytes) const;
  template <class T>
  bool at_address(uint64_t address, T& out) const {
    const auto offset = offset_of(address, sizeof(T));
    return offset && at_offset(*offset, out);
  }
  std::optional<uint64_t> value_of(int64_t tag) const;
  std::optional<std::string> string_at(uint64_t index) const;
  Status read_headers(ElfInfo& info);
  Status read_dynamic(const Elf64_Phdr& header);
  Status read_exports(ElfInfo& info);
  Status walk_gnu_hash(uint64_t table, ElfInfo& info);
  Status walk_hash(uint64_t table, ElfInfo& info);
  Status add_symbol(uint64_t index, ElfInfo& info);

  std::span<const std::byte> file_;
  std::vector<Elf64_Phdr> loads_;
  std::vector<Elf64_Dyn> dynamic_;
  uint64_t strings_ = 0, strings_bytes_ = 0, symbols_ = 0;
  bool writable_code_ = false;
  bool executable_stack_ = true;  // what glibc takes it for that says nothing
};

std::optional<uint64_t> Reader::offset_of(uint64_t address, uint64_t bytes) const {
  for (const Elf64_Phdr& load : loads_) {
    if (address < load.p_vaddr) continue;
    const uint64_t into = address - load.p_vaddr;
    if (into > load.p_filesz || bytes > load.p_filesz - into) continue;
    return load.p_offset + into;
  }
  return std::nullopt;
}

std::optional<uint64_t> Reader::value_of(int64_t tag) const {
  for (const Elf64_Dyn& entry : dynamic_) {
    if (entry.d_tag == tag) return entry.d_un.d_val;
  }
  return std::nullopt;
}

std::optional<std::string> Reader::string_at(uint64_t index) const {
  if (index >= strings_bytes_) return std::nullopt;
  const uint64_t room = std::min<uint64_t>(strings_bytes_ - index, kNameBytesMax);
  const auto offset = offset_of(strings_ + index, room);
  if (!offset) return std::nullopt;
  const auto* text = reinterpret_cast<const char*>(file_.data() + *offset);
  const void* const end = std::memchr(text, 0, room);
  if (end == nullptr) return std::nullopt;
  return std::string(text, static_cast<const char*>(end));
}

Status Reader::read_headers(ElfInfo& info) {
  Elf64_Ehdr header{};
  if (!at_offset(0, header) || std::memcmp(header.e_ident, ELFMAG, SELFMAG) != 0) return corrupt("is not one");
  if (header.e_ident[EI_CLASS] != ELFCLASS64 || header.e_ident[EI_DATA] != ELFDATA2LSB ||
      header.e_machine != kMachine) {
    return corrupt("is for another machine");
  }
  if (header.e_type != ET_DYN) return corrupt("is not a shared object");
  if (header.e_phentsize != sizeof(Elf64_Phdr) || header.e_phnum == 0 || header.e_phnum > kProgramHeadersMax) {
    return corrupt("has no usable program headers");
  }
  std::optional<Elf64_Phdr> dynamic;
  for (uint32_t i = 0; i < header.e_phnum; ++i) {
    Elf64_Phdr program{};
    if (header.e_phoff > file_.size() || !at_offset(header.e_phoff + uint64_t{i} * sizeof(program), program)) {
      return corrupt("ends inside its program headers");
    }
    if (program.p_type == PT_GNU_STACK) executable_stack_ = (program.p_flags & PF_X) != 0;
    if (program.p_type == PT_DYNAMIC) dynamic = program;
    if (program.p_type != PT_LOAD) continue;
    uint64_t end = 0;
    if (program.p_offset > file_.size() || program.p_filesz > file_.size() - program.p_offset ||
        program.p_filesz > program.p_memsz || __builtin_add_overflow(program.p_vaddr, program.p_memsz, &end) ||
        end > uint64_t{1} << 46) {
      return corrupt("has a segment outside the file");
    }
    writable_code_ |= (program.p_flags & PF_W) != 0 && (program.p_flags & PF_X) != 0;
    loads_.push_back(program);
    info.segments.push_back({program.p_vaddr, program.p_memsz, (program.p_flags & PF_X) != 0});
  }
  if (!dynamic) return corrupt("has no dynamic table");
  return read_dynamic(*dynamic);
}

Status Reader::read_dynamic(const Elf64_Phdr& header) {
  // By address: that is where the dynamic linker reads it.
  for (uint32_t i = 0; i < kDynamicEntriesMax; ++i) {
    Elf64_Dyn entry{};
    uint64_t address = 0;
    if (__builtin_add_overflow(header.p_vaddr, uint64_t{i} * sizeof(entry), &address) || !at_address(address, entry)) {
      return corrupt("ends inside its dynamic table");
    }
    if (entry.d_tag == DT_NULL) return {};
    // The linker takes the last of a tag, this check the first: only libraries may come more than once.
    if (entry.d_tag != DT_NEEDED && has(entry.d_tag)) return corrupt("names a dynamic tag twice");
    dynamic_.push_back(entry);
  }
  return corrupt("has a dynamic table without end");
}

Status Reader::add_symbol(uint64_t index, ElfInfo& info) {
  Elf64_Sym symbol{};
  if (index > limits::kElfSymbolsMax || !at_address(symbols_ + index * sizeof(symbol), symbol)) {
    return corrupt("has a symbol outside the file");
  }
  if (symbol.st_shndx == SHN_UNDEF || ELF64_ST_BIND(symbol.st_info) == STB_LOCAL) return {};
  const auto name = string_at(symbol.st_name);
  if (!name) return corrupt("has a symbol without a name");
  if (symbol.st_shndx == SHN_ABS && ELF64_ST_TYPE(symbol.st_info) == STT_OBJECT && symbol.st_size == 0) return {};
  if (ELF64_ST_BIND(symbol.st_info) == STB_GNU_UNIQUE) return refused("has a unique symbol: " + *name);
  info.exports.push_back(*name);
  info.entry = symbol.st_value;
  info.entry_is_function = ELF64_ST_TYPE(symbol.st_info) == STT_FUNC && symbol.st_shndx < SHN_LORESERVE;
  return {};
}

Status Reader::walk_gnu_hash(uint64_t table, ElfInfo& info) {
  std::array<uint32_t, 4> head{};  // buckets, first symbol, bloom words, shift
  if (!at_address(table, head) || head[0] > limits::kElfSymbolsMax || head[2] > limits::kElfSymbolsMax) {
    return corrupt("has no usable symbol hash table");
  }
  const uint64_t buckets = table + sizeof(head) + uint64_t{head[2]} * sizeof(uint64_t);
  const uint64_t chains = buckets + uint64_t{head[0]} * sizeof(uint32_t);
  uint32_t seen = 0;
  for (uint32_t b = 0; b < head[0]; ++b) {
    uint32_t symbol = 0;
    if (!at_address(buckets + uint64_t{b} * sizeof(symbol), symbol)) return corrupt("ends inside its symbol hash");
    if (symbol == 0) continue;
    if (symbol < head[1]) return corrupt("has a broken symbol hash table");
    for (uint32_t hash = 0; (hash & 1) == 0; ++symbol) {
      if (++seen > limits::kElfSymbolsMax) return corrupt("has too many symbols");
      if (!at_address(chains + uint64_t{symbol - head[1]} * sizeof(hash), hash)) {
        return corrupt("ends inside its symbol hash");
      }
      MERRITT_CHECK(add_symbol(symbol, info));
    }
  }
  return {};
}

Status Reader::walk_hash(uint64_t table, ElfInfo& info) {
  std::array<uint32_t, 2> head{};  // buckets, symbols
  if (!at_address(table, head) || head[1] > limits::kElfSymbolsMax) return corrupt("has no usable symbol hash table");
  for (uint32_t i = 1; i < head[1]; ++i) MERRITT_CHECK(add_symbol(i, info));
  return {};
}

Status Reader::read_exports(ElfInfo& info) {
  const auto strings = value_of(DT_STRTAB), bytes = value_of(DT_STRSZ), symbols = value_of(DT_SYMTAB);
  constexpr uint64_t kAddressMax = uint64_t{1} << 46;
  if (!strings || !bytes || !symbols || *strings > kAddressMax || *symbols > kAddressMax || *bytes > file_.size()) {
    return corrupt("lacks its string or symbol table");
  }
  strings_ = *strings;
  strings_bytes_ = *bytes;
  symbols_ = *symbols;
  for (const Elf64_Dyn& entry : dynamic_) {
    if (entry.d_tag != DT_NEEDED) continue;
    const auto name = string_at(entry.d_un.d_val);
    if (!name) return corrupt("needs a library without a name");
    info.needed.push_back(*name);
  }
  const auto gnu = value_of(DT_GNU_HASH), plain = value_of(DT_HASH);
  if (gnu.value_or(0) > kAddressMax || plain.value_or(0) > kAddressMax) return corrupt("has a broken hash table");
  if (gnu) return walk_gnu_hash(*gnu, info);
  if (plain) return walk_hash(*plain, info);
  return corrupt("has no symbol hash table");
}

Result<ElfInfo> Reader::read() {
  ElfInfo info;
  MERRITT_CHECK(read_headers(info));
  MERRITT_CHECK(read_exports(info));
  return info;
}

}  // namespace

bool PluginMemory::lies_in(uintptr_t address, uint64_t bytes, bool code) const {
  if (segments.empty()) return true;
  return std::any_of(segments.begin(), segments.end(), [&](const ElfSegment& segment) {
    const uint64_t into = address - base - segment.address;  // wraps to a large number when before it
    return (!code || segment.executable) && into <= segment.bytes && bytes <= segment.bytes - into;
  });
}

Result<ElfInfo> read_elf(std::span<const std::byte> file) { return Reader(file).read(); }

Result<ElfInfo> check_plugin_elf(std::span<const std::byte> file) {
  Reader reader(file);
  MERRITT_TRY(ElfInfo info, reader.read());
  if (reader.writable_code()) return refused("has memory that is writable and executable");
  if (reader.executable_stack()) return refused("asks for an executable stack");
  if (reader.has(DT_TEXTREL) || reader.flag(DT_FLAGS, DF_TEXTREL)) return refused("has text relocations");
  if (reader.has(DT_RPATH) || reader.has(DT_RUNPATH)) return refused("carries a library search path");
  if (reader.has(DT_AUDIT) || reader.has(DT_DEPAUDIT) || reader.has(DT_FILTER) || reader.has(DT_AUXILIARY)) {
    return refused("asks for audit or filter libraries");
  }
  for (const std::string& library : info.needed) {
    if (!is_allowed(library)) return refused("needs " + library + "; link it into the plugin");
  }
  if (info.exports != std::vector<std::string>{MRT_BACKEND_SYMBOL}) {
    const std::string first = info.exports.empty() ? "nothing" : info.exports.front();
    return refused("exports " + std::to_string(info.exports.size()) + " symbols (" + first +
                   "); a plugin exports exactly " MRT_BACKEND_SYMBOL);
  }
  if (!info.entry_is_function || !PluginMemory{0, info.segments}.has_code(info.entry)) {
    return refused("exports a " MRT_BACKEND_SYMBOL " that is no plain function in its code");
  }
  return info;
}

}  // namespace merritt::backend
