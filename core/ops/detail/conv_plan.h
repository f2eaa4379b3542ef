#pragma once
// How a dense or grouped convolution is computed, for core/ops/conv.cpp: as products that read the padded map (conv_lines.cpp), or as products
// with gathered patches (conv_patches.cpp), which is the older and plainer way and serves what the other does not.
#include "tessera/core/kernels/conv.h"
#include "tessera/core/tape.h"

namespace tessera {
inline namespace TESSERA_NS {
namespace conv {

struct Plan {
  ConvShape s;                  // of one image; C = all input channels
  int64_t O, groups, I, Og, K;  // outputs, groups, channels in and out per group, patch width kh kw I
  bool depthwise;
  bool whole;                                // 1 x 1: the patches are the map
  int64_t line() const { return s.Wo * O; }  // of outputs, in reals
  int64_t taps() const { return s.kh * s.kw; }
};

/// Are the operands of products rounded to bf16? The double twin never rounds.
bool rounds();

/// w (O, I, kh, kw) -> (O, kh, kw, I); for depthwise, where I = 1, -> (kh, kw, O)
void permute(const Plan& p, const Tensor& w, real* to);
Tensor permuted(const Plan& p, const Tensor& w);
/// The inverse of a gradient, into its sink.
void unpermute(const Plan& p, const real* dw, Sink sink);

/// Is reading the map in lines the better way on this machine and in this precision?
bool by_lines(const Plan& p);
void forward_lines(const Plan& p, const Tensor& x, const Tensor& w, const real* bias, Tensor& y);
void input_gradient_lines(const Plan& p, const Tensor& w, const Tensor& dy, Sink dx);
void weight_gradient_lines(const Plan& p, const Tensor& x, const Tensor& dy, Sink dw);

/// Does it pay to save products for additions, 3 x 3 of stride 1?
bool by_winograd(const Plan& p);
void forward_winograd(const Plan& p, const Tensor& x, const Tensor& w, const real* bias, Tensor& y);
void input_gradient_winograd(const Plan& p, const Tensor& w, const Tensor& dy, Sink dx);
void weight_gradient_winograd(const Plan& p, const Tensor& x, const Tensor& dy, Sink dw);

void forward_patches(const Plan& p, const Tensor& x, const Tensor& w, const real* bias, Tensor& y);
void input_gradient_patches(const Plan& p, const Tensor& w, const Tensor& dy, Sink dx);
void weight_gradient_patches(const Plan& p, const Tensor& x, const Tensor& dy, Sink dw);

}  // namespace conv
}  // namespace TESSERA_NS
}  // namespace tessera
