#pragma once
// Test-time augmentation: an answer that is the mean of the answers to several views of an image.
#include <string>
#include <string_view>
#include <vector>

#include "tessera/models/model.h"
#include "tessera/train/data/source.h"

namespace tessera {

/// One view: the image moved by so many pixels down and to the right (what comes in is the image, mirrored at its border), then mirrored
/// left to right or not. The weights of all views sum to 1.
struct ImageView {
  int down = 0, right = 0;
  bool mirrored = false;
  double weight = 1;
};

/// none: the image alone. flip: image and mirror, a half each. flip_shift: a half for the two as they are, a quarter each for them moved
/// by a pixel up and left and by a pixel down and right, six in all (Jordan's airbench, its tta_level 2). Throws Error on another word.
std::vector<ImageView> views(std::string_view tta);
/// How many evaluations a test with it is: the plain one, and one of each view if there are several.
int evaluations(std::string_view tta);

inline namespace TESSERA_NS {

/// A view of images x (B, H, W, C), as a new tensor. Throws Error when it is moved by the whole image.
Tensor seen(const ImageView& view, const Tensor& x);

/// A model of images whose logits are the mean of another's over the views. It has no gradients and no stages.
class Views final : public Model {
 public:
  /// `of` must outlive this. Throws Error as views() does.
  Views(const Model& of, std::string_view tta) : of_(of), views_(views(tta)) {}
  Output forward(const Run& run, const Input& input) const override;

 private:
  const Model& of_;
  std::vector<ImageView> views_;
};

}  // namespace TESSERA_NS

/// Throws Error, which names the option `said_by`, if these data have no such views: they are no images, or their labels do not survive
/// a mirror or a shift.
void check_views(std::string_view tta, const data::Source& source, std::string_view said_by);

}  // namespace tessera
