# SPDX-License-Identifier: Apache-2.0
# The signed manifest of a plugin, `<plugin>.so.manifest`. The payload is a canonical single-segment message kept as bytes:
# what was signed is what is read. A field more is another formatVersion: readers refuse what they do not know.
@0xd1a6c2f07b3e9584;

using Cxx = import "/capnp/c++.capnp";
$Cxx.namespace("merritt::schema");

struct PluginPayload {
  formatVersion @0 :UInt32;     # 1; another number is refused
  id @1 :Text;                  # "onednn"
  version @2 :Text;             # "0.1.0"
  digest @3 :Data;              # SHA-256 of the whole plugin file
  abiMin @4 :UInt32;            # range of the plugin ABI it speaks (merritt/backend.h)
  abiMax @5 :UInt32;
  cpuFeatures @6 :List(Text);   # it cannot be loaded without these
  capabilities @7 :List(Text);  # optional slots and extensions, for people and inventories
  notAfter @8 :Int64;           # seconds since 1970; 0 = no end
  publisher @9 :Text;           # as on the trust list
}

struct PluginManifest {
  payload @0 :Data;    # PluginPayload, canonical
  signature @1 :Data;  # Ed25519 over payload
  keyId @2 :Data;      # SHA-256 of the public key
}
