#pragma once
// The Conformer on frames of speech: classes of a recording, or of every frame.
#include <deque>

#include "tessera/models/conformer_block.h"
#include "tessera/models/row.h"
#include "tessera/nn/head.h"

namespace tessera::conformer {
inline namespace TESSERA_NS {

/// torchaudio's arguments under torchaudio's names where it has them; but input_dim is the width of a frame, which torchaudio wants as wide
/// as the blocks, and embed_dim that of the blocks. The defaults are a model of half a million weights for short words.
struct Config {
  int input_dim = 40, num_classes = 10;
  std::string global_pool = "avg";  ///< avg (mean of the valid frames) | none (logits per frame, for CTC)
  int num_frames = 128;             ///< what tables of positions are made for
  int subsampling = 1;              ///< 1 | 2 | 4: one frame is left of so many
  bool input_linear = true;  ///< frames -> embed_dim; false: they are as wide already (torchaudio.models.Conformer)
  int embed_dim = 64, num_layers = 4, num_heads = 4, head_dim = 0, ffn_dim = 0;
  int depthwise_conv_kernel_size = 31, conv_expansion = 1;
  bool conv_bias = true, qkv_bias = true;
  double qk_scale = 0;
  bool use_group_norm = false, convolution_first = false;
  bool causal = false;  ///< a frame sees none after it, in attention and in convolution
  double dropout = 0, pos_drop_rate = 0, drop_rate = 0;
};
Fields<Config> fields();
/// Throws Error on a configuration that makes no sense.
Places places(const Config& c);
InputShape input(const Config& c);
void fit(const ModelRow& row, Options& said, const DataShape& data);
/// torchaudio's names where the Conformer is a member of that name (its RNN-T); torchaudio.models.Conformer's are ours.
std::vector<Rename> dialect();
std::vector<ModelRow> rows();

/// Conv2d 3 x 3 of stride 2 without padding over time and features, then ReLU; once or twice (ESPnet's Conv2dSubsampling).
class Subsampling {
 public:
  Subsampling(const Scope& s, int factor, int channels);
  /// (B, T, F) -> (B, kept(T), channels kept(F)), channel by channel.
  Tensor operator()(const Run& run, const Tensor& x) const;
  /// How many of n positions are left.
  static int kept(int factor, int n);

 private:
  std::deque<Conv2d> convs_;  // conv.0, conv.2
};

class Conformer final : public Model {
 public:
  /// Throws Error on a configuration that makes no sense.
  Conformer(const Scope& s, const Config& config, const MakePosition& position);
  /// Frames (B, T, input_dim), with lengths where they differ -> logits (B, num_classes), or (B, T', num_classes) and lengths without
  /// pooling. stages: the frames (B, T', embed_dim) after the last block, zeros where padding is. What the padding holds changes nothing.
  Output forward(const Run& run, const Input& input) const override;

 private:
  Ints kept(const Ints& lengths, int T) const;

  Config config_;
  Places at_;
  std::optional<Subsampling> subsampling_;
  std::optional<Linear> input_linear_;
  std::unique_ptr<PositionEncoding> position_;
  Dropout pos_drop_;
  std::deque<Block> blocks_;
  Dropout head_drop_;
  Head head_;
};

}  // namespace TESSERA_NS
}  // namespace tessera::conformer
