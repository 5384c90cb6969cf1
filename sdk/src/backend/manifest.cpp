// SPDX-License-Identifier: Apache-2.0
#include "backend/manifest.hpp"

#include <capnp/message.h>
#include <capnp/serialize.h>
#include <plugin_manifest.capnp.h>

#include <algorithm>
#include <cstring>
#include <string_view>

#include "base/limits.hpp"
#include "base/text.hpp"

namespace merritt::backend {
namespace {

constexpr uint32_t kFormatVersion = 1;
constexpr size_t kWordBytes = sizeof(capnp::word);

Status bad_manifest(const std::string& what) { return Status(Code::kCorrupt, "the manifest " + what); }

// A message may be read many times over by hostile pointers: no more than this often, no deeper than it ever is.
capnp::ReaderOptions reader_options() {
  capnp::ReaderOptions options;
  options.traversalLimitInWords = 4 * limits::kManifestBytesMax / kWordBytes;
  options.nestingLimit = 4;
  return options;
}

kj::Array<capnp::word> to_words(std::span<const std::byte> bytes) {
  auto words = kj::heapArray<capnp::word>(bytes.size() / kWordBytes);
  if (words.size() != 0) std::memcpy(words.begin(), bytes.data(), words.size() * kWordBytes);
  return words;
}

std::vector<std::byte> to_bytes(kj::ArrayPtr<const capnp::word> words) {
  const auto* first = reinterpret_cast<const std::byte*>(words.begin());
  return {first, first + words.size() * kWordBytes};
}

capnp::Data::Reader to_data(std::span<const uint8_t> bytes) { return {bytes.data(), bytes.size()}; }

std::string_view view(capnp::Text::Reader text) { return {text.begin(), text.size()}; }

template <size_t N>
bool copy_exact(capnp::Data::Reader from, std::array<uint8_t, N>& to) {
  if (from.size() != N) return false;
  std::copy(from.begin(), from.end(), to.begin());
  return true;
}

// What both directions ask of a manifest.
Status check(const Manifest& manifest) {
  constexpr size_t kMax = limits::kManifestTextBytesMax;
  if (!is_plain_name(manifest.id, kMax)) return bad_manifest("has no usable plugin id (letters, digits, ._+-)");
  if (!is_plain_name(manifest.version, 31)) return bad_manifest("has no usable version");
  if (!is_plain_name(manifest.publisher, kMax))
    return bad_manifest("has no usable publisher name (letters, digits, ._+-)");
  if (manifest.abi_min == 0 || manifest.abi_min > manifest.abi_max)
    return bad_manifest("has an ABI range that is none");
  if (manifest.not_after < 0) return bad_manifest("has an end date before 1970");
  for (const auto* names : {&manifest.cpu_features, &manifest.capabilities}) {
    if (names->size() > limits::kManifestFeaturesMax) return bad_manifest("lists too many features");
    for (const std::string& name : *names) {
      // Names of extensions have slashes.
      std::string plain = name;
      std::replace(plain.begin(), plain.end(), '/', '_');
      if (!is_plain_name(plain, kMax)) return bad_manifest("lists a feature name that is none");
    }
  }
  return {};
}

Status read_names(capnp::List<capnp::Text>::Reader from, std::vector<std::string>& to) {
  if (from.size() > limits::kManifestFeaturesMax) return bad_manifest("lists too many features");
  for (const capnp::Text::Reader name : from) to.emplace_back(view(name));
  return {};
}

Result<Manifest> decode_payload(std::span<const std::byte> payload) {
  if (payload.empty() || payload.size() % kWordBytes != 0) return bad_manifest("has a payload of an odd size");
  const kj::Array<capnp::word> words = to_words(payload);
  const kj::ArrayPtr<const capnp::word> segment = words;
  capnp::SegmentArrayMessageReader message(kj::arrayPtr(&segment, 1), reader_options());
  if (!message.isCanonical()) return bad_manifest("has a payload that is not in canonical form");
  const auto root = message.getRoot<schema::PluginPayload>();
  if (root.getFormatVersion() != kFormatVersion) {
    return Status(Code::kUnsupported, "the manifest has format " + std::to_string(root.getFormatVersion()) +
                                          "; this library reads " + std::to_string(kFormatVersion));
  }
  Manifest manifest;
  manifest.id = view(root.getId());
  manifest.version = view(root.getVersion());
  manifest.publisher = view(root.getPublisher());
  if (!copy_exact(root.getDigest(), manifest.digest)) return bad_manifest("has no SHA-256 digest");
  manifest.abi_min = root.getAbiMin();
  manifest.abi_max = root.getAbiMax();
  manifest.not_after = root.getNotAfter();
  MERRITT_CHECK(read_names(root.getCpuFeatures(), manifest.cpu_features));
  MERRITT_CHECK(read_names(root.getCapabilities(), manifest.capabilities));
  MERRITT_CHECK(check(manifest));
  // A later format may have more fields: what this library does not read, it must not take for understood.
  MERRITT_TRY(const std::vector<std::byte> again, encode_payload(manifest));
  if (!std::ranges::equal(again, payload))
    return bad_manifest("has a payload with parts that this library does not know");
  return manifest;
}

Result<SignedManifest> decode_file(std::span<const std::byte> file) {
  const kj::Array<capnp::word> words = to_words(file);
  capnp::FlatArrayMessageReader message(words, reader_options());
  if (message.getEnd() != words.end()) return bad_manifest("has bytes after its end");
  const auto root = message.getRoot<schema::PluginManifest>();
  SignedManifest out;
  const capnp::Data::Reader payload = root.getPayload();
  const auto bytes = std::as_bytes(std::span(payload.begin(), payload.size()));
  out.payload.assign(bytes.begin(), bytes.end());
  if (!copy_exact(root.getSignature(), out.signature)) return bad_manifest("carries no Ed25519 signature");
  if (!copy_exact(root.getKeyId(), out.key_id)) return bad_manifest("carries no key id");
  MERRITT_TRY(out.manifest, decode_payload(out.payload));
  // The frame around the payload is not signed: one manifest has one file, not many that read alike.
  if (!std::ranges::equal(encode_signed(out.payload, out.signature, out.key_id), file)) {
    return bad_manifest("is not written the way it is signed; sign the plugin again with `merritt plugin sign`");
  }
  return out;
}

}  // namespace

Result<std::vector<std::byte>> encode_payload(const Manifest& manifest) {
  MERRITT_CHECK(check(manifest));
  try {
    capnp::MallocMessageBuilder message;
    auto root = message.initRoot<schema::PluginPayload>();
    root.setFormatVersion(kFormatVersion);
    root.setId(manifest.id.c_str());
    root.setVersion(manifest.version.c_str());
    root.setPublisher(manifest.publisher.c_str());
    root.setDigest(to_data(manifest.digest));
    root.setAbiMin(manifest.abi_min);
    root.setAbiMax(manifest.abi_max);
    root.setNotAfter(manifest.not_after);
    auto features = root.initCpuFeatures(static_cast<uint32_t>(manifest.cpu_features.size()));
    for (uint32_t i = 0; i < features.size(); ++i) features.set(i, manifest.cpu_features[i].c_str());
    auto capabilities = root.initCapabilities(static_cast<uint32_t>(manifest.capabilities.size()));
    for (uint32_t i = 0; i < capabilities.size(); ++i) capabilities.set(i, manifest.capabilities[i].c_str());
    const kj::Array<capnp::word> words = capnp::canonicalize(root.asReader());
    return to_bytes(words);
  } catch (const kj::Exception&) {
    return Status(Code::kInternal, "the manifest could not be encoded");
  }
}

std::vector<std::byte> encode_signed(std::span<const std::byte> payload, const Signature& signature,
                                     const Digest& key_id) {
  capnp::MallocMessageBuilder message;
  auto root = message.initRoot<schema::PluginManifest>();
  root.setPayload(capnp::Data::Reader(reinterpret_cast<const uint8_t*>(payload.data()), payload.size()));
  root.setSignature(to_data(signature));
  root.setKeyId(to_data(key_id));
  const kj::Array<capnp::word> words = capnp::messageToFlatArray(message);
  return to_bytes(words);
}

Result<SignedManifest> decode_signed(std::span<const std::byte> file) {
  if (file.empty() || file.size() % kWordBytes != 0) return bad_manifest("is not a Cap'n Proto message");
  if (file.size() > limits::kManifestBytesMax) {
    return bad_manifest("has " + std::to_string(file.size()) + " bytes; the limit is " +
                        std::to_string(limits::kManifestBytesMax));
  }
  // The library reports broken messages by throwing; nothing leaves this edge.
  try {
    return decode_file(file);
  } catch (const kj::Exception&) {
    return bad_manifest("is not a well-formed Cap'n Proto message");
  } catch (const std::exception&) {
    return bad_manifest("could not be read");
  }
}

std::string to_hex(std::span<const uint8_t> bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  text.reserve(2 * bytes.size());
  for (const uint8_t byte : bytes) {
    text.push_back(kDigits[byte >> 4]);
    text.push_back(kDigits[byte & 15]);
  }
  return text;
}

}  // namespace merritt::backend
