// Is a processor of the host idle? Only then is it worth looking for the next event where one could
// sleep: with all of them at work, whoever looks takes the time from a vCPU, perhaps from the very
// one that is waited for.
#pragma once
#include "base/types.h"

namespace colo::vcpu {

class SpareCore {
 public:
  SpareCore();
  ~SpareCore();
  SpareCore(const SpareCore&) = delete;
  SpareCore& operator=(const SpareCore&) = delete;

  /// As of a few milliseconds ago. False where the host does not say. One thread.
  bool there();

 private:
  /// The kernel is asked so often at most, in ns: the answer costs 3 us.
  static constexpr u64 kGoodFor = 10'000'000;
  bool ask() const;

  int fd_;
  u64 asked_at_ = 0;
  bool there_ = false;
};

/// From a line of /proc/loadavg (proc(5)): the tasks that run or would like to, with the one that
/// reads; -1: it is not such a line.
long running_tasks(const char* loadavg);

}  // namespace colo::vcpu
