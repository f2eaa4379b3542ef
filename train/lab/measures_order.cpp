// Measures of the same pictures with something else said of where their tokens are.
#include <memory>

#include "tessera/train/lab/measures_session.h"

namespace tessera::lab {
namespace {

/// The accuracy on the part while the probe is as `change` makes it; it is as before afterwards.
template <class F>
void with_probe(Session& s, const std::string& name, F change) {
  const auto restore = [was = s.probe](Probe* p) { *p = was; };
  const std::unique_ptr<Probe, decltype(restore)> changed(&s.probe, restore);
  change(s.probe);
  if (!s.images) {  // samples of other lengths stay in their data
    s.out.add(name, ask(*s.net.model, *s.test, s.part, *s.task, s.hooks).acc1());
  } else if (const auto said = s.changed_answers(*s.images, {name})) {
    s.out.add(name, said->acc1());
  }
}

}  // namespace

void measure_permutation(Session& s) {
  const std::string same = "permuted.same.acc1", each = "permuted.each.acc1";
  if (!s.has_images({same, each})) return;
  if (s.net.places.tokens.empty()) {
    for (const std::string& name : {same, each}) s.out.leave_out(name, "the model has no tokens");
    return;
  }
  with_probe(s, same, [](Probe& p) { p.order = TokenOrder::same_for_all; });
  with_probe(s, each, [](Probe& p) { p.order = TokenOrder::each_its_own; });
}

void measure_positions(Session& s) {
  const std::pair<const char*, Told> all[] = {{"positions.zeroed.acc1", Told::none},
                                              {"positions.transposed.acc1", Told::transposed},
                                              {"positions.reversed.acc1", Told::reversed}};
  for (const auto& [name, told] : all) {
    const std::string why =
        s.run.config.position == "none" ? "none says nothing of positions" : cannot_tell(told, s.net.places);
    if (why.empty()) {
      with_probe(s, name, [what = told](Probe& p) { p.told = what; });
    } else {
      s.out.leave_out(name, why);
    }
  }
}

}  // namespace tessera::lab
