// RAM as KVM sees it: one memory slot for each of GuestRam's, and the kernel's log of what vCPUs
// write there: rings, or bitmaps. The slots are shared mappings on both sides of a pair: a
// secondary's RAM is written by commits only, and its vCPUs run when there is none any more.
#pragma once
#include <vector>

#include "kvm/device.h"
#include "kvm/dirty_ring.h"
#include "memory/ram.h"

namespace colo::kvm {

class Slots final : private memory::DirtySource {
 public:
  /// rings: the log's, or null.
  Slots(const Device& device, const Fd& vm, memory::GuestRam& ram, DirtyRings* rings);
  ~Slots() override;

 private:
  void log_switched(bool on) override;
  void collect_dirty() override;

  void set(size_t slot, bool log) const;
  void fetch(size_t slot);
  void protect(size_t slot);
  void mark(size_t slot);

  const Fd& vm_;
  memory::GuestRam& ram_;
  DirtyRings* rings_;
  bool manual_protect_;      // the kernel protects pages only when told (KVM_CLEAR_DIRTY_LOG)
  bool logging_ = false;     // the slots carry the flag
  std::vector<u64> bitmap_;  // of the largest slot
};

}  // namespace colo::kvm
