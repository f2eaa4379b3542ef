#include "tessera/nn/position/rotary.h"

namespace tessera {
inline namespace TESSERA_NS {

Points points(const Layout& now) {
  Layout full = now;
  full.reduce = 1;
  const auto all = [](const std::vector<Coords::Cell>& cells, int reduce) {
    std::vector<Point> p;
    p.reserve(cells.size());
    for (const auto& c : cells) {
      if (c.prefix()) {
        p.push_back({0, 0, true});
      } else {
        p.push_back({(c.y + 0.5) * reduce - 0.5, (c.x + 0.5) * reduce - 0.5, false});
      }
    }
    return p;
  };
  const Coords c = coords(full);
  return {all(c.q, 1), all(c.k, now.reduce)};
}

Extent query_extent(const Layout& now) {
  if (now.q.sequence && now.k.sequence) return {now.k.h, now.k.w};
  return now.window.h ? Extent{now.window.h, now.window.w} : Extent{now.q.h, now.q.w};
}

Scaling scaling_of(Scaling c, bool rescale) {
  if (rescale) c.scaling = "interpolate";
  return c;
}

std::string needs_width(const Places& at, int axes, const Scaling& c) {
  for (const Site& s : at.sites) {
    if (s.head_dim % (2 * axes)) return fmt::format("head width {} is not a multiple of {}", s.head_dim, 2 * axes);
    if (std::string why = scaling_refuses(c, s.head_dim / (2 * axes)); !why.empty()) return why;
  }
  return "";
}

std::string needs_values(const Places& at) {
  for (const Site& s : at.sites)
    if (s.scale == 0) return "values=true turns the values, too, which of all attentions only softmax does here";
  return "";
}

void check_turned_values(const std::string& name, bool values, const Scaling& c) {
  if (values && c.temperature)
    fail("position " + name,
         "temperature=true would make the turned values larger, too: leave out one of temperature and values");
}

}  // namespace TESSERA_NS
}  // namespace tessera
