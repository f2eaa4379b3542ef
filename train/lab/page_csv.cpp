#include "tessera/train/lab/page_csv.h"

#include <algorithm>
#include <charconv>
#include <cmath>
#include <limits>
#include <set>

#include "tessera/core/error.h"
#include "tessera/train/report/results.h"

namespace tessera::lab {
namespace {

/// Reads cell after cell; `line` counts line breaks, also those within quotes.
struct Reader {
  std::string_view text;
  const std::string& file;
  size_t line = 1;

  /// One cell and the sign after it: a comma, or a line feed, which also stands for the end of the text.
  std::pair<std::string, char> cell() {
    std::string value = text.starts_with('"') ? quoted() : bare();
    if (text.starts_with('\r')) text.remove_prefix(1);
    if (text.empty()) return {value, '\n'};
    const char after = text[0];
    if (after != ',' && after != '\n')
      fail("report", "{}:{}: text after a closing quote; restore the file", file, line);
    text.remove_prefix(1);
    if (after == '\n') ++line;
    return {value, after};
  }

 private:
  std::string bare() {
    const size_t end = std::min(text.find_first_of(",\n"), text.size());
    std::string value(text.substr(0, end));
    if (value.ends_with('\r')) value.pop_back();
    text.remove_prefix(end);
    return value;
  }
  std::string quoted() {
    const size_t begun = line;
    std::string value;
    for (text.remove_prefix(1); !text.empty();) {
      const char c = text[0];
      text.remove_prefix(1);
      if (c == '\n') ++line;
      if (c != '"') {
        value += c;
      } else if (text.starts_with('"')) {
        value += '"', text.remove_prefix(1);
      } else {
        return value;
      }
    }
    fail("report", "{}:{}: a quote that does not end; restore the file", file, begun);
  }
};

/// Has csv_cell() put a ' before it?
bool guarded(std::string_view value) {
  return value.size() > 1 && value[0] == '\'' && std::string_view("=+-@\t").find(value[1]) != std::string_view::npos;
}

}  // namespace

size_t Csv::column(std::string_view name) const {
  return static_cast<size_t>(std::find(columns.begin(), columns.end(), name) - columns.begin());
}

const std::string& Csv::at(size_t row, std::string_view name) const {
  static const std::string nothing;
  const size_t c = column(name);
  return c < columns.size() ? rows[row][c] : nothing;
}

Csv parse_csv(std::string_view text, const std::string& file) {
  Csv table;
  Reader reader{text, file};
  while (!reader.text.empty()) {
    const size_t line = reader.line;
    std::vector<std::string> row;
    for (char after = ','; after == ',';) {
      auto [value, sign] = reader.cell();
      row.push_back(guarded(value) ? value.substr(1) : value);
      after = sign;
    }
    if (table.columns.empty()) {
      const std::set<std::string> names(row.begin(), row.end());
      if (names.size() < row.size()) fail("report", "{}:1: two columns of one name; restore the file", file);
      table.columns = std::move(row);
    } else if (row.size() != table.columns.size()) {
      fail("report", "{}:{}: {} cells where the first line names {} columns; restore the file", file, line, row.size(),
           table.columns.size());
    } else {
      table.rows.push_back(std::move(row));
    }
  }
  return table;
}

std::string to_text(const Csv& table) {
  std::string text;
  const auto line = [&](const std::vector<std::string>& cells) {
    for (size_t c = 0; c < cells.size(); ++c) text += (c > 0 ? "," : "") + report::csv_cell(cells[c]);
    text += '\n';
  };
  line(table.columns);
  for (const auto& row : table.rows) line(row);
  return text;
}

double number_in(std::string_view text) {
  double v = 0;
  const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), v);
  const bool whole = error == std::errc() && end == text.data() + text.size() && std::isfinite(v);
  return whole ? v : std::numeric_limits<double>::quiet_NaN();
}

}  // namespace tessera::lab
