#pragma once
// A process-wide table of things computed once per key: index lists, fixed encodings. What it gives is a handle (a Tensor, a Pattern, a
// struct of them), which lives as long as somebody holds it, so that an entry may go: all memos together keep at most memo_limit()
// bytes, those asked for least recently go first. A key is computed by whoever asks first; who asks for another key never waits for it.
// The key must hold every value the entry depends on.
#include <cstddef>
#include <list>
#include <map>
#include <memory>
#include <mutex>
#include <optional>

namespace tessera {

/// Bytes that all memos keep at most; 256 MB unless set. More than one entry's worth is needed for them to be of use.
size_t memo_limit();
void set_memo_limit(size_t bytes);
/// Bytes that they keep now.
size_t memo_bytes();

/// The entries of all memos in the order in which they were asked for. Its lock is also that of every memo's map.
class MemoOrder {
 public:
  class Owner {
   public:
    virtual void drop(const void* entry) = 0;  ///< forgets an entry; the lock is held

   protected:
    ~Owner() = default;
  };
  struct Place {
    Owner* owner;
    const void* entry;
    size_t bytes;
  };
  using Where = std::list<Place>::iterator;

  std::mutex lock;
  // to be called with the lock held
  Where add(Owner* owner, const void* entry);
  void asked_for(Where at) { order_.splice(order_.end(), order_, at); }
  void weighs(Where at, size_t bytes);  ///< and lets go of the oldest others until all fit
  void remove(Where at);

 private:
  friend size_t memo_bytes();
  friend size_t memo_limit();
  friend void set_memo_limit(size_t bytes);
  void shrink(const Place* but);
  std::list<Place> order_;  // the oldest first
  size_t bytes_ = 0, limit_ = size_t{256} << 20;
};
MemoOrder& memo_order();  // never destroyed, as memos are static

/// bytes_of(Value), found by its arguments' namespace, says what an entry weighs.
template <class Key, class Value>
class Memo : MemoOrder::Owner {
 public:
  Memo() = default;
  Memo(const Memo&) = delete;
  Memo& operator=(const Memo&) = delete;
  ~Memo() {
    MemoOrder& order = memo_order();
    const std::lock_guard guard(order.lock);
    for (auto& [key, entry] : entries_) order.remove(entry->at);
  }

  template <class Make>
  Value operator()(const Key& key, Make make) {
    MemoOrder& order = memo_order();
    std::shared_ptr<Entry> entry;
    {
      const std::lock_guard guard(order.lock);
      entry = find(key);
      if (entry->ready) return *entry->value;
    }
    const std::lock_guard once(entry->making);
    if (!entry->value) {
      entry->value.emplace(make());  // if it throws, the next who asks tries again
      const std::lock_guard guard(order.lock);
      entry->ready = true;
      order.weighs(entry->at, bytes_of(*entry->value));
    }
    return *entry->value;
  }

 private:
  struct Entry {
    std::mutex making;
    std::optional<Value> value;
    bool ready = false;  ///< value is there; of the order's lock, and an entry that is not ready is not let go of
    MemoOrder::Where at;
    typename std::map<Key, std::shared_ptr<Entry>>::iterator here;
  };

  const std::shared_ptr<Entry>& find(const Key& key) {
    MemoOrder& order = memo_order();
    const auto [it, is_new] = entries_.try_emplace(key);
    if (is_new) {
      it->second = std::make_shared<Entry>();
      it->second->at = order.add(this, it->second.get());
      it->second->here = it;
    } else {
      order.asked_for(it->second->at);
    }
    return it->second;
  }
  void drop(const void* entry) override { entries_.erase(static_cast<const Entry*>(entry)->here); }

  std::map<Key, std::shared_ptr<Entry>> entries_;
};

}  // namespace tessera
