// SPDX-License-Identifier: Apache-2.0
#include "tenants_report.hpp"

#include <algorithm>
#include <cmath>
#include <functional>
#include <optional>

#include "terminal.hpp"

namespace merritt::tools {
namespace {

constexpr double kWidth = 860, kHeight = 220, kLeft = 64, kBottom = 24, kTop = 8;
constexpr const char* kColours[] = {"#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"};

// What a chart shows of one piece; nothing = a gap.
using Of = std::function<std::optional<double>(const Bucket&)>;

const char* colour(size_t tenant) { return kColours[tenant % std::size(kColours)]; }

std::string escaped(const std::string& text) {
  std::string out;
  for (const char c : text) {
    switch (c) {
      case '<': out += "&lt;"; break;
      case '>': out += "&gt;"; break;
      case '&': out += "&amp;"; break;
      case '"': out += "&quot;"; break;
      default: out += static_cast<unsigned char>(c) < 0x20 || static_cast<unsigned char>(c) > 0x7e ? '?' : c;
    }
  }
  return out;
}

// The next of 1, 2, 5, 10, 20, ...
double rounded_up(double value) {
  if (!(value > 0)) return 1;
  const double unit = std::pow(10, std::floor(std::log10(value)));
  for (const double step : {1.0, 2.0, 5.0}) {
    if (value <= step * unit * (1 + 1e-9)) return step * unit;
  }
  return 10 * unit;
}

struct Scale {
  double seconds;
  double most;

  double x(double at) const { return kLeft + (kWidth - kLeft) * at / seconds; }
  double y(double value) const { return kTop + (kHeight - kTop - kBottom) * (1 - value / most); }
};

std::string axes(const Scale& scale) {
  std::string svg;
  for (int i = 0; i <= 4; ++i) {
    const double value = scale.most * i / 4, y = scale.y(value);
    svg += format("<line class=\"g\" x1=\"%.1f\" y1=\"%.1f\" x2=\"%.1f\" y2=\"%.1f\"/>", kLeft, y, kWidth, y);
    svg += format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"end\">%g</text>\n", kLeft - 6, y + 4, value);
  }
  for (int i = 0; i <= 4; ++i) {
    const double at = scale.seconds * i / 4;
    svg += format("<text x=\"%.1f\" y=\"%.1f\" text-anchor=\"%s\">%.3g s</text>\n", scale.x(at), kHeight - 6,
                  i == 4 ? "end" : "middle", at);
  }
  return svg;
}

// A gap ends one line and begins another; a point alone is a dot.
std::string line_of(const TenantFigures& tenant, size_t index, double bucket_seconds, const Scale& scale,
                    const Of& of) {
  std::string path, dots;
  bool drawing = false;
  for (size_t i = 0; i < tenant.timeline.size(); ++i) {
    const std::optional<double> value = of(tenant.timeline[i]);
    if (value) {
      const double x = scale.x(std::min((static_cast<double>(i) + 0.5) * bucket_seconds, scale.seconds));
      path += format("%s%.1f %.1f", drawing ? "L" : "M", x, scale.y(*value));
      if (!drawing) dots += format("<circle cx=\"%.1f\" cy=\"%.1f\" r=\"1.5\"/>", x, scale.y(*value));
    }
    drawing = value.has_value();
  }
  return format("<g stroke=\"%s\" fill=\"%s\"><title>", colour(index), colour(index)) + escaped(tenant.name) +
         "</title><path fill=\"none\" d=\"" + path + "\"/>" + dots + "</g>\n";
}

std::string chart(const LoadFigures& figures, const std::string& title, const Of& of) {
  double most = 0;
  for (const TenantFigures& tenant : figures.tenants) {
    for (const Bucket& bucket : tenant.timeline) most = std::max(most, of(bucket).value_or(0));
  }
  const Scale scale = {std::max(figures.seconds, 1e-9), rounded_up(most)};
  std::string html = "<h2>" + title + "</h2>\n";
  html += format("<svg viewBox=\"0 0 %.0f %.0f\" role=\"img\">\n", kWidth, kHeight) + axes(scale);
  for (size_t i = 0; i < figures.tenants.size(); ++i) {
    html += line_of(figures.tenants[i], i, figures.bucket_seconds, scale, of);
  }
  return html + "</svg>\n";
}

std::string table(const LoadFigures& figures) {
  std::string html =
      "<table><tr><th>tenant</th><th>weight</th><th>done</th><th>cancelled</th><th>refused</th><th>first token p50</th>"
      "<th>p90</th><th>p99</th><th>max ms</th><th>between p50</th><th>p99 ms</th><th>tokens/s in</th><th>out</th>"
      "<th>compute ms</th></tr>\n";
  for (size_t i = 0; i < figures.tenants.size(); ++i) {
    const TenantFigures& tenant = figures.tenants[i];
    html += format("<tr><td><b style=\"color:%s\">&#9632;</b> ", colour(i)) + escaped(tenant.name) + "</td>";
    html += format("<td>%u</td><td>%llu</td><td>%llu</td><td>%llu</td>", tenant.weight,
                   static_cast<unsigned long long>(tenant.done), static_cast<unsigned long long>(tenant.cancelled),
                   static_cast<unsigned long long>(tenant.refusals()));
    for (const double part : {0.5, 0.9, 0.99, 1.0}) {
      html += format("<td>%.2f</td>", quantile(tenant.first_token_ms, part));
    }
    html += format("<td>%.2f</td><td>%.2f</td>", quantile(tenant.between_ms, 0.5), quantile(tenant.between_ms, 0.99));
    html += format(
        "<td>%.1f</td><td>%.1f</td><td>%.1f</td></tr>\n", static_cast<double>(tenant.tokens_in) / figures.seconds,
        static_cast<double>(tenant.tokens_out) / figures.seconds, static_cast<double>(tenant.compute_ns) / 1e6);
  }
  return html + "</table>\n";
}

constexpr const char* kStyle =
    "body{font:14px/1.5 system-ui,sans-serif;max-width:900px;margin:2em auto;padding:0 1em;color:#222}"
    "h1{font-size:1.4em}h2{font-size:1em;margin:1.6em 0 .4em}table{border-collapse:collapse;font-size:12px}"
    "td,th{padding:.2em .5em;text-align:right;border-bottom:1px solid "
    "#ddd}td:first-child,th:first-child{text-align:left}"
    "svg{width:100%;font-size:11px}svg text{fill:#555;stroke:none}svg path{stroke-width:1.3}.g{stroke:#e4e4e4}";

}  // namespace

