#pragma once
// Who works on which cell, in a folder that machines share. A claim is a file that only one process can make; its owner counts a number
// in it upwards. Whoever wants a cell judges by its OWN monotonic clock how long that number has stood still, so that no clock, time zone
// or file time of another machine plays a part. A claim that stands still is taken over by one process only. An owner that was asleep
// and comes back finds its claim another's and its working folder under another name: it can spoil nothing.
#include <sys/types.h>

#include <atomic>
#include <chrono>
#include <condition_variable>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <thread>

namespace tessera::lab {

/// What a claim says of its owner.
struct Owner {
  std::string id;       ///< host, process and a random number: no two are equal
  std::string machine;  ///< one that process numbers belong to; "" if that is not known
  pid_t pid = 0;
  std::string arithmetic;
  double share = 0;  ///< of the run that is done, as of the last beat
};
/// Of this process, a new one each time.
Owner myself();

/// Removes the claim `path` if it still is this owner's. One that was renamed over it since it was last looked at goes back to its place.
void remove_claim(const std::string& path, const std::string& owner);

/// Held while it lives, and released at its end unless another has it by then.
class Claim {
 public:
  ~Claim();
  Claim(const Claim&) = delete;
  Claim& operator=(const Claim&) = delete;
  const Owner& owner() const { return owner_; }
  /// Is it gone, or another's? Known from the last beat on.
  bool lost() const { return lost_; }
  /// The same, looked up now.
  bool check();
  void progress(double share) { share_ = share; }

 private:
  friend class Claims;
  Claim(std::string path, Owner owner, int fd, double every);
  void beat_until_the_end(double every);
  std::string path_;
  Owner owner_;
  int fd_;
  std::atomic<bool> lost_{false};
  std::atomic<double> share_{0};
  std::mutex mutex_;
  std::condition_variable wake_;
  bool ending_ = false;
  std::thread heart_;
};

class Claims {
 public:
  /// In `folder`, which is made. A claim is dead when it stood still for `patience` seconds of looking at it, or at once where its process
  /// was on this machine and is no more. Throws Error when the folder cannot be made.
  Claims(std::string folder, double patience);
  /// The claim on a cell that nobody has, or whose owner is dead; null when somebody lives, or was faster. To be asked again and again:
  /// between two calls time passes for the judgement. Throws Error when no claim can be written.
  std::unique_ptr<Claim> take(const std::string& cell);
  /// Who has it, by what the file says; empty id: nobody.
  Owner holder(const std::string& cell) const;

 private:
  struct Observed {
    std::string content;
    double still = 0;  ///< seconds in which it was looked at and did not change
    std::chrono::steady_clock::time_point looked;
    int attempts = 0;
  };
  std::unique_ptr<Claim> make(const std::string& cell);
  bool dead(const std::string& cell, const std::string& content);
  std::unique_ptr<Claim> take_over(const std::string& cell, const std::string& content, int attempt);
  std::string path(const std::string& cell) const { return folder_ + "/" + cell; }
  std::string folder_;
  double patience_;
  std::map<std::string, Observed> observed_;
};

}  // namespace tessera::lab
