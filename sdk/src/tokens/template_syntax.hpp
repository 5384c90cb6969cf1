// SPDX-License-Identifier: Apache-2.0
// A chat template as a tree: what the parser makes of the source and the renderer walks. Nodes refer to each other by
// index into one array, so that a tree is freed without recursion; no node is deeper than kTreeDepthMax, so that it is
// walked with bounded recursion.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/status.hpp"
#include "tokens/template_routines.hpp"
#include "tokens/template_value.hpp"

namespace merritt::tokens {

inline constexpr uint32_t kNoNode = UINT32_MAX;
inline constexpr uint32_t kTreeDepthMax = 128;

enum class NodeKind : uint8_t {
  // Expressions.
  kLiteral,    // value
  kName,       // text
  kList,       // children
  kTuple,      // children
  kDict,       // children: key, value, key, value ...
  kAttribute,  // children[0].text
  kIndex,      // children[0][children[1]]
  kSlice,      // children[0][children[1]:children[2]:children[3]], kNoNode = left out
  kApply,      // filter, test or method `routine` of children[0]; the arguments follow, kNoNode = left out
  kFunction,   // function `routine`; arguments as above, or, with any names, children named by names
  kMacroCall,  // macro text(children), names parallel to them, empty = by position
  kNot,
  kNegate,
  kPlus,
  kFold,     // children[0] names[0] children[1] names[1] children[2] ...: + - or * / // % from the left
  kConcat,   // children ~ ...
  kCompare,  // children[0] names[0] children[1] names[1] ...: a chain, as in Python
  kAnd,      // children
  kOr,       // children
  kIf,       // children[0] if children[1] else children[2]
  // Statements.
  kText,      // text
  kPrint,     // children[0]
  kBranch,    // children: condition, block, condition, block ... [block of else]
  kFor,       // names: loop variables; children: iterable, filter or none, body, else or none
  kSet,       // text = children[0]; with names[0]: attribute of the namespace text
  kSetBlock,  // as kSet, of what the block children[0] shows
  kMacro,     // text(names); children: body, then a default for each name, kNoNode = none
  kBreak,
  kContinue,
  kScope,  // children[0], what it sets is gone afterwards
  kBlock,  // children in order
};

struct Node {
  NodeKind kind = NodeKind::kBlock;
  uint32_t line = 0;
  uint32_t depth = 1;  // of the tree below, this node included
  std::string text;
  Value value;
  const Routine* routine = nullptr;
  std::vector<uint32_t> children;
  std::vector<std::string> names;
};

struct Syntax {
  std::vector<Node> nodes;
  uint32_t root = kNoNode;
};

// kUnsupported names what the subset lacks and its line; kCorrupt says where the source is not a template at all.
Result<Syntax> parse_template(std::string_view source);

}  // namespace merritt::tokens
