#pragma once
// The tables beside a study's page, read back (RFC 4180, UTF-8): the page is drawn from them alone.
#include <string>
#include <string_view>
#include <vector>

namespace tessera::lab {

struct Csv {
  std::vector<std::string> columns;
  std::vector<std::vector<std::string>> rows;  ///< each of columns.size() texts

  /// A column's number; columns.size() if there is none.
  size_t column(std::string_view name) const;
  /// A row's text in that column; empty if there is no such column.
  const std::string& at(size_t row, std::string_view name) const;
};

/// The table of `text`, whose first line names the columns; a text of no bytes is a table without any. The ' that report::csv_cell puts
/// before what a spreadsheet would run is taken away. Throws Error naming `file` and the line on a quote that does not end, on rows of
/// another length, and on two columns of one name.
Csv parse_csv(std::string_view text, const std::string& file);
std::string to_text(const Csv& table);

/// The finite number that is the whole text; NaN else.
double number_in(std::string_view text);

}  // namespace tessera::lab
