// Learns from its own waits whether it is better to look for a while or to sleep at once. With a core to spare, looking wins by far, for
// a wake-up is dear; where waiter and worker share a core, looking only keeps the worker from working. Which of the two holds changes
// with the load of the host, so both are measured, and the worse one is tried again now and then.
#pragma once
#include <algorithm>

#include "base/types.h"

namespace colo::vcpu {

class Patience {
 public:
  explicit Patience(u64 look_ns) : look_ns_(look_ns) {}

  /// For how long to look in this wait.
  u64 begin() {
    bool better = mean_[Look] <= mean_[Sleep];
    bool explore = ++waits_ % kExploreEvery == 0;
    way_ = better != explore ? Look : Sleep;
    return way_ == Look ? look_ns_ : 0;
  }
  /// How long it took in the end. One outlier (a long device call, a collection) says nothing about the way of waiting.
  void end(u64 took_ns) {
    u64 took = std::min(took_ns, 4 * look_ns_);
    mean_[way_] = mean_[way_] - mean_[way_] / 8 + took / 8;
  }

 private:
  enum Way { Look, Sleep };
  static constexpr u32 kExploreEvery = 32;
  u64 look_ns_;
  u64 mean_[2] = {0, 0};
  u32 waits_ = 0;
  Way way_ = Look;
};

/// The other side of it: is it worth lingering for the next request? By the share of lingerings that were.
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
