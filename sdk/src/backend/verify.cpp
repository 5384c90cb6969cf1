// SPDX-License-Identifier: Apache-2.0
#include "backend/verify.hpp"

#include <algorithm>

#include "backend/digest.hpp"
#include "base/os/clock.hpp"
#include "base/os/cpu.hpp"
#include "base/os/trusted_file.hpp"
#include "merritt/backend.h"

namespace merritt::backend {
namespace {

constexpr const char* kManifestSuffix = ".manifest";

Status denied(const std::string& what) { return Status(Code::kPermissionDenied, what); }

bool matches(const std::string& pattern, const std::string& id) {
  if (pattern.ends_with('*')) return id.starts_with(std::string_view(pattern).substr(0, pattern.size() - 1));
  return pattern == id;
}

// Whether this entry of the trust list covers the manifest that its key has signed.
Status covers(const Publisher& publisher, const Manifest& manifest, int64_t now) {
  const std::string who = "the key of publisher " + publisher.name;
  if (publisher.name != manifest.publisher) {
    return denied("the manifest names publisher " + manifest.publisher + ", but " + who + " signed it");
  }
  if (publisher.not_after != 0 && now > publisher.not_after) return denied(who + " has expired");
  const auto allows = [&](const std::string& pattern) { return matches(pattern, manifest.id); };
  if (!publisher.plugin_ids.empty() && std::none_of(publisher.plugin_ids.begin(), publisher.plugin_ids.end(), allows)) {
    return denied(who + " may not sign a plugin with the id " + manifest.id);
  }
  if ((publisher.abi_min != 0 && manifest.abi_min < publisher.abi_min) ||
      (publisher.abi_max != 0 && manifest.abi_max > publisher.abi_max)) {
    return denied(who + " may not sign for plugin ABI " + std::to_string(manifest.abi_min) + " to " +
                  std::to_string(manifest.abi_max));
  }
  return {};
}

Result<SignedManifest> read_manifest(const os::File& directory, const std::string& name, const std::string& path) {
  const std::string label = path + kManifestSuffix;
  Result<os::File> file = os::open_trusted_file(directory, name + kManifestSuffix, limits::kManifestBytesMax, label);
  if (!file.ok() && file.status().code() == Code::kNotFound) {
    return denied("unsigned: there is no " + label + "; sign it with `merritt plugin sign`");
  }
  if (!file.ok()) return std::move(file).status();
  MERRITT_TRY(const uint64_t size, file->size());
  if (size > limits::kManifestBytesMax) return Status(Code::kCorrupt, label + " is too large");
  std::vector<std::byte> bytes(size);
  MERRITT_CHECK(file->read_at(0, bytes));
  return decode_signed(bytes);
}

// The directory part of a plain absolute path, when it is one of the configured directories.
Result<std::string> configured_directory(const LoaderOptions& options, const std::string& path) {
  const size_t slash = path.rfind('/');
  const std::string parent = slash == 0 ? "/" : path.substr(0, slash);
  for (const std::string& directory : options.directories) {
    MERRITT_TRY(const std::string plain, os::plain_absolute_path(directory));
    if (plain == parent) return parent;
  }
  return denied(path + " is not directly in one of the " + std::to_string(options.directories.size()) +
                " configured plugin directories; add " + parent + " to plugin_dirs");
}

Result<VerifiedPlugin> verify_plain(const LoaderOptions& options, const std::string& path) {
  MERRITT_TRY(const std::string parent, configured_directory(options, path));
  MERRITT_TRY(const os::File directory, os::open_trusted_directory(parent));
  const std::string name = path.substr(path.rfind('/') + 1);
  MERRITT_TRY(const os::File file, os::open_trusted_file(directory, name, options.plugin_bytes_max, path));
  MERRITT_TRY(const SignedManifest signed_manifest, read_manifest(directory, name, path));
  const int64_t now = os::unix_seconds();
  MERRITT_CHECK(check_trust(signed_manifest, options.publishers, now));
  MERRITT_CHECK(check_fit(signed_manifest.manifest, now));
  MERRITT_TRY(os::SealedFile sealed, os::SealedFile::copy_of(file, "merritt:" + signed_manifest.manifest.id));
  MERRITT_TRY(const Digest digest, sha256(sealed.bytes()));
  if (digest != signed_manifest.manifest.digest) {
    return denied("altered after it was signed: the file's SHA-256 is " + to_hex(digest) + ", its manifest says " +
                  to_hex(signed_manifest.manifest.digest));
  }
  MERRITT_TRY(ElfInfo elf, check_plugin_elf(sealed.bytes()));
  return VerifiedPlugin{std::move(sealed), signed_manifest.manifest, std::move(elf), path};
}

}  // namespace

Status check_trust(const SignedManifest& signed_manifest, const std::vector<Publisher>& publishers, int64_t now) {
  Status failure = denied("signed by a key that is not on the trust list (key id " +
                          to_hex(signed_manifest.key_id).substr(0, 16) + "...)");
  for (const Publisher& publisher : publishers) {
    MERRITT_TRY(const Digest id, key_id_of(publisher.public_key));
    if (id != signed_manifest.key_id) continue;
    if (!signature_is_good(signed_manifest.payload, signed_manifest.signature, publisher.public_key)) {
      return denied("the signature of the manifest is wrong: it was altered after publisher " + publisher.name +
                    " signed it");
    }
    // A key may stand on the list more than once, for several plugin ids.
    failure = covers(publisher, signed_manifest.manifest, now);
    if (failure.ok()) return {};
  }
  return failure;
}

Status check_fit(const Manifest& manifest, int64_t now) {
  if (manifest.not_after != 0 && now > manifest.not_after) {
    return denied("the manifest of " + manifest.id + " expired " + std::to_string(now - manifest.not_after) +
                  " seconds ago");
  }
  if (manifest.abi_min > MRT_BACKEND_ABI || manifest.abi_max < MRT_BACKEND_ABI) {
    return Status(Code::kUnsupported, manifest.id + " speaks plugin ABI " + std::to_string(manifest.abi_min) + " to " +
                                          std::to_string(manifest.abi_max) + "; this library speaks " +
                                          std::to_string(MRT_BACKEND_ABI));
  }
  for (const std::string& feature : manifest.cpu_features) {
    if (os::has_cpu_feature(feature)) continue;
    const char* why = os::is_cpu_feature_name(feature) ? ", which this CPU or its operating system does not offer"
                                                       : ", which this library does not know";
    return Status(Code::kUnsupported, manifest.id + " needs the CPU feature " + feature + why);
  }
  return {};
}

Result<VerifiedPlugin> verify_file(const LoaderOptions& options, const std::string& path) {
  MERRITT_TRY(const std::string plain, os::plain_absolute_path(path));
  Result<VerifiedPlugin> verified = verify_plain(options, plain);
  if (verified.ok()) return verified;
  return std::move(verified).status().with_context("plugin " + plain);
}

}  // namespace merritt::backend
