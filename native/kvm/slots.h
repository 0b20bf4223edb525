// RAM as KVM sees it: one memory slot for each of GuestRam's, and the kernel's dirty bitmaps over them.
#pragma once
#include <vector>

#include "kvm/device.h"
#include "memory/ram.h"

namespace colo::kvm {

class Slots final : private memory::DirtySource {
 public:
  Slots(const Device& device, const Fd& vm, memory::GuestRam& ram);
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
  bool manual_protect_;      // the kernel protects pages only when told (KVM_CLEAR_DIRTY_LOG)
  bool logging_ = false;     // the slots carry the flag
  std::vector<u64> bitmap_;  // of the largest slot
};

}  // namespace colo::kvm