std::string html_of(const LoadFigures& figures, const std::string& title) {
  const double per_second = 1 / figures.bucket_seconds;
  std::string html = "<!DOCTYPE html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><title>" + escaped(title) +
                     "</title>\n<style>" + kStyle + "</style></head><body>\n<h1>" + escaped(title) + "</h1>\n";
  html += format("<p>%.1f s measured, %llu engine steps, Jain index of compute over weight %.4f.</p>\n",
                 figures.seconds, static_cast<unsigned long long>(figures.steps), figures.jain_of_service());
  html += table(figures);
  html += chart(figures, "Service: ms of compute in a second", [=](const Bucket& piece) {
    return std::optional(static_cast<double>(piece.compute_ns) / 1e6 * per_second);
  });
  html += chart(figures, "Tokens generated in a second",
                [=](const Bucket& piece) { return std::optional(static_cast<double>(piece.tokens_out) * per_second); });
  html += chart(figures, "Time to first token, the longest of each piece of time, ms", [](const Bucket& piece) {
    return piece.first_token_ms.empty() ? std::nullopt : std::optional(quantile(piece.first_token_ms, 1));
  });
  html += chart(figures, "Time to first token, median of each piece of time, ms", [](const Bucket& piece) {
    return piece.first_token_ms.empty() ? std::nullopt : std::optional(quantile(piece.first_token_ms, 0.5));
  });
  html += chart(figures, "KV held, MiB",
                [](const Bucket& piece) { return std::optional(static_cast<double>(piece.kv_bytes) / (1 << 20)); });
  return html + "</body></html>\n";
}

}  // namespace merritt::tools
