#include "kvm/slots.h"

#include <algorithm>
#include <bit>

namespace colo::kvm {

namespace {

/// Without KVM_DIRTY_LOG_INITIALLY_SET: a log that was just switched on is empty, as GuestRam's is.
bool enable_manual_protect(const Device& device, const Fd& vm) {
  if ((device.capability(KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2) &
       KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE) == 0)
    return false;
  kvm_enable_cap cap{};
  cap.cap = KVM_CAP_MANUAL_DIRTY_LOG_PROTECT2;
  cap.args[0] = KVM_DIRTY_LOG_MANUAL_PROTECT_ENABLE;
  return vm.try_ioctl(KVM_ENABLE_CAP, &cap) == 0;
}

u64 words(const memory::Slot& slot) { return ((slot.size >> kPageShift) + 63) / 64; }

}  // namespace

Slots::Slots(const Device& device, const Fd& vm, memory::GuestRam& ram, DirtyRings* rings)
    : vm_(vm),
      ram_(ram),
      rings_(rings),
      manual_protect_(!rings && enable_manual_protect(device, vm)) {
  u64 longest = 0;
  for (const memory::Slot& s : ram.slots()) longest = std::max(longest, words(s));
  bitmap_.resize(longest);
  for (size_t i = 0; i < ram.slots().size(); i++) set(i, false);
  ram.set_dirty_source(this);
}

Slots::~Slots() { ram_.set_dirty_source(nullptr); }

void Slots::set(size_t slot, bool log) const {
  const memory::Slot& s = ram_.slots()[slot];
  kvm_userspace_memory_region region{};
  region.slot = static_cast<u32>(slot);
  region.flags = log ? KVM_MEM_LOG_DIRTY_PAGES : 0;
  region.guest_phys_addr = s.gpa;
  region.memory_size = s.size;
  region.userspace_addr = reinterpret_cast<u64>(s.hva);
  vm_.call("KVM_SET_USER_MEMORY_REGION", KVM_SET_USER_MEMORY_REGION, &region);
}

/// On again: the slots keep the flag, and what the kernel has noted so far is dropped.
void Slots::log_switched(bool on) {
  if (on && logging_) {
    if (rings_) rings_->harvest(false);
    else
      for (size_t i = 0; i < ram_.slots().size(); i++) fetch(i), protect(i);
  } else if (on != logging_) {
    for (size_t i = 0; i < ram_.slots().size(); i++) set(i, on);
    if (rings_) rings_->harvest(false);  // of a log that was switched off before it was taken
  }
  logging_ = on;
}

void Slots::fetch(size_t slot) {
  kvm_dirty_log log{};
  log.slot = static_cast<u32>(slot);
  log.dirty_bitmap = bitmap_.data();
  vm_.call("KVM_GET_DIRTY_LOG", KVM_GET_DIRTY_LOG, &log);
}

/// With manual protect the bits stay set, and the pages writable, until this. Exactly what was
/// fetched: a page written since stays dirty.
void Slots::protect(size_t slot) {
  if (!manual_protect_) return;
  const memory::Slot& s = ram_.slots()[slot];
  const auto end = bitmap_.begin() + static_cast<ptrdiff_t>(words(s));
  if (std::all_of(bitmap_.begin(), end, [](u64 w) { return w == 0; })) return;
  kvm_clear_dirty_log clear{};
  clear.slot = static_cast<u32>(slot);
  clear.num_pages = static_cast<u32>(s.size >> kPageShift);
  clear.dirty_bitmap = bitmap_.data();
  vm_.call("KVM_CLEAR_DIRTY_LOG", KVM_CLEAR_DIRTY_LOG, &clear);
}

void Slots::mark(size_t slot) {
  const memory::Slot& s = ram_.slots()[slot];
  const u64 pages = s.size >> kPageShift;
  for (u64 w = 0; w < words(s); w++)
    for (u64 bits = bitmap_[w]; bits; bits &= bits - 1) {
      const u64 page = w * 64 + static_cast<u64>(std::countr_zero(bits));
      if (page < pages) ram_.mark_dirty(s.first_page + page);
    }
}

void Slots::collect_dirty() {
  if (rings_) return void(rings_->harvest(true));
  for (size_t i = 0; i < ram_.slots().size(); i++) fetch(i), protect(i), mark(i);
}

}  // namespace colo::kvm
