// What of guest-physical space is memory, as CPUs see it. Everything else is devices.
#pragma once
#include <vector>

#include "base/types.h"

namespace colo::memory {

/// One contiguous range of guest-physical addresses backed by memory.
struct Slot {
  u64 gpa = 0;             // guest-physical base, page aligned
  u64 size = 0;            // bytes, page multiple
  u64 offset = 0;          // byte offset in the memfd
  u8* hva = nullptr;       // host address of gpa
  u64 first_page = 0;      // index of its first page in the dirty log and in code_pages
  bool read_only = false;  // writes go to devices: a ROM, or RAM that a chip set protects

  bool operator==(const Slot&) const = default;
};

/// Slots never overlap in guest-physical space; two may show the same memory.
struct MemoryMap {
  std::vector<Slot> slots;

  /// The slot that holds gpa, or nullptr (device memory, hole).
  const Slot* slot_of(u64 gpa) const {
    for (const Slot& s : slots)
      if (gpa - s.gpa < s.size) return &s;
    return nullptr;
  }
  const Slot* writable_slot_of(u64 gpa) const {
    const Slot* s = slot_of(gpa);
    return s && !s->read_only ? s : nullptr;
  }
  /// Host address of gpa if [gpa, gpa+len) lies in one slot, else nullptr.
  u8* hva(u64 gpa, u64 len) const { return at(slot_of(gpa), gpa, len); }
  /// The same, of memory that may be written.
  u8* writable_hva(u64 gpa, u64 len) const { return at(writable_slot_of(gpa), gpa, len); }

 private:
  static u8* at(const Slot* s, u64 gpa, u64 len) {
    if (!s || len > s->size - (gpa - s->gpa)) return nullptr;
    return s->hva + (gpa - s->gpa);
  }
};

/// The most slots that a map may have: what a chip set makes of 256 KiB below 1 MiB, and room.
constexpr size_t kMaxSlots = 32;

}  // namespace colo::memory
