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
      has_read_only_(device.capability(KVM_CAP_READONLY_MEM) > 0),
      manual_protect_(!rings && enable_manual_protect(device, vm)) {
  for (const memory::Slot& s : ram.map().slots) add(s);
  ram.set_dirty_source(this);
  ram.add_observer(this);
}

Slots::~Slots() {
  ram_.remove_observer(this);
  ram_.set_dirty_source(nullptr);
}

void Slots::set(size_t slot, bool log) const {
  const u32 read_only = table_[slot].read_only ? KVM_MEM_READONLY : 0;
  tell_kernel(slot, table_[slot].size, log && logged(slot) ? KVM_MEM_LOG_DIRTY_PAGES : read_only);
}

void Slots::tell_kernel(size_t slot, u64 size, u32 flags) const {
  kvm_userspace_memory_region region{};
  region.slot = static_cast<u32>(slot);
  region.flags = flags;
  region.guest_phys_addr = table_[slot].gpa;
  region.memory_size = size;
  region.userspace_addr = reinterpret_cast<u64>(table_[slot].hva);
  vm_.call("KVM_SET_USER_MEMORY_REGION", KVM_SET_USER_MEMORY_REGION, &region);
}

void Slots::add(const memory::Slot& wanted) {
  if (wanted.read_only && !has_read_only_)
    throw Error("this kernel's KVM has no read-only memory, which firmware needs");
  size_t slot = 0;
  while (table_[slot].size) slot++;  // no map has more slots than the table
  bitmap_.resize(std::max<u64>(bitmap_.size(), words(wanted)));
  table_[slot] = wanted;
  try {
    if (rings_) rings_->set_slot(slot, wanted);
    set(slot, logging_);
  } catch (...) {  // what the kernel does not have is neither logged nor removed later
    table_[slot] = {};
    if (rings_) rings_->set_slot(slot, {});  // may throw as well
    throw;
  }
}

/// Its log goes with it, and other vCPUs may be writing meanwhile: so all of it counts as written.
void Slots::remove(size_t slot) {
  tell_kernel(slot, 0, 0);
  const memory::Slot& s = table_[slot];
  if (logging_ && logged(slot))
    for (u64 page = 0; page < s.size >> kPageShift; page++) ram_.mark_dirty(s.first_page + page);
  if (rings_) rings_->set_slot(slot, {});
  table_[slot] = {};
}

/// Between the two steps an address may be a device's to a vCPU that runs: a chip set that is told
/// to map memory anew while another processor uses it makes no promise either.
void Slots::map_changed() {
  const std::vector<memory::Slot> wanted = ram_.map().slots;
  auto holds = [](const auto& all, const memory::Slot& s) {
    return std::find(all.begin(), all.end(), s) != all.end();
  };
  for (size_t i = 0; i < table_.size(); i++)
    if (table_[i].size && !holds(wanted, table_[i])) remove(i);
  for (const memory::Slot& s : wanted)
    if (!holds(table_, s)) add(s);
}

/// On again: the slots keep the flag, and what the kernel has noted so far is dropped.
void Slots::log_switched(bool on) {
  if (on && logging_) {
    if (rings_) rings_->harvest(false);
    else
      for (size_t i = 0; i < table_.size(); i++)
        if (logged(i)) fetch(i), protect(i);
  } else if (on != logging_) {
    for (size_t i = 0; i < table_.size(); i++)
      if (logged(i)) set(i, on);
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
  const memory::Slot& s = table_[slot];
  const auto end = bitmap_.begin() + static_cast<ptrdiff_t>(words(s));
  if (std::all_of(bitmap_.begin(), end, [](u64 w) { return w == 0; })) return;
  kvm_clear_dirty_log clear{};
  clear.slot = static_cast<u32>(slot);
  clear.num_pages = static_cast<u32>(s.size >> kPageShift);
  clear.dirty_bitmap = bitmap_.data();
  vm_.call("KVM_CLEAR_DIRTY_LOG", KVM_CLEAR_DIRTY_LOG, &clear);
}

void Slots::mark(size_t slot) {
  const memory::Slot& s = table_[slot];
  const u64 pages = s.size >> kPageShift;
  for (u64 w = 0; w < words(s); w++)
    for (u64 bits = bitmap_[w]; bits; bits &= bits - 1) {
      const u64 page = w * 64 + static_cast<u64>(std::countr_zero(bits));
      if (page < pages) ram_.mark_dirty(s.first_page + page);
    }
}

void Slots::collect_dirty() {
  if (rings_) return void(rings_->harvest(true));
  for (size_t i = 0; i < table_.size(); i++)
    if (logged(i)) fetch(i), protect(i), mark(i);
}

}  // namespace colo::kvm
