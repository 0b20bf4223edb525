// Guest memory for everything that is not a fast path: the doors of cpu/cpu.h, device pages,
// page-crossing operands.
#include <cstring>

#include "soft/cpu/block.h"
#include "soft/memory/mmu.h"

namespace colo::soft {

void Mmu::wrote_ram(u64 gpa, size_t n) {
  const u64 page = c.ram->page_of(gpa);
  if (c.ram->logging()) c.ram->mark_dirty(page);
  if (c.blocks->has_code(page)) c.blocks->written(gpa, n);
}

u64 Mmu::device_read_word(u64 gpa, u8 size) {
  u64 value = 0;
  if (!c.chip->mmio_read(gpa, size, value)) value = c.bus->mmio_read(gpa, size);
  c.poke();  // the access may have changed what is pending
  return value;
}

void Mmu::device_write_word(u64 gpa, u8 size, u64 value) {
  if (!c.chip->mmio_write(gpa, size, value)) c.bus->mmio_write(gpa, size, value);
  c.poke();
}

namespace {
/// The largest natural access that starts at gpa and fits in n bytes.
u8 natural(u64 gpa, size_t n) {
  for (u8 size : {8, 4, 2})
    if (n >= size && !(gpa & (size - 1))) return size;
  return 1;
}
}  // namespace

void Mmu::device_read(u64 gpa, void* out, size_t n) {
  for (u8* to = static_cast<u8*>(out); n;) {
    const u8 size = natural(gpa, n);
    const u64 value = device_read_word(gpa, size);
    memcpy(to, &value, size);
    to += size, gpa += size, n -= size;
  }
}

void Mmu::device_write(u64 gpa, const void* in, size_t n) {
  for (const u8* from = static_cast<const u8*>(in); n;) {
    const u8 size = natural(gpa, n);
    u64 value = 0;
    memcpy(&value, from, size);
    device_write_word(gpa, size, value);
    from += size, gpa += size, n -= size;
  }
}

namespace {
u64 tag_of(const TlbEntry& e, Access access) {
  return access == Access::Write ? e.write : access == Access::Exec ? e.exec : e.read;
}
}  // namespace

u8* Mmu::at(u64 va, Access access, bool user, u64& gpa, bool& device) {
  const TlbEntry& e = c.tlb_sets[user][(va >> kPageShift) & (kTlbSize - 1)];
  device = false;
  if (tag_of(e, access) != (va & kPageMask)) {
    if (!fill(va, access, user, gpa)) return nullptr;
    if (!c.ram->slot_of(gpa)) {
      device = true;
      return nullptr;
    }
  } else {
    gpa = side_[user][(va >> kPageShift) & (kTlbSize - 1)].gpa | (va & ~kPageMask);
  }
  return reinterpret_cast<u8*>(va + e.addend);
}

bool Mmu::read(u64 va, void* out, size_t n, bool user) {
  for (u8* to = static_cast<u8*>(out); n;) {
    const size_t part = std::min<u64>(n, kPageSize - (va & ~kPageMask));
    u64 gpa;
    bool device;
    const u8* from = at(va, Access::Read, user, gpa, device);
    if (from) memcpy(to, from, part);
    else if (device) device_read(gpa, to, part);
    else return false;
    to += part, va += part, n -= part;
  }
  return true;
}

bool Mmu::write(u64 va, const void* in, size_t n, bool user) {
  for (const u8* from = static_cast<const u8*>(in); n;) {
    const size_t part = std::min<u64>(n, kPageSize - (va & ~kPageMask));
    u64 gpa;
    bool device;
    if (u8* to = at(va, Access::Write, user, gpa, device)) {
      memcpy(to, from, part);
      wrote_ram(gpa, part);
    } else if (device) {
      device_write(gpa, from, part);
    } else {
      return false;
    }
    from += part, va += part, n -= part;
  }
  return true;
}

bool Mmu::probe_page(u64 va, Access access, bool user) {
  if (tag_of(c.tlb_sets[user][(va >> kPageShift) & (kTlbSize - 1)], access) == (va & kPageMask))
    return true;
  Translation t;  // not fill(): a probe alone dirties nothing
  return walk(va, access, user, t);
}

/// No operand is longer than a page, so it lies in two at most; the one behind the last page of the
/// address space is page 0.
bool Cpu::probe(u64 va, size_t n, Access access) {
  COLO_ASSERT(n - 1 < kPageSize);
  const bool user = cpl == 3;
  if (!mmu->probe_page(va, access, user)) return false;
  const u64 last = va + n - 1;
  return !((va ^ last) & kPageMask) || mmu->probe_page(last & kPageMask, access, user);
}

bool Cpu::load_bytes(u64 va, void* out, size_t n) {
  return mmu->aligned(va, n) && mmu->read(va, out, n, cpl == 3);
}

bool Cpu::store_bytes(u64 va, const void* in, size_t n) {
  if (!mmu->aligned(va, n)) return false;
  if (((va + n - 1) ^ va) & kPageMask && !probe(va, n, Access::Write)) return false;
  return mmu->write(va, in, n, cpl == 3);
}

bool Cpu::load(u64 va, u8 size, u64& value) {
  value = 0;
  return load_bytes(va, &value, size);
}
bool Cpu::store(u64 va, u8 size, u64 value) { return store_bytes(va, &value, size); }
bool Cpu::load_sys(u64 va, u8 size, u64& value) {
  value = 0;
  return mmu->read(va, &value, size, false);
}
bool Cpu::store_sys(u64 va, u8 size, u64 value) { return mmu->write(va, &value, size, false); }

Mmu::Prepared Mmu::prepare(const Op* o, u64 va, u8 size, bool read_first, bool write_after) {
  COLO_ASSERT(!window.open);
  const bool user = c.cpl == 3;
  if (!aligned(va, size)) return Prepared::Fault;
  const Access access = write_after ? Access::Write : Access::Read;
  const bool crossing = ((va + size - 1) ^ va) & kPageMask;
  TlbEntry* slot = &c.tlb[(va >> kPageShift) & (kTlbSize - 1)];
  if (!crossing) {
    u64 gpa;
    if (!fill(va, access, user, gpa)) return Prepared::Fault;
    if ((write_after ? slot->write : slot->read) == (va & kPageMask)) return Prepared::Retry;
  } else if (!c.probe(va, size, access)) {
    return Prepared::Fault;
  }
  if (read_first && !read(va, c.bounce, size, user)) return Prepared::Fault;
  const u64 tag = (va + size - 1) & kPageMask;
  window.saved = *slot;
  *slot = {tag, write_after ? tag : 1, 1, reinterpret_cast<u64>(c.bounce) - va};
  window.open = true, window.write = write_after, window.size = size, window.va = va,
  window.slot = slot, window.origin = o;
  return Prepared::Windowed;
}

void Mmu::close_window() {
  *window.slot = window.saved;
  window.open = false;
  // Both pages were probed, so this cannot fault unless a device remapped nothing: page tables only
  // change by our own stores.
  if (window.write) write(window.va, c.bounce, window.size, c.cpl == 3);
}

}  // namespace colo::soft
