#pragma once
// What a run leaves for its report beside the files of the command line's contract: RUNDIR/report_data.json, written by
// the trainer after the last evaluation and read by `tessera report`.
//   {"split": "test", "classes": ["cat", ...], "confusion": [[true 0 -> predicted 0, 1, ...], ...] (more than 200 classes:
//    "confused": [[true, predicted, images], ...] of the pairs that occur),
//    "samples": [{"height", "width", "channels", "pixels": base64 of height x width x channels bytes, "true",
//    "predicted", "probability"}, ...], "tables": [{"name", "kind", "h", "w", "channels", "prefix", "values": [...]},
//    ...]}
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "tessera/train/training/confusion.h"

namespace tessera::report {

/// A test image and what the model made of it.
struct Sample {
  int height = 0, width = 0, channels = 3;  ///< channels: 1 or 3
  std::vector<uint8_t> pixels;              ///< height x width x channels, as the data set has them
  int truth = 0, predicted = 0;
  double probability = 0;  ///< of the predicted class
};

/// A learned position table.
struct Table {
  std::string name;  ///< the parameter's: "pos_embed", "layers.0.blocks.1.attn.relative_position_bias_table"
  /// embedding: rows are tokens, `prefix` class tokens and then an h x w grid; shown as each cell's cosine similarity
  /// with all others. offsets: rows are an h x w grid of relative offsets, the middle is "same place"; one picture a
  /// channel (head). matrix: h x w numbers without a place; channels = 1.
  std::string kind = "matrix";
  int h = 0, w = 0, channels = 1, prefix = 0;
  std::vector<float> values;  ///< (prefix + h * w) x channels, row-major
};

struct Data {
  std::string split = "test";  ///< what confusion and samples are of
  std::vector<std::string> classes;
  Confusion confusion;  ///< [true][predicted]; of as many classes, or empty
  std::vector<Sample> samples;
  std::vector<Table> tables;
};

/// One line of JSON. Throws Error if the counts of values, pixels or classes disagree.
std::string to_json(const Data& data);
/// Throws Error naming `file` on anything malformed, and on whole numbers that do not fit or are none. null is a probability or a value
/// that is not a number.
Data from_json(std::string_view json, const std::string& file);

/// Through io::replace_file.
void save(const Data& data, const std::string& path);
Data load(const std::string& path);

std::string base64(const void* bytes, size_t count);

}  // namespace tessera::report
