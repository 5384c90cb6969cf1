// SPDX-License-Identifier: Apache-2.0
#include "kernel_trace.hpp"

#include <algorithm>
#include <sstream>

#include "cli.hpp"
#include "terminal.hpp"

namespace merritt::tools {
namespace {

struct TracedNode {
  uint32_t index = 0;
  std::string op;
  std::string kernel;
  double flops_share = 0;
};

std::vector<TracedNode> parse(const std::string& text) {
  std::istringstream lines(text);
  std::vector<TracedNode> nodes;
  std::string line;
  while (std::getline(lines, line)) {
    std::istringstream words(line);
    TracedNode node;
    if (words >> node.index >> node.op >> node.kernel >> node.flops_share) nodes.push_back(node);
  }
  return nodes;
}

std::vector<TracedNode> trace(const Model& model, RowClass rows) {
  return parse(expect(model.trace_kernels(rows), "kernel trace"));
}

bool is_onednn(const std::string& kernel) {
  return kernel.find("onednn") != std::string::npos || kernel.find("dnnl") != std::string::npos;
}

double onednn_share(const std::vector<TracedNode>& nodes) {
  double share = 0;
  for (const TracedNode& node : nodes) share += is_onednn(node.kernel) ? node.flops_share : 0;
  return std::min(share, 1.0);  // the shares are rounded
}

nlohmann::json json_of(const std::vector<TracedNode>& nodes) {
  nlohmann::json all = nlohmann::json::array();
  for (const TracedNode& node : nodes) {
    all.push_back({{"node", node.index}, {"op", node.op}, {"kernel", node.kernel}, {"flops_share", node.flops_share}});
  }
  return all;
}

}  // namespace

nlohmann::json trace_json(const Model& model) {
  const std::vector<TracedNode> prompt = trace(model, RowClass::kPrompt);
  const std::vector<TracedNode> generated = trace(model, RowClass::kGenerated);
  return {{"onednn_share_of_prefill_flops", onednn_share(prompt)},
          {"prompt", json_of(prompt)},
          {"generated", json_of(generated)}};
}

std::string kernel_names(const Model& model) {
  std::string names;
  for (const RowClass rows : {RowClass::kPrompt, RowClass::kGenerated}) {
    const auto text = model.trace_kernels(rows);
    if (!text) return "";
    for (const TracedNode& node : parse(*text)) names += node.kernel + " ";
  }
  return names;
}

std::string trace_text(const Model& model) {
  std::string text;
  for (const RowClass rows : {RowClass::kPrompt, RowClass::kGenerated}) {
    const std::vector<TracedNode> nodes = trace(model, rows);
    text += rows == RowClass::kPrompt ? "kernels, prompt rows\n" : "kernels, generated rows\n";
    for (const TracedNode& node : nodes) {
      text += format("  %4u %-12s %-40s %6.2f %%\n", node.index, node.op.c_str(), node.kernel.c_str(),
                     node.flops_share * 100);
    }
    if (rows == RowClass::kPrompt)
      text += format("oneDNN's share of prefill FLOPs %.1f %%\n", onednn_share(nodes) * 100);
  }
  return text;
}

}  // namespace merritt::tools
