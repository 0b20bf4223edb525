#include "kvm/dirty_ring.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>

namespace colo::kvm {

namespace {

/// 16 MiB of guest writes between two harvests, in 64 KiB; a ring-full exit costs little beside
/// 4096 write faults.
constexpr u32 kEntries = 4096;

}  // namespace

u32 DirtyRings::enable(const Device& device, const Fd& vm) {
  const int most = device.capability(KVM_CAP_DIRTY_LOG_RING_ACQ_REL);
  if (most <= 0) return 0;
  const u32 bytes = std::min<u32>(static_cast<u32>(most), kEntries * sizeof(kvm_dirty_gfn));
  kvm_enable_cap cap{};
  cap.cap = KVM_CAP_DIRTY_LOG_RING_ACQ_REL;
  cap.args[0] = bytes;
  return vm.try_ioctl(KVM_ENABLE_CAP, &cap) == 0 ? bytes / static_cast<u32>(sizeof(kvm_dirty_gfn))
                                                 : 0;
}

DirtyRings::~DirtyRings() {
  for (Ring& ring : rings_) munmap(ring.entries, entries_ * sizeof(kvm_dirty_gfn));
}

void DirtyRings::add(const Fd& vcpu) {
  const off_t at = static_cast<off_t>(KVM_DIRTY_LOG_PAGE_OFFSET) * sysconf(_SC_PAGESIZE);
  void* ring = mmap(nullptr, entries_ * sizeof(kvm_dirty_gfn), PROT_READ | PROT_WRITE, MAP_SHARED,
                    vcpu.get(), at);
  if (ring == MAP_FAILED) throw Error::of_errno("mmap of a vCPU's dirty ring");
  rings_.push_back({static_cast<kvm_dirty_gfn*>(ring)});
}

size_t DirtyRings::take(Ring& ring, bool mark) {
  size_t taken = 0;
  for (; taken < entries_; taken++, ring.next++) {
    kvm_dirty_gfn& entry = ring.entries[ring.next % entries_];
    if (__atomic_load_n(&entry.flags, __ATOMIC_ACQUIRE) != KVM_DIRTY_GFN_F_DIRTY) break;
    if (mark && entry.slot < slots_.size() && entry.offset < slots_[entry.slot].size >> kPageShift)
      ram_.mark_dirty(slots_[entry.slot].first_page + entry.offset);
    __atomic_store_n(&entry.flags, KVM_DIRTY_GFN_F_RESET, __ATOMIC_RELEASE);
  }
  return taken;
}

size_t DirtyRings::harvest(bool mark) {
  std::lock_guard lock(mutex_);
  return take_all(mark);
}

/// What is in the rings under this number is of the slot that had it before.
void DirtyRings::set_slot(size_t number, const memory::Slot& slot) {
  std::lock_guard lock(mutex_);
  take_all(ram_.logging());
  slots_[number] = slot;
}

size_t DirtyRings::take_all(bool mark) {
  size_t taken = 0;
  for (Ring& ring : rings_) taken += take(ring, mark);
  if (taken) vm_.call("KVM_RESET_DIRTY_RINGS", KVM_RESET_DIRTY_RINGS, 0);
  return taken;
}

}  // namespace colo::kvm
