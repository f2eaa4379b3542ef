#include "tessera/train/training/views.h"

#include <algorithm>

#include "tessera/core/tape.h"
#include "tessera/train/data/augment.h"

namespace tessera {

std::vector<ImageView> views(std::string_view tta) {
  if (tta == "none") return {{}};
  if (tta == "flip") return {{.weight = 0.5}, {.mirrored = true, .weight = 0.5}};
  if (tta != "flip_shift") {
    const std::string known[] = {"none", "flip", "flip_shift"};
    unknown("tta", tta, known);
  }
  std::vector<ImageView> all;
  for (const int by : {0, -1, 1})
    for (const bool mirrored : {false, true}) all.push_back({by, by, mirrored, by == 0 ? 0.25 : 0.125});
  return all;
}

int evaluations(std::string_view tta) { return tta == "none" ? 1 : 1 + static_cast<int>(views(tta).size()); }

inline namespace TESSERA_NS {

Tensor seen(const ImageView& v, const Tensor& x) {
  const auto [B, H, W, C] = x.dims<4>();
  if (std::abs(v.down) >= H || std::abs(v.right) >= W)
    fail("tta", "an image of {} x {} cannot be moved by {} and {} pixels", H, W, v.down, v.right);
  Tensor y(x.shape());
  const real* const from = x.read().data();
  real* to = y.data();
  for (int64_t b = 0; b < B; ++b)
    for (int i = 0; i < H; ++i) {
      using data::reflected;
      const real* const row = from + (b * H + reflected(i - v.down, H)) * W * C;
      for (int j = 0; j < W; ++j, to += C) {
        const int column = reflected((v.mirrored ? W - 1 - j : j) - v.right, W);
        std::copy_n(row + int64_t{column} * C, C, to);
      }
    }
  return y;
}

Output Views::forward(const Run& run, const Input& input) const {
  const NoGrad none;
  if (!input.x || input.x.rank() != 4) fail("tta", "only images have views: leave it out");
  Input view = input;
  view.features = false;
  Output mean;
  for (const ImageView& v : views_) {
    view.x = seen(v, input.x);
    const Tensor z = of_.forward(run, view).logits;
    if (!mean.logits) mean.logits = zeros(z.shape());
    const auto weight = static_cast<real>(v.weight);
    for (int64_t i = 0; i < z.size(); ++i) mean.logits[i] += weight * z[i];
  }
  return mean;
}

}  // namespace TESSERA_NS

void check_views(std::string_view tta, const data::Source& source, std::string_view said_by) {
  if (tta == "none") return;
  const InputShape form = source.form();
  if (form.kind != InputShape::Kind::image)
    fail("tta", "{}={} is a mean over views of an image, but {} holds {}: leave it out", said_by, tta, source.name,
         form.str());
  const bool moves = tta == "flip_shift";
  if (moves && std::min(form.h, form.w) < 2)
    fail("tta", "{}={} moves images by a pixel, those of {} are {} x {}: leave it out", said_by, tta, source.name,
         form.h, form.w);
  // what training may not do to an image, a test may not either
  if (const auto* set = dynamic_cast<const data::Set*>(&source))
    for (const auto view : {data::Augmentation::flip, data::Augmentation::crop})
      if ((moves || view == data::Augmentation::flip) && !set->keeps_label(view))
        fail("tta", "{}={}: {} would destroy the labels of {}: {}; leave it out", said_by, tta, data::name(view),
             set->name, set->why_refused);
  try {
    source.reader({.crop = moves ? 1 : 0, .flip = true});
  } catch (const Error& e) {
    fail("tta", "{}={}: {}", said_by, tta, e.what());
  }
}

}  // namespace tessera
