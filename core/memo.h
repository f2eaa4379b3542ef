#pragma once
// A process-wide table of things computed once per key: index lists, fixed encodings. Entries never die, so callers keep plain
// references and lanes share them. The key must hold every value the entry depends on.
#include <map>
#include <memory>
#include <mutex>

namespace tessera {

template <class Key, class Value>
class Memo {
 public:
  template <class Make>
  const Value& operator()(const Key& key, Make make) {
    std::lock_guard guard(lock_);
    auto it = entries_.find(key);
    if (it == entries_.end()) it = entries_.emplace(key, std::make_unique<const Value>(make())).first;
    return *it->second;
  }

 private:
  std::mutex lock_;
  std::map<Key, std::unique_ptr<const Value>> entries_;
};

}  // namespace tessera
