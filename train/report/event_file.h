#pragma once
// A run's curves in the file that TensorBoard reads, written without it: records of TensorFlow's framing around a few fields of its protocol
// buffers (tensorflow/core/util/event.proto, framework/summary.proto). Held to TensorBoard's own writer by tests/golden/tensorboard_events.py.
#include <cstdint>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "tessera/train/report/run.h"

namespace tessera::report {

/// In a run directory; TensorBoard looks for "tfevents" in the name.
constexpr const char* event_file = "events.out.tfevents.0.tessera";

/// CRC-32C (Castagnoli; RFC 3720, appendix B.4): of "123456789" 0xe3069283.
uint32_t crc32c(std::string_view bytes);
/// One record: the length in 8 bytes, its masked checksum, the bytes, their masked checksum; all little-endian. A checksum is masked by a
/// rotation and a constant, so that one of bytes that hold checksums is none of them.
std::string event_record(std::string_view bytes);

/// The first event of a file, which names the format.
std::string version_event(double wall_time);
/// Some numbers of one step.
std::string scalar_event(double wall_time, int64_t step, const std::vector<std::pair<std::string, float>>& scalars);

/// The whole file: for each line of metrics.jsonl with a step loss/SPLIT, accuracy/SPLIT and, of training, learning_rate and
/// images_per_s. The time of an event is the run's seconds from 1970 on, since a run knows no date: equal runs give equal bytes, a longer
/// run begins with those of a shorter one.
std::string events_of(const RunFiles& run);

}  // namespace tessera::report
