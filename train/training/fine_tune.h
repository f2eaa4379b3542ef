#pragma once
// What a run does with weights that were trained before: start from them, leave some as they are, move lower blocks more slowly.
#include <string>
#include <vector>

#include "tessera/nn/position_weights.h"
#include "tessera/train/training/config.h"

namespace tessera {
inline namespace TESSERA_NS {

/// The parameters that the number of classes shapes; none in a model without such an option.
std::vector<std::string> head_of(const std::string& model, const Options& options);

/// Fills `params` from train.weights: a file under the names of any program whose dialect the model knows, or a run directory, whose
/// weights.safetensors it then is. Position tables of another grid or window follow their encoding's rule, the first convolution other
/// channels of images as timm does. The head stays fresh with
/// train.reset_head, where the file's has another shape, and where the run directory was trained on classes of other names than
/// `classes`, those of the data. Returns a line for everything that is not as in the file, and for a head that is kept though nobody knows
/// its classes. Throws Error on tensors that are missing, unknown or of another shape, all in one.
std::vector<std::string> start_from(const RunConfig& config, const std::vector<std::string>& classes,
                                    const PositionTables& positions, Params& params);

/// started_from.json of a run that began from train.weights: the file, and the checksum of its bytes (core/io/checksum.h), so that it is
/// known which they were when the file is another by then; "" for a run that did not.
std::string started_from(const RunConfig& config);
/// The checksum in such a text; "" where there is none.
std::string weights_checksum(const std::string& started_from);

/// Stops the gradients of the parameters that the patterns match, "patch_embed.*, pos_embed". Throws Error on a pattern that matches
/// none, and when nothing is left to train.
void freeze(Params& params, const std::string& patterns);

/// For each entry a factor of the learning rate, layer_decay^(layers above it), as in BEiT (Bao et al. 2021) and timm: blocks in their
/// order; what is declared before a block (a merging) belongs to it, what is declared before the first, and positions of no block, are the
/// layer below, what follows the last one (a norm) belongs to that, and the head is above all. On top of it lr_scale: a parameter has the
/// factor of the last of its patterns that matches. None where neither is said. Throws Error for layer_decay of a model without blocks of
/// attention, and for a pattern of lr_scale that matches no parameter.
std::vector<double> learning_rates(const RunConfig& config, const PositionTables& positions, const Params& params);

/// What Muon leaves to AdamW though it is a matrix, as its author does: tables of positions, whatever has "embed" in its name, and
/// what other data would give another shape, which are the first layers and the head. None unless optim.opt=muon.
std::vector<std::string> not_hidden(const RunConfig& config, const PositionTables& positions, const Params& params);

}  // namespace TESSERA_NS
}  // namespace tessera
