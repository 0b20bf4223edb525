// Memory as KVM sees it: one memory slot for each of the map of GuestRam, and the kernel's log of
// what vCPUs write there: rings, or bitmaps. The slots are shared mappings on both sides of a pair:
// a secondary's RAM is written by commits only, and its vCPUs run when there is none any more.
#pragma once
#include <vector>

#include "kvm/device.h"
#include "kvm/dirty_ring.h"
#include "memory/ram.h"

namespace colo::kvm {

class Slots final : private memory::DirtySource, private memory::RamObserver {
 public:
  /// rings: the log's, or null.
  Slots(const Device& device, const Fd& vm, memory::GuestRam& ram, DirtyRings* rings);
  ~Slots() override;

 private:
  void log_switched(bool on) override;
  void collect_dirty() override;
  void code_written(u64, u64) override {}
  void dirty_log_reset() override {}
  void map_changed() override;

  void set(size_t slot, bool log) const;
  void tell_kernel(size_t slot, u64 size, u32 flags) const;
  void add(const memory::Slot& wanted);
  void remove(size_t slot);
  bool logged(size_t slot) const { return table_[slot].size && !table_[slot].read_only; }
  void fetch(size_t slot);
  void protect(size_t slot);
  void mark(size_t slot);

  const Fd& vm_;
  memory::GuestRam& ram_;
  DirtyRings* rings_;
  SlotTable table_{};
  bool has_read_only_;
  bool manual_protect_;      // the kernel protects pages only when told (KVM_CLEAR_DIRTY_LOG)
  bool logging_ = false;     // the slots carry the flag
  std::vector<u64> bitmap_;  // for the largest slot so far
};

}  // namespace colo::kvm
