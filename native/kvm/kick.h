// Getting a thread out of KVM_RUN: immediate_exit for the moment before the call, a signal for the
// time within it.
#pragma once
#include <linux/kvm.h>

#include <atomic>

#include "base/types.h"

namespace colo::kvm {

class Kicker {
 public:
  explicit Kicker(kvm_run& run) : run_(run) {}

  // --- the thread that runs the vCPU
  /// Around each stay in the run loop: the thread may be signalled between the two.
  void enter();
  void leave() { thread_.store(0, std::memory_order_seq_cst); }
  /// Is a kick wanted? It stays wanted until taken.
  bool wanted() const { return wanted_.load(std::memory_order_seq_cst); }
  /// True once per kick (several may be one).
  bool take();

  // --- any thread
  void kick();

 private:
  kvm_run& run_;
  std::atomic<bool> wanted_{false};
  std::atomic<int> thread_{0};  // kernel's id of the thread inside, 0: nobody
};

}  // namespace colo::kvm
