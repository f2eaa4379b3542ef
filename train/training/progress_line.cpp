#include "tessera/train/training/progress_line.h"

#include <fmt/format.h>

#include <algorithm>

#include "tessera/train/training/text.h"

namespace tessera {

std::string progress_line(const Moment& m, int columns) {
  const size_t room = columns > 1 ? static_cast<size_t>(columns) - 1 : 0;
  const std::string epoch = fmt::format("epoch {}/{}", m.epoch, m.epochs), loss = fmt::format("  loss {:.4f}", m.loss),
                    left = fmt::format("  {} left", duration(m.seconds_left)),
                    batch = fmt::format("  {}/{}", m.batch, m.batches), acc = fmt::format("  {:.1f} %", 100 * m.acc1),
                    rate = fmt::format("  {:.0f} {}s/s", m.samples_per_s, m.unit);
  constexpr size_t widest = 20, narrowest = 6, frame = 3;  // " [" and "]"
  // in the order of their worth; each is there if all before it are and there is room
  const std::string* parts[] = {&epoch, &loss, &left, &batch, &acc, &rate};
  size_t used = 0, shown = 0;
  for (const std::string* part : parts) {
    if (used + part->size() > room) break;
    used += part->size(), ++shown;
  }
  const size_t spare = room - used;
  const size_t bar = shown >= 4 && spare >= frame + narrowest ? std::min(widest, spare - frame) : 0;
  const auto part = [&](size_t i) { return i < shown ? *parts[i] : std::string(); };
  std::string line = part(0);
  if (bar > 0) {
    const size_t done = std::min(bar, bar * m.batch / std::max<size_t>(m.batches, 1));
    line += fmt::format(" [{}{}]", std::string(done, '#'), std::string(bar - done, '.'));
  }
  return line + part(3) + part(1) + part(4) + part(5) + part(2);
}

}  // namespace tessera
