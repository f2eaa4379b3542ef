#pragma once
// What a finished run is worth, and what it does with positions, as named numbers: RUNDIR/measures.json, answers.safetensors and pictures.json.
// docs/measures.md says what each number means; the table of families in measures.cpp says what is measured by default and what it costs.
//
// measures.json   {"format":1, "about":{...}, "numbers":{NAME: number}, "timed":{NAME: number}, "absent":{NAME: "reason"}}
//   numbers   accuracies and shares in [0, 1], distances in cells. They depend on weights, data and MeasureOptions; not on threads, time or host
//     last_acc1                                    of all test samples; always there
//     subset_acc1                                  of the MeasureOptions::images samples that all below is asked of; always there
//     best_val_acc1, best_val.test_acc1, lossless_acc1      best_val.test_acc1: with the weights of the epoch that validated best
//     resolution.HxW.acc1, resolution.HxW.entropy  height x width in pixels
//     attention_entropy                            at the size of training, also of frames and tokens; 1: uniform over the keys a query sees
//     attention_distance.BLOCK.HEAD                BLOCK counts the attentions of the model from 0 (Site::id)
//     shift.circular.S.consistency, .acc1          image rolled by S pixels down and right; consistency: share of unchanged predictions
//     shift.crop.S.consistency, .acc1              moved by S pixels down and right, black comes in
//     shift.KIND.mod_patch.R.consistency, .acc1    mean over the S that leave R when divided by the patch; mod_window.R: by the window
//     permuted.same.acc1, permuted.each.acc1       tokens in another order, one for all images or one for each
//     grid_shuffle.K.acc1                          K x K tiles of the image in another order, one for each image
//     positions.zeroed.acc1, .transposed.acc1, .reversed.acc1      the encoding taken out; told (x, y) for (y, x); told the opposite corner
//     flip.acc1, flip.consistency                  mirrored left to right
//     params, params_added, macs, macs_added       _added: beyond `none` in the same model
//   timed     images_per_s (of the training), images_per_s_vs_none, peak_tensors_mb, peak_tensors_vs_none
//     training steps with and without the encoding in one process, in turns. The peak is that of the tensors alive in a step: what a process
//     holds can only be told of a whole process, since memory is never given back (core/memory.h).
//   about     {"families":[...], "images", "test_samples", "attention_images", "seed", "filter", "img_size":[H,W], "patch":[H,W], "window":[H,W]
//             in pixels or null, "weights":"weights.safetensors"}
//
// answers.safetensors   "right" U8 [N]: 1 where test sample i (in the order of the data) was answered right; "prediction" I32 [N], -1: none
//
// pictures.json   {"format":1, "images": n, "blocks":[{"block", "path", "q":[h,w,prefix], "k":[h,w,prefix], "entropy":[of each head],
//     "distance":[of each head, null: none], "maps":[{"head": h, "query":[y,x] or "class", "values":[k.h * k.w, row by row]}],
//     "offsets":{"h":2*q.h-1, "w":2*q.w-1, "values":[...]}}, ...]}
//   maps: mean over images of the weights of one query (a corner, the middle, the class token) over the cells, for each head.
//   offsets: the mean weight of a key at that offset from its query, over images, heads and the pairs that have it; the middle is the query
//   itself, y downwards; null where no pair has it, and in blocks of reduced keys, which have no offsets.
#include <string>
#include <vector>

#include "tessera/train/cli/image_size.h"
#include "tessera/train/training/trainer.h"

namespace tessera::lab {

/// A kind of measures that is asked for by name.
struct MeasureFamily {
  const char* name;  ///< "resolution"
  const char* help;  ///< one line
  bool usual;        ///< measured unless somebody says which
};
/// accuracy, lossless, resolution, attention, shift, permutation, grid_shuffle, positions, flip, cost, speed.
const std::vector<MeasureFamily>& measure_families();

/// Which, and of how many images. The defaults are what an ablation wants.
struct MeasureOptions {
  std::vector<std::string> families{};  ///< names of measure_families(), in any order; empty: the usual ones
  int images = 1000;          ///< of the test split, evenly spread, for everything but accuracy and lossless; 0: all
  int attention_images = 64;  ///< the same for entropies, distances and maps; 0: all
  std::vector<cli::ImageSize> sizes{};              ///< of `resolution`; empty: usual_sizes()
  std::vector<int> shifts{1, 2, 3, 4, 5, 6, 7, 8};  ///< in pixels
  std::vector<int> tiles{2, 4, 8};                  ///< K of grid_shuffle
  int64_t seed = 0;                                 ///< of the permutations
};
/// Throws Error on an unknown family (with the nearest one), a negative count, and a size, shift or tile that cannot be.
void check(const MeasureOptions& options);
/// 5/8, 3/4, 7/8, 1, 9/8, 5/4, 3/2, 2, 5/2 and 3 times the size of training, and its two 3/2 rectangles, in whole patches of the given height and
/// width: of 32 x 32 and patches of 4 they are 20 to 96, 32x48 and 48x32.
std::vector<cli::ImageSize> usual_sizes(const cli::ImageSize& trained, const cli::ImageSize& patch);

/// Measures a finished run and writes the three files into its directory, each by io::replace_file, measures.json last: where it stands all is
/// there. The directory is locked meanwhile. Hooks::stop is asked every few images: true gives false, and nothing is written. May be
/// repeated. Throws Error: a run that is not finished or is in use, options that make no sense, data that are gone or are others than those of the
/// run, answers that are not finite, a failing disk. What makes no sense for a run is no error but absent, with the reason.
bool measure(const std::string& rundir, const MeasureOptions& options = {}, const Hooks& hooks = {});

}  // namespace tessera::lab
