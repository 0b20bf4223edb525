// Learns from its own waits whether it is better to look for a while or to sleep at once. With a
// core to spare, looking wins by far, for a wake-up is dear; where waiter and worker share a core,
// looking only keeps the worker from working. Which of the two holds changes with the load of the
// host, so the way that is not in use is tried again now and then.
#pragma once
#include <algorithm>

#include "base/types.h"

namespace colo::vcpu {

class Patience {
 public:
  explicit Patience(u64 look_ns) : look_ns_(look_ns) {}

  /// For how long to look in this wait.
  u64 begin() {
    if (trial_ == 0 && ++since_trial_ >= interval_) trial_ = kTrial;
    bool look = looking_ != (trial_ > 0);
    return look ? look_ns_ : 0;
  }
  /// How long it took in the end. One outlier (a long device call, a collection) says nothing about
  /// the way of waiting.
  void end(u64 took_ns) {
    u64 took = std::min(took_ns, 4 * look_ns_);
    if (trial_ == 0) mean_ = mean_ - mean_ / 8 + took / 8;
    else tried(took);
  }

 private:
  /// A trial is several waits in a row, and the first half does not count: the kernel needs a few
  /// to spread two threads over two cores, or to bring them together.
  void tried(u64 took) {
    if (trial_-- <= kTrial / 2) trial_sum_ += took;
    if (trial_ > 0) return;
    u64 mean = trial_sum_ / (kTrial / 2);
    bool better = mean < mean_;
    if (better) {
      looking_ = !looking_;
      mean_ = mean;
    }
    interval_ = better ? kSoonest : std::min(interval_ * 2, kLatest);
    trial_sum_ = since_trial_ = 0;
  }

  static constexpr u32 kTrial = 8, kSoonest = 256, kLatest = 4096;  // waits
  u64 look_ns_;
  u64 mean_ = 0;  // of the way in use
  u64 trial_sum_ = 0;
  u32 trial_ = 0;  // waits left of a trial
  u32 since_trial_ = 0;
  u32 interval_ = kSoonest;
  bool looking_ = true;
};

/// The other side of it: is it worth lingering for the next request? By the share of lingerings
/// that were.
class Lingering {
 public:
  explicit Lingering(u64 linger_ns) : linger_ns_(linger_ns) {}
  u64 begin() { return credit_ > 0 || ++waits_ % 32 == 0 ? linger_ns_ : 0; }
  void end(bool came) { credit_ = came ? std::min(credit_ + 1, 8) : std::max(credit_ - 1, 0); }

 private:
  u64 linger_ns_;
  int credit_ = 8;
  u32 waits_ = 0;
};

}  // namespace colo::vcpu
