// The kernel's dirty rings: each vCPU notes the pages that it writes in a ring of its own, so that
// a harvest costs by what was written and not by how much RAM there is. A full ring stops its vCPU
// until it was harvested (KVM_EXIT_DIRTY_RING_FULL).
#pragma once
#include <array>
#include <mutex>
#include <vector>

#include "kvm/device.h"
#include "memory/ram.h"

namespace colo::kvm {

/// By the number that the kernel knows a slot by; size 0: there is none.
using SlotTable = std::array<memory::Slot, memory::kMaxSlots>;

class DirtyRings {
 public:
  /// Switches them on, before there is a vCPU. The entries of each ring; 0: this kernel has none,
  /// or not with the barriers that are needed.
  static u32 enable(const Device& device, const Fd& vm);

  DirtyRings(const Fd& vm, memory::GuestRam& ram, u32 entries)
      : vm_(vm), ram_(ram), entries_(entries) {}
  ~DirtyRings();
  DirtyRings(const DirtyRings&) = delete;
  DirtyRings& operator=(const DirtyRings&) = delete;

  void add(const Fd& vcpu);
  /// Takes what all rings hold, hands the places back to the kernel, and says how many there were.
  /// mark: in the dirty log. Any thread.
  size_t harvest(bool mark);
  /// The kernel is about to know this slot by the number, or no longer knows the one that it had.
  void set_slot(size_t number, const memory::Slot& slot);

 private:
  struct Ring {
    kvm_dirty_gfn* entries;
    u32 next = 0;  // grows for ever; modulo the size, the place that is looked at next
  };
  size_t take(Ring& ring, bool mark);
  size_t take_all(bool mark);

  const Fd& vm_;
  memory::GuestRam& ram_;
  u32 entries_;
  std::mutex mutex_;  // over all: a vCPU with a full ring and the main side may harvest at once
  std::vector<Ring> rings_;
  SlotTable slots_{};
};

}  // namespace colo::kvm
