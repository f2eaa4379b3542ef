#pragma once
// What models of images share: rows of their tables of fields, each for any configuration C that has the members, and
// how their options follow the data.
#include "tessera/models/extents.h"
#include "tessera/models/row.h"
#include "tessera/nn/layers.h"

namespace tessera {
inline namespace TESSERA_NS {

template <class C>
std::vector<Field<C>> image_fields() {
  std::vector<Field<C>> all{
      {"img_size", &C::img_size, "height of the images the model is built for, and their width unless img_width is set",
       height_domain()},
      {"img_width", &C::img_width, "width of the images, 0: img_size", within(0, most_side)},
      {"in_chans", &C::in_chans, "channels of the image", within(1, most_channels)},
      {"num_classes", &C::num_classes, "classes, 0: no head, the answer is the features", within(0, most_classes)}};
  if constexpr (requires(const C& c) { c.patch_size; })
    all.insert(all.begin() + 2, {"patch_size", &C::patch_size, "side of a patch", patch_domain()});
  return all;
}
template <class C>
std::vector<Field<C>> attention_fields() {
  return {{"qkv_bias", &C::qkv_bias, "biases in the query, key and value projection"},
          {"qk_scale", &C::qk_scale, "factor of the logits, 0: head_dim^-1/2", scale_domain()}};
}
/// Of a column of equal blocks.
template <class C>
std::vector<Field<C>> block_fields() {
  return {{"embed_dim", &C::embed_dim, "width", within(1, most_width)},
          {"depth", &C::depth, "blocks", within(0, most_depth)},
          {"num_heads", &C::num_heads, "attention heads", within(1, most_heads)},
          {"mlp_ratio", &C::mlp_ratio, "hidden width of the MLP over embed_dim", positive(1000)},
          {"act_layer", &C::act_layer, "the nonlinearity of the MLP", activation_domain()},
          {"norm_eps", &C::norm_eps, "epsilon of the layer norms", within(1e-12, 1)}};
}
template <class C>
std::vector<Field<C>> drop_fields() {
  return {
      {"drop_rate", &C::drop_rate, "dropout before the head", below_one()},
      {"proj_drop_rate", &C::proj_drop_rate, "dropout after the attention's projection and in the MLP", below_one()},
      {"attn_drop_rate", &C::attn_drop_rate, "dropout of attention weights", below_one()}};
}

template <class C>
InputShape image_input(const C& c) {
  return {.h = c.img_size, .w = c.width(), .channels = c.in_chans};
}
/// num_classes, in_chans, img_size and img_width follow the data; but a named configuration is made for one size, which
/// only the user may change.
void fit_image(const ModelRow& row, Options& said, const DataShape& data);

}  // namespace TESSERA_NS
}  // namespace tessera
