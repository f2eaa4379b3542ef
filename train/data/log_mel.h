#pragma once
// From samples to frames: the logarithm of the power in bands that are as wide as hearing makes them.
#include <memory>
#include <span>
#include <vector>

namespace tessera::data {

struct LogMelOptions {
  int sample_rate = 0;    ///< samples a second
  int n_mels = 40;        ///< features of a frame
  double window_ms = 25;  ///< of sound that a frame sees
  double hop_ms = 10;     ///< from one frame to the next
};

///   frame t = log(max(F |fft(hann . x[t hop - n/2, t hop + n/2))|^2, 1e-10))
/// with n the power of two that holds the window, which lies in its middle, zeros beside the recording, and F the HTK triangles: n_mels of
/// them, equally wide in mel = 2595 log10(1 + f / 700), from 0 to half the sample rate. These are the numbers of torchaudio's
/// MelSpectrogram(sample_rate, n_fft=n, win_length, hop_length, n_mels, pad_mode="constant"), floor and logarithm aside.
class LogMel {
 public:
  /// Throws Error on options that make no sense together: no sample between two frames, a window of fewer than 8 samples or more than 2^16,
  /// so many bands that one of them falls between two frequencies; and if the program was built without KissFFT.
  explicit LogMel(const LogMelOptions& options);
  ~LogMel();
  LogMel(const LogMel&) = delete;
  LogMel& operator=(const LogMel&) = delete;
  /// 1 + samples / hop frames of n_mels numbers each.
  std::vector<float> operator()(std::span<const float> samples) const;
  const LogMelOptions& options() const { return options_; }

 private:
  struct Transform;
  struct Band {
    int first = 0;               // frequency
    std::vector<float> weights;  // of it and those above
  };
  LogMelOptions options_;
  int window_ = 0, hop_ = 0, n_ = 0;
  std::vector<float> hann_;
  std::vector<Band> bands_;
  std::unique_ptr<Transform> transform_;
};

}  // namespace tessera::data
