// SPDX-License-Identifier: Apache-2.0
// A chat template as a tree: what the parser makes of the source and the renderer walks. Nodes refer to each other by
// index into one array, so that a tree is freed without recursion.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.hpp"
#include "tokens/template_value.hpp"

namespace merritt::tokens {

inline constexpr uint32_t kNoNode = UINT32_MAX;

enum class NodeKind : uint8_t {
  // Expressions.
  kLiteral,    // value
  kName,       // text
  kList,       // children
  kDict,       // children: key, value, key, value ...
  kAttribute,  // children[0].text
  kIndex,      // children[0][children[1]]
  kSlice,      // children[0][children[1]:children[2]:children[3]], kNoNode = left out
  kCall,       // function text(children...), named arguments in names
  kMethod,     // children[0].text(children[1]...)
  kFilter,     // children[0] | text(children[1]...), named arguments in names
  kTest,       // children[0] is text
  kNot,
  kNegate,
  kBinary,  // text is the operator: + - * / // % ~ == != < <= > >= in and or
  kIf,      // children[0] if children[1] else children[2]
  // Statements.
  kText,    // text
  kPrint,   // children[0]
  kBranch,  // children: condition, block, condition, block ... [block of else]
  kFor,     // names: loop variables; children: iterable, filter or none, body, else or none
  kSet,     // text = children[0]; with names[0]: attribute of the namespace text
  kBlock,   // children in order
};

struct Node {
  NodeKind kind;
  uint32_t line = 0;
  std::string text;
  Value value;
  std::vector<uint32_t> children;
  std::vector<std::string> names;  // of arguments: empty = by position; parallel to the arguments
};

struct Syntax {
  std::vector<Node> nodes;
  uint32_t root = kNoNode;
};

// kUnsupported names what the subset lacks and its line; kCorrupt says where the source is not a template at all.
Result<Syntax> parse_template(std::string_view source);

// What filters, tests, methods and functions there are: asked by the parser, so that an unknown one is refused at
// compile.
bool is_known_filter(std::string_view name);
bool is_known_test(std::string_view name);
bool is_known_method(std::string_view name);
bool is_known_function(std::string_view name);

}  // namespace merritt::tokens
