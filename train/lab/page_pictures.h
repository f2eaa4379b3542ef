#pragma once
// What a study draws of single runs: their learned tables and their attention, in one file small enough to be kept without the runs.
//   pictures.json  {"format":1, "scenes":[{"keys":["rope",...], "seed":"1",
//     "tables":[{"name","kind","h","w","channels","prefix","scale","values"}, ...],                   as report_data.h has them
//     "attention":[{"block","offsets":{"h","w","scale","values"}|null, "maps":{"h","w","rows":[["head 0, corner"],...],"scale","values"}}, ...]}, ...]}
//   values: base64 of signed bytes, 127 is `scale`, -128 is no number. A picture needs no more.
#include <string>
#include <vector>

#include "tessera/train/report/run.h"

namespace tessera::lab {

/// Numbers of a picture as it is drawn from them.
struct Raster {
  int h = 0, w = 0;
  double scale = 0;
  std::vector<int8_t> values;  ///< h x w x channels of whoever holds it
  double at(size_t i) const;   ///< in [-1, 1] of `scale`; NaN where there is none
};

/// A block's attention: the mean weight of a key by its offset from the query, and the weights of single queries, one map under another.
struct AttentionPicture {
  int block = 0;
  Raster offsets;                 ///< of no cells where the block has none
  std::vector<std::string> maps;  ///< "head 0, query 0,0"
  std::vector<Raster> weights;    ///< as many
};

struct Scene {
  std::vector<std::string> keys;
  std::string seed;
  std::vector<report::Table> tables;  ///< values of 8 bits: to_json rounds them, from_json gives them back
  std::vector<AttentionPicture> attention;
};

/// The tables of report_data.json and what pictures.json of a finished cell holds, if there is one. Throws Error naming the damaged file.
Scene read_scene(const std::vector<std::string>& keys, const std::string& seed, const std::string& rundir,
                 const report::RunFiles& run);

std::string to_json(const std::vector<Scene>& scenes);
/// Throws Error naming `file` on anything malformed.
std::vector<Scene> scenes_in(const std::string& json, const std::string& file);

}  // namespace tessera::lab
