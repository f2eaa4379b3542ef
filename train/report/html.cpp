#include "tessera/train/report/html.h"

#include <fmt/format.h>

#include <array>
#include <cmath>
#include <vector>

#include "tessera/core/io/text.h"
#include "tessera/train/data/digest.h"
#include "tessera/train/training/report_data.h"

namespace tessera::report {
namespace {

constexpr std::string_view style = R"(
:root { color-scheme: light dark;
  --page: #f7f7f5; --card: #fdfdfc; --ink: #0b0b0b; --soft: #52514e; --faint: #6f6d67; --grid: #e6e5df; --axis: #c3c2b7; --heat: #2a78d6;
  --s0: #2a78d6; --s1: #1baf7a; --s2: #eda100; --s3: #4a3aa7; --s4: #e34948; --s5: #008300; --s6: #e87ba4; --s7: #eb6834; --bad: #c8312f; }
@media screen and (prefers-color-scheme: dark) { :root {
  --page: #0e0e0d; --card: #1a1a19; --ink: #ffffff; --soft: #c3c2b7; --faint: #9a9890; --grid: #2c2c2a; --axis: #45443f; --heat: #5598e7;
  --s0: #3987e5; --s1: #199e70; --s2: #c98500; --s3: #9085e9; --s4: #e66767; --s5: #2f9e2f; --s6: #d55181; --s7: #d95926; --bad: #ef7e7c; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--page); color: var(--ink); font: 15px/1.5 system-ui, -apple-system, "Segoe UI", sans-serif; }
main { max-width: 1180px; margin: 0 auto; padding: 36px 24px 64px; }
header { margin-bottom: 22px; }
h1 { font-size: 27px; line-height: 1.25; font-weight: 650; letter-spacing: -.01em; margin: 0 0 4px; overflow-wrap: anywhere; }
h2 { font-size: 18px; font-weight: 620; margin: 38px 0 2px; overflow-wrap: anywhere; } section section h2 { font-size: 15px; margin-top: 22px; }
h3 { font-size: 14px; font-weight: 600; margin: 0 0 2px; overflow-wrap: anywhere; }
p { margin: 0; } .note { color: var(--soft); margin: 0 0 14px; max-width: 76ch; overflow-wrap: anywhere; } header .note { margin: 0; }
code, pre { font: 12.5px/1.5 ui-monospace, "DejaVu Sans Mono", Menlo, monospace; }
.card { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; padding: 16px 18px; min-width: 0; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(150px, 1fr)); gap: 12px; }
.tile { background: var(--card); border: 1px solid var(--grid); border-radius: 10px; padding: 12px 16px; }
.tile b { display: block; font-size: 25px; line-height: 1.3; font-weight: 620; letter-spacing: -.01em; }
.tile span, .tile small { color: var(--soft); font-size: 13px; display: block; } .tile small { color: var(--faint); font-size: 12px; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(460px, 100%), 1fr)); gap: 14px; }
.plot { display: grid; grid-template-columns: max-content minmax(0, 1fr); column-gap: 8px; margin: 10px 10px 0 0; font-size: 11.5px; line-height: 16px; color: var(--faint); font-variant-numeric: tabular-nums; }
.plot svg { display: block; width: 100%; height: 220px; overflow: visible; }
.plot path { vector-effect: non-scaling-stroke; } .ys { display: flex; flex-direction: column-reverse; justify-content: space-between; text-align: right; } .ys span { line-height: 0; }
.xs { grid-column: 2; position: relative; height: 18px; margin-top: 5px; } .xs span { position: absolute; transform: translateX(-50%); } .x { grid-column: 2; text-align: center; }
.legend { display: flex; flex-wrap: wrap; gap: 0 16px; font-size: 12.5px; color: var(--soft); min-height: 19px; margin-bottom: 4px; } .legend span { display: flex; align-items: center; min-width: 0; overflow-wrap: anywhere; }
.legend svg { flex: none; width: 18px; height: 8px; margin-right: 5px; }
.legend i { font-style: normal; } .legend b { color: var(--ink); font-weight: 600; font-variant-numeric: tabular-nums; margin-left: 4px; white-space: nowrap; }
.grid { stroke: var(--grid); stroke-width: 1; } .axis { stroke: var(--axis); stroke-width: 1; }
.line { fill: none; stroke-width: 2; stroke-linejoin: round; stroke-linecap: round; }
.end, .hit { stroke-linecap: round; stroke-width: 8; } .hit { stroke-width: 15; stroke-opacity: 0; pointer-events: stroke; } .hit:hover { stroke-opacity: .45; }
.confusion { display: grid; grid-template-columns: minmax(0, 5fr) minmax(250px, 3fr); gap: 14px; align-items: start; } .confusion.one { grid-template-columns: minmax(0, 1fr); }
.matrix { display: grid; grid-template-columns: max-content repeat(var(--classes), minmax(11px, 1fr)); gap: 2px; max-width: min(720px, calc(var(--classes) * 64px + 110px)); margin: 0 auto; font-size: 11.5px; line-height: 1; color: var(--soft); }
.matrix .is { align-self: center; text-align: right; padding-right: 5px; white-space: nowrap; } .matrix .to { writing-mode: vertical-rl; transform: rotate(180deg); justify-self: center; padding-top: 5px; white-space: nowrap; }
.cell { position: relative; aspect-ratio: 1; display: flex; align-items: center; justify-content: center; min-width: 0; } .cell i { position: absolute; inset: 0; border-radius: 3px; background: var(--heat); }
.cell b { position: relative; font-weight: 400; color: var(--ink); font-variant-numeric: tabular-nums; } .cell:hover { outline: 1.5px solid var(--ink); border-radius: 3px; } .bare b { display: none; }
.fine { display: block; width: 100%; max-width: 640px; margin: 0 auto; border: 1px solid var(--grid); } .ink { fill: var(--heat); }
@media screen and (prefers-color-scheme: dark) { .over b { color: #0b0b0b; } }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: 13.5px; width: 100%; } td, th { text-align: left; padding: 5px 14px 5px 0; border-bottom: 1px solid var(--grid); vertical-align: top; }
th { color: var(--soft); font-weight: 500; } tr:last-child td, tbody tr:last-child th { border-bottom: 0; } td:last-child, th:last-child { padding-right: 0; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; } td.n { white-space: nowrap; } td, th { overflow-wrap: anywhere; min-width: 5em; } td.n, th.n { min-width: 0; overflow-wrap: normal; } td.key, th.key { white-space: nowrap; } td small { color: var(--faint); }
.chipped { display: flex; align-items: baseline; min-width: 6em; } .chip { flex: none; width: 10px; height: 10px; border-radius: 3px; margin-right: 7px; }
.stack { display: grid; gap: 12px; } .samples { display: grid; grid-template-columns: repeat(auto-fill, minmax(104px, 1fr)); gap: 10px; }
.sample { font-size: 12.5px; line-height: 1.35; } .sample p { overflow: hidden; text-overflow: ellipsis; white-space: nowrap; }
.sample img { display: block; width: 100%; aspect-ratio: 1; object-fit: contain; border-radius: 6px; margin-bottom: 4px; }
.sample .was { color: var(--soft); } .wrong { color: var(--bad); font-weight: 600; }
img { image-rendering: pixelated; }
.bar { height: 4px; border-radius: 2px; background: var(--grid); margin: 3px 0 1px; } .bar i { display: block; height: 4px; border-radius: 2px; background: var(--heat); }
.sample .bar i.no { background: var(--bad); } .tables { columns: 2 480px; column-gap: 14px; } .tables .card { break-inside: avoid; margin-bottom: 14px; }
h2 + div, h2 + details { margin-top: 10px; } details + details { margin-top: 10px; } summary { overflow-wrap: anywhere; }
.heads { display: flex; flex-wrap: wrap; gap: 12px; } .heads figure { margin: 0; } .heads figcaption { font-size: 12px; color: var(--soft); }
.mosaic img { display: block; max-width: 100%; } .scale { display: flex; align-items: center; gap: 8px; font-size: 12px; color: var(--soft); margin-top: 10px; }
.scale img { width: 150px; height: 9px; border-radius: 2px; } pre { margin: 10px 0 0; overflow-x: auto; } summary { cursor: pointer; }
footer { margin-top: 44px; color: var(--faint); font-size: 12.5px; } h2.sub { font-size: 14px; margin: 18px 0 8px; color: var(--soft); font-weight: 600; } .card > h2.sub:first-child { margin-top: 0; }
@media (max-width: 860px) { .confusion { grid-template-columns: minmax(0, 1fr); } }
@media screen and (max-width: 560px) { main { padding: 20px 12px 40px; } h1 { font-size: 22px; } h2 { margin-top: 28px; } .card { padding: 12px; } .tiles { grid-template-columns: 1fr 1fr; gap: 8px; } .tile b { font-size: 20px; }
  .plot svg { height: 180px; } table { font-size: 12.5px; } td, th { padding-right: 9px; } .less { display: none; } td.key, th.key { white-space: normal; } .matrix { gap: 1px; font-size: 9.5px; } .wide b { display: none; } .cell i { border-radius: 2px; } }
@page { margin: 14mm; }
@media print { * { print-color-adjust: exact; -webkit-print-color-adjust: exact; } :root { --page: #ffffff; --card: #ffffff; color-scheme: light; }
  body { font-size: 12px; } main { max-width: none; padding: 1px; } .tiles { grid-template-columns: repeat(auto-fit, minmax(110px, 1fr)); } .samples { grid-template-columns: repeat(8, 1fr); font-size: 10px; } .sample { font-size: 10px; } .tile b { font-size: 18px; } .charts { grid-template-columns: 1fr 1fr; } .plot svg { height: 150px; }
  .card, .tile, .sample, .heads figure, tr, .plot { break-inside: avoid; } .note { break-inside: avoid; } h1, h2, h3, summary, .note { break-after: avoid; } thead { display: table-header-group; } .tables { columns: auto; }
  .confusion { grid-template-columns: minmax(0, 1fr); } .matrix { max-width: min(460px, calc(var(--classes) * 48px + 90px)); } .fine { max-width: 420px; } .scroll { overflow: visible; } table { font-size: 10.5px; } td, th { padding-right: 8px; } td.key, th.key { white-space: normal; }
  details.card[open], details.run { break-inside: auto; } details pre { white-space: pre-wrap; overflow-wrap: anywhere; overflow: visible; } .hit { display: none; } }
)";

/// "a0ff" as its two bytes.
std::vector<uint8_t> bytes_of(std::string_view hex) {
  std::vector<uint8_t> bytes;
  for (size_t i = 0; i + 1 < hex.size(); i += 2)
    bytes.push_back(static_cast<uint8_t>(std::stoi(std::string(hex.substr(i, 2)), nullptr, 16)));
  return bytes;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string s;
  s.reserve(text.size());
  while (!text.empty()) {
    const auto [code, bytes] = io::first_letter(text);
    const bool shown =
        bytes > 0 && (code == '\n' || code == '\t' || !io::steers(code)) && code != 0xfffe && code != 0xffff;
    s += shown ? text.substr(0, bytes) : "\xef\xbf\xbd";
    text.remove_prefix(bytes > 0 ? bytes : 1);
  }
  return s;
}

std::string escape(std::string_view text) {
  std::string s;
  s.reserve(text.size());
  for (const char c : printable(text)) {
    switch (c) {
      case '&':
        s += "&amp;";
        break;
      case '<':
        s += "&lt;";
        break;
      case '>':
        s += "&gt;";
        break;
      case '"':
        s += "&quot;";
        break;
      case '\'':
        s += "&#39;";
        break;
      default:
        s += c;
    }
  }
  return s;
}

std::string breakable(std::string_view text) {
  std::string s;
  for (const char c : escape(text)) {
    s += c;
    if (c == '_' || c == '.' || c == '/' || c == '-') s += "<wbr/>";
  }
  return s;
}

std::string number(double v, int digits) {
  return std::isfinite(v) ? fmt::format("{:.{}g}", v == 0 ? 0.0 : v, digits) : std::string("\u2013");
}

std::string si(double v) {
  if (!std::isfinite(v)) return "\u2013";
  constexpr std::array<const char*, 5> units = {"", " k", " M", " G", " T"};
  size_t u = 0;
  for (; std::abs(v) >= 999.5 && u + 1 < units.size(); ++u) v /= 1000;
  if (std::abs(v) >= 99'999) return number(v, 3) + units[u];
  return fmt::format("{:.{}f}{}", v,
                     u == 0 && v == std::floor(v) ? 0
                     : std::abs(v) < 9.995        ? 2
                     : std::abs(v) < 99.95        ? 1
                                                  : 0,
                     units[u]);
}

std::string duration(double s) {
  if (!std::isfinite(s) || s < 0) return "\u2013";
  if (s < 59.95) return fmt::format("{:.1f} s", s);
  const auto whole = static_cast<long long>(std::llround(std::min(s, 1e12)));
  if (whole < 3600) return fmt::format("{} min {} s", whole / 60, whole % 60);
  return fmt::format("{} h {} min", whole / 3600, whole % 3600 / 60);
}

std::string page(std::string_view title, std::string_view body, std::string_view more_style, std::string_view script) {
  // the page is XML too, which would read the signs of a program as markup
  const std::string program = script.empty() ? "" : fmt::format("//<![CDATA[\n{}//]]>", script);
  std::string allowed, element;
  if (!program.empty()) {
    const auto sum = bytes_of(
        data::hex_digest(data::Digest::sha256, {reinterpret_cast<const uint8_t*>(program.data()), program.size()}));
    allowed = fmt::format("; script-src 'sha256-{}'", base64(sum.data(), sum.size()));
    element = "<script>" + program + "</script>\n";
  }
  return fmt::format(
      R"(<!DOCTYPE html>
<html lang="en" xmlns="http://www.w3.org/1999/xhtml">
<head>
<meta charset="utf-8"/>
<meta name="viewport" content="width=device-width, initial-scale=1"/>
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; img-src data:; style-src 'unsafe-inline'{}"/>
<title>{}</title>
<style>{}{}</style>
</head>
<body>
<main>
{}</main>
{}</body>
</html>
)",
      allowed, escape(title), style, more_style, body, element);
}

std::string section(std::string_view heading, std::string_view note, std::string_view body) {
  const std::string sentence = note.empty() ? "" : fmt::format("<p class=\"note\">{}</p>\n", escape(note));
  return fmt::format("<section>\n<h2>{}</h2>\n{}{}</section>\n", escape(heading), sentence, body);
}

}  // namespace tessera::report
