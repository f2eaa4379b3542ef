#include "tessera/core/memo.h"

namespace tessera {

MemoOrder& memo_order() {
  static MemoOrder& order = *new MemoOrder;
  return order;
}

MemoOrder::Where MemoOrder::add(Owner* owner, const void* entry) {
  return order_.insert(order_.end(), {owner, entry, 0});
}

void MemoOrder::weighs(Where at, size_t bytes) {
  bytes_ += bytes - at->bytes;
  at->bytes = bytes;
  shrink(&*at);
}

/// What is being made weighs nothing yet and stays: others wait for it.
void MemoOrder::shrink(const Place* but) {
  for (auto it = order_.begin(); bytes_ > limit_ && it != order_.end();) {
    const auto at = it++;
    if (&*at == but || at->bytes == 0) continue;
    bytes_ -= at->bytes;
    at->owner->drop(at->entry);
    order_.erase(at);
  }
}

void MemoOrder::remove(Where at) {
  bytes_ -= at->bytes;
  order_.erase(at);
}

size_t memo_limit() {
  MemoOrder& order = memo_order();
  const std::lock_guard guard(order.lock);
  return order.limit_;
}

void set_memo_limit(size_t bytes) {
  MemoOrder& order = memo_order();
  const std::lock_guard guard(order.lock);
  order.limit_ = bytes;
  order.shrink(nullptr);
}

size_t memo_bytes() {
  MemoOrder& order = memo_order();
  const std::lock_guard guard(order.lock);
  return order.bytes_;
}

}  // namespace tessera
