// SPDX-License-Identifier: Apache-2.0
#include "backend/map_plugin.hpp"

#include <boost/dll/shared_library.hpp>
#include <memory>
#include <optional>
#include <system_error>

#include "backend/fence_table.hpp"
#include "backend/handshake.hpp"
#include "backend/process_table.hpp"
#include "base/os/dynamic.hpp"
#include "base/text.hpp"

namespace merritt::backend {

struct PluginMaker {
  static std::unique_ptr<Plugin> make(const VerifiedPlugin& verified, const Handshake& handshake,
                                      const mrt_backend& fenced_table, uintptr_t base) {
    std::unique_ptr<Plugin> plugin(new Plugin);
    plugin->table_ = fenced_table;
    plugin->slots_ = handshake.slots;
    plugin->abi_ = handshake.abi;
    plugin->id_ = verified.manifest.id;
    plugin->version_ = verified.manifest.version;
    plugin->publisher_ = verified.manifest.publisher;
    plugin->digest_hex_ = to_hex(verified.manifest.digest);
    plugin->path_ = verified.path;
    plugin->capabilities_ = verified.manifest.capabilities;
    plugin->memory_ = {base, verified.elf.segments};
    return plugin;
  }
};

namespace {

Result<std::unique_ptr<Plugin>> start(const boost::dll::shared_library& library, const VerifiedPlugin& verified) {
  if (!library.has(MRT_BACKEND_SYMBOL)) return Status(Code::kBackend, "the plugin lacks " MRT_BACKEND_SYMBOL);
  const mrt_hello_fn hello = &library.get<int32_t(const mrt_hello_in*, mrt_hello_out*)>(MRT_BACKEND_SYMBOL);
  const auto address = reinterpret_cast<uintptr_t>(hello);
  const PluginMemory memory{os::load_address_of(address), verified.elf.segments};
  // The linker must have found what the ELF check found.
  if (address - memory.base != verified.elf.entry || !memory.has_code(address)) {
    return Status(Code::kBackend, "the plugin's " MRT_BACKEND_SYMBOL " is not in its own code");
  }
  MERRITT_TRY(const Handshake handshake, shake_hands(hello, memory));
  const std::optional<mrt_backend> fenced_table = fence_table(handshake.table);
  if (!fenced_table) return Status(Code::kOverloaded, "this process holds as many plugins as it may");
  return PluginMaker::make(verified, handshake, *fenced_table, memory.base);
}

// What comes after the object's constructors: its plugin or its failure goes into the build.
void finish(Build& build, const std::string& path, const VerifiedPlugin& verified) {
  std::error_code failed;
  build.library->load(path, boost::dll::load_mode::rtld_now | boost::dll::load_mode::rtld_local, failed);
  if (failed) {
    build.failure = Status(Code::kInternal, "the dynamic linker does not find it again: " + failed.message());
    return;
  }
  if (is_mapped(build.library->native())) {
    build.failure =
        Status(Code::kInternal, "the dynamic linker gave an older plugin for it: the host closed a descriptor of ours",
               Blast::kProcess);
    return;
  }
  Result<std::unique_ptr<Plugin>> plugin = start(*build.library, verified);
  if (plugin.ok()) {
    build.plugin = std::move(plugin).value().release();
  } else {
    build.failure = std::move(plugin).status();
  }
}

// Maps the sealed bytes and runs the handshake. When the linker refused and mapped nothing, that is answered; otherwise
// code ran, is never unmapped, and the build exists with its plugin or its failure.
Result<Build*> map_plugin(VerifiedPlugin& verified) {
  auto build = std::make_unique<Build>();
  auto library = std::make_unique<boost::dll::shared_library>();
  build->digest = verified.manifest.digest;
  const std::string path = verified.file.path();
  os::dynamic_linker_error();  // an older one is not ours to report
  const os::MapResult mapped = os::map_for_ever(path);
  if (mapped == os::MapResult::kRefused) {
    const std::string why = clean_text(os::dynamic_linker_error(), 256);
    return Status(Code::kBackend, "the dynamic linker refused it: " + why);
  }
  // The linker knows an object by the name it was opened with: that descriptor number must never name another plugin.
  verified.file.keep_for_ever();
  build->library = library.release();  // code that ran is never unmapped
  if (mapped == os::MapResult::kThrew) {
    build->failure = Status(Code::kBackend,
                            "a constructor of the plugin threw an exception, which leaves the dynamic linker locked "
                            "for the other threads: remove the plugin and start a new process",
                            Blast::kProcess);
    return build.release();
  }
  try {
    finish(*build, path, verified);
  } catch (const std::exception& error) {
    build->failure = Status(Code::kBackend, std::string("the plugin could not be started: ") + error.what());
  }
  return build.release();
}

}  // namespace

Result<const Plugin*> find_or_map_verified(VerifiedPlugin verified) {
  Result<const Plugin*> plugin =
      find_or_map(verified.manifest.digest, [&]() -> Result<Build*> { return map_plugin(verified); });
  if (plugin.ok()) return plugin;
  return std::move(plugin).status().with_context("plugin " + verified.path);
}

}  // namespace merritt::backend
