#pragma once
// Parameters to and from safetensors files, under the original's names and in PyTorch's layouts.
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "tessera/core/io/tensor_file.h"
#include "tessera/nn/params.h"

namespace tessera {

/// A row of a dialect: how another program's name becomes ours. Each * of `from` matches any characters (as few as
/// possible), and the i-th * of `to` stands for what the i-th * of `from` matched. An empty `to` drops the tensor. With
/// parts > 1 the file's tensor is part `part` of ours along its first dimension: {"*.query.weight",
/// "*.attn.qkv.weight", 0, 3}. A row with `given` holds only for files that have a tensor of such a name: two programs may
/// mean different tensors by one name, and it is another name that tells whose file it is.
struct Rename {
  std::string from, to;
  int part = 0, parts = 1;
  std::string given = {};
};

namespace io {

/// What `rows` make of a file's name: the first row that matches, or the name itself as {name, name}.
Rename renamed(const std::string& name, const std::vector<Rename>& rows);

/// Does `pattern`, in which each * stands for any characters, match all of `name`?
bool matches(std::string_view pattern, std::string_view name);

/// The rows that hold for a file of these names: those without `given`, and those whose `given` one of the names matches.
std::vector<Rename> rows_for(const std::vector<std::string>& names, const std::vector<Rename>& rows);

/// Buffers that other programs derive and save: relative_position_index, attn_mask, num_batches_tracked,
/// relative_coords_table, k_bias.
bool derived_buffer(std::string_view name);

inline namespace TESSERA_NS {

struct LoadOptions {
  std::vector<Rename> dialect;
  /// Called for a tensor of another shape than the parameter's (a position table of another grid): the tensor as the
  /// parameter wants it, or an empty one if nothing can be done. An Error that it throws is the reason in load's own.
  std::function<Tensor(const Params::Entry&, const Tensor& file)> fit = nullptr;
  /// Must a tensor of the right shape go through `fit`, too? (A table of 4 x 9 cells is as long as one of 6 x 6.)
  std::function<bool(const Params::Entry&)> suspects = nullptr;
  /// Parameters that stay as they were drawn, whatever the file holds under their names: a head of other classes.
  std::vector<std::string> fresh = {};
};

/// Writes all parameters and buffers in the order of declaration. Throws Error; the old file then is untouched.
void save(const Params& params, const std::string& path, Metadata metadata = {});
/// Fills params from a file and commits. All names and shapes are checked before the first value is written: missing,
/// extra and misshapen tensors are listed in one Error. Derived buffers are skipped. Returns the file's metadata.
Metadata load(Params& params, const std::string& path, const LoadOptions& options = {});
Metadata load(Params& params, const TensorFile& file, const LoadOptions& options = {});

}  // namespace TESSERA_NS
}  // namespace io
}  // namespace tessera
