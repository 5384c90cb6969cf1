// SPDX-License-Identifier: Apache-2.0
// Proves that the Cap'n Proto just built links into a shared object and round-trips a message.
#include <capnp/any.h>
#include <capnp/message.h>
#include <capnp/serialize.h>

__attribute__((visibility("default"))) int merritt_check() {
  capnp::MallocMessageBuilder builder;
  builder.initRoot<capnp::AnyPointer>().setAs<capnp::Text>("merritt");
  kj::Array<capnp::word> words = capnp::messageToFlatArray(builder);
  capnp::FlatArrayMessageReader reader(words);
  return reader.getRoot<capnp::AnyPointer>().getAs<capnp::Text>() == "merritt" ? 0 : 1;
}

#ifdef CHECK_MAIN
int main() { return merritt_check(); }
#endif
