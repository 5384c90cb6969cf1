// SPDX-License-Identifier: Apache-2.0
#include "model/pack/pack_cache.hpp"

#include <algorithm>
#include <utility>

#include "base/os/memory.hpp"
#include "base/os/private_file.hpp"
#include "base/os/random.hpp"

namespace merritt::model::pack {
namespace {

constexpr const char* kKeyName = "key";
constexpr size_t kPieceBytes = size_t{256} << 10;  // read and tagged while it is in the cache

Result<secret::SecretBytes> read_key(const os::File& directory) {
  MERRITT_TRY(const os::File file, os::open_private_file(directory, kKeyName, os::Readers::kOwner));
  MERRITT_TRY(const uint64_t size, file.size());
  if (size != kKeyBytes) {
    return Status(Code::kCorrupt, "the key file has " + std::to_string(size) + " bytes and not " +
                                      std::to_string(kKeyBytes) + "; remove it, and the packs with it");
  }
  secret::SecretBytes key(kKeyBytes);
  if (!key.ok()) return Status(Code::kOutOfMemory, "there is no memory for a key");
  MERRITT_CHECK(file.read_at(0, key.span()));
  return key;
}

Result<secret::SecretBytes> read_or_make_key(const os::File& directory) {
  Result<secret::SecretBytes> key = read_key(directory);
  if (key.ok() || key.status().code() != Code::kNotFound) return key;
  secret::SecretBytes fresh(kKeyBytes);
  if (!fresh.ok()) return Status(Code::kOutOfMemory, "there is no memory for a key");
  MERRITT_CHECK(os::random_bytes(fresh.span()));
  Status made = os::create_private_file(directory, kKeyName, fresh.span());
  if (!made.ok() && made.code() != Code::kFailedPrecondition) return made;
  return read_key(directory);  // another process may have been faster: one key for all
}

}  // namespace

Status PackReader::read(uint64_t offset, std::span<std::byte> out) const {
  const uint64_t index = offset / header_.chunk_bytes;
  if (offset % header_.chunk_bytes != 0 || index >= header_.chunks() ||
      out.size() != std::min<uint64_t>(header_.chunk_bytes, header_.bytes - offset)) {
    return Status(Code::kInvalidArgument, "a pack is read in whole chunks");
  }
  Status outcome = read_checked(index, out);
  if (!outcome.ok()) os::wipe(out.data(), out.size());
  return outcome;
}

// The bytes are checked where they arrived: a file that changes under us changes nothing that was checked.
Status PackReader::read_checked(uint64_t index, std::span<std::byte> out) const {
  MERRITT_TRY(ChunkMac mac, ChunkMac::begin(mac_, index));
  uint64_t from = header_.data_at() + index * header_.chunk_bytes;
  while (!out.empty()) {
    const std::span<std::byte> piece = out.first(std::min(out.size(), kPieceBytes));
    MERRITT_CHECK(file_.read_at(from, piece));
    MERRITT_CHECK(mac.update(piece));
    from += piece.size();
    out = out.subspan(piece.size());
  }
  MERRITT_TRY(const Tag tag, mac.finish());
  if (same_tag(tag, tags_[index])) return {};
  return Status(Code::kCorrupt, "chunk " + std::to_string(index) + " of " + std::to_string(header_.chunks()) +
                                    " is not as it was written");
}

Result<PackCache> PackCache::open(const std::string& directory, std::span<const std::byte> key) {
  if (!key.empty() && key.size() != kKeyBytes) {
    return Status(Code::kInvalidArgument, "the key of a pack cache has " + std::to_string(key.size()) +
                                              " bytes; it must have " + std::to_string(kKeyBytes));
  }
  MERRITT_TRY(os::File folder, os::open_private_directory(directory));
  if (!key.empty()) {
    secret::SecretBytes own(key);
    if (!own.ok()) return Status(Code::kOutOfMemory, "there is no memory for a key");
    return PackCache(std::move(folder), std::move(own));
  }
  Result<secret::SecretBytes> own = read_or_make_key(folder);
  if (!own.ok()) return std::move(own).status().with_context(directory);
  return PackCache(std::move(folder), std::move(own).value());
}

Result<PackReader> PackCache::find(const PackId& id) const {
  MERRITT_TRY(os::File file, os::open_private_file(directory_, id.name, os::Readers::kAny));
  MERRITT_TRY(const uint64_t size, file.size());
  Head head{};
  if (size < head.size()) return Status(Code::kCorrupt, id.name + " is shorter than a header");
  MERRITT_CHECK(file.read_at(0, head));
  Result<PackHeader> header = parse_header(head, size);
  if (!header.ok()) return std::move(header).status().with_context(id.name);
  MERRITT_TRY(PackMac mac, PackMac::derive(key_.span(), head));
  MERRITT_TRY(const Tag expected, mac.head_tag(head));
  Tag tag{};
  MERRITT_CHECK(file.read_at(kHeadBytes, std::as_writable_bytes(std::span(tag))));
  if (!same_tag(tag, expected)) {
    return Status(Code::kCorrupt, id.name + " was altered, or written under another key");
  }
  // Ours; the rest is about whether it is the one that is wanted.
  if (header->binding != id.binding) {
    return Status(Code::kCorrupt, id.name + " belongs to another state of the model file or another build");
  }
  PackReader reader(std::move(file), *header, std::move(mac));
  reader.tags_.resize(header->chunks());
  MERRITT_CHECK(reader.file_.read_at(kHeadBytes + kTagBytes, std::as_writable_bytes(std::span(reader.tags_))));
  return reader;
}

Status PackCache::store(const PackId& id, uint64_t bytes, const Export& weights) const {
  if (bytes == 0) return Status(Code::kInvalidArgument, "there are no weights to keep");
  PackHeader header;
  header.bytes = bytes;
  header.binding = id.binding;
  MERRITT_CHECK(os::random_bytes(std::as_writable_bytes(std::span(header.salt))));
  const Head head = encode_header(header);
  MERRITT_TRY(const PackMac mac, PackMac::derive(key_.span(), head));
  MERRITT_TRY(os::FileReplacement file, os::FileReplacement::begin(directory_, id.name, header.file_bytes()));
  std::vector<Tag> tags(1 + header.chunks());
  MERRITT_TRY(tags[0], mac.head_tag(head));
  std::vector<std::byte> buffer(std::min<uint64_t>(header.chunk_bytes, bytes));
  for (uint64_t index = 0; index < header.chunks(); ++index) {
    const uint64_t offset = index * header.chunk_bytes;
    const std::span<std::byte> chunk(buffer.data(), std::min<uint64_t>(header.chunk_bytes, bytes - offset));
    MERRITT_CHECK(weights(offset, chunk));
    MERRITT_TRY(ChunkMac tag, ChunkMac::begin(mac, index));
    MERRITT_CHECK(tag.update(chunk));
    MERRITT_TRY(tags[1 + index], tag.finish());
    MERRITT_CHECK(file.write_at(header.data_at() + offset, chunk));
  }
  MERRITT_CHECK(file.write_at(0, head));
  MERRITT_CHECK(file.write_at(kHeadBytes, std::as_bytes(std::span(tags))));
  return file.commit();
}

}  // namespace merritt::model::pack
