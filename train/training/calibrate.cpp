#include "tessera/train/training/calibrate.h"

#include <algorithm>

#include "tessera/models/calibrated.h"
#include "tessera/train/training/text.h"

namespace tessera {
inline namespace TESSERA_NS {

void calibrate(Model& model, const data::Source& train, std::vector<std::string>& said) {
  auto* const wants = dynamic_cast<Calibrated*>(&model);
  if (!wants) return;
  const auto all = static_cast<int64_t>(train.size()), n = std::min<int64_t>(wants->calibration_samples(), all);
  if (n < 1) return;
  constexpr int64_t batch = 64;  // of large images, too, a few megabytes
  int64_t next = 0;
  wants->calibrate([&] {
    std::vector<int32_t> which;
    for (; next < n && static_cast<int64_t>(which.size()) < batch; ++next)
      which.push_back(static_cast<int32_t>(next * all / n));
    return which.empty() ? Input() : data::gather(train, which).in;
  });
  said.push_back(fmt::format("calibrated on {}", plural(n, std::string("training ") + train.form().unit())));
}

}  // namespace TESSERA_NS
}  // namespace tessera
