#include "vcpu/clock.h"

#include <algorithm>

namespace colo::vcpu {

u64 CountedClock::followed_ns() const {
  if (host_from_ == 0 || until_ <= ns_) return ns_;
  return ns_ + std::min(host_now_ns() - host_from_, until_ - ns_);
}

u64 CountedClock::now_ns() const {
  std::lock_guard lock(mutex_);
  return followed_ns();
}

void CountedClock::count(u64 ns) {
  std::lock_guard lock(mutex_);
  ns_ += ns;
}

void CountedClock::follow_host(u64 until_ns) {
  std::lock_guard lock(mutex_);
  host_from_ = host_now_ns(), until_ = until_ns;
}

void CountedClock::stand_still() {
  std::lock_guard lock(mutex_);
  ns_ = followed_ns();
  host_from_ = 0;
}

void CountedClock::set(u64 ns) {
  std::lock_guard lock(mutex_);
  ns_ = ns;
  host_from_ = 0;
}

}  // namespace colo::vcpu
