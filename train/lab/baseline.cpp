#include "tessera/train/lab/baseline.h"

#include <algorithm>

#include "tessera/train/training/optim_config.h"

namespace tessera::lab {

KeyValues in_use(const std::vector<std::string>& keys, KeyValues values) {
  const auto value = [&](const std::string& key) -> const std::string* {
    const auto it = std::ranges::find(keys, key);
    return it == keys.end() ? nullptr : &values[static_cast<size_t>(it - keys.begin())];
  };
  const std::string *opt = value("optim.opt"), *base = value("optim.base_optimizer");
  const std::string* steps = opt && *opt == "sam" ? base : opt;
  KeyValues used = values;
  for (size_t k = 0; k < keys.size(); ++k) {
    const std::string section = keys[k].substr(0, keys[k].find('.') + 1), name = keys[k].substr(section.size());
    if (section == "optim." && steps && !steps->empty() && !optimiser_reads(*steps, name)) used[k].clear();
    for (const RunKey& known : run_keys()) {
      if (known.name != keys[k] || !known.domain.with) continue;
      const std::string* beside = value(section + known.domain.with);
      if (beside == nullptr || beside->empty()) continue;
      const bool switched = known.domain.is[0] == nullptr;
      const bool useful = switched
                              ? *beside != "0" && *beside != "false"
                              : std::ranges::any_of(known.domain.is, [&](const char* v) { return v && *beside == v; });
      if (!useful) used[k].clear();
    }
  }
  return used;
}

int likeness(const KeyValues& a, const KeyValues& b, size_t key) {
  int alike = 0;
  for (size_t k = 0; k < a.size(); ++k) {
    if (k == key) continue;
    if (a[k] == b[k])
      ++alike;
    else if (!a[k].empty() && !b[k].empty())
      return -1;
  }
  return alike;
}

size_t baseline_among(const std::vector<KeyValues>& candidates, const KeyValues& of, size_t key) {
  size_t best = candidates.size();
  int most = -1;
  for (size_t i = 0; i < candidates.size(); ++i)
    if (const int alike = likeness(of, candidates[i], key); alike > most) best = i, most = alike;
  return best;
}

}  // namespace tessera::lab
