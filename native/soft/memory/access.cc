// Guest memory for everything that is not a fast path: the doors of cpu/cpu.h, device pages,
// page-crossing operands.
#include <cstring>

#include "soft/cpu/block.h"
#include "soft/memory/mmu.h"
#include "soft/memory/world.h"

namespace colo::soft {

void Mmu::wrote_ram(u64 offset, size_t n) {
  const u64 page = offset >> kPageShift;
  if (c.ram->logging()) c.ram->mark_dirty(page);
  c.world->written(c, offset, n);
  if (c.blocks->has_code(page)) c.blocks->written(offset, n);
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

namespace {
template <class T>
void move_one(u8*& to, const u8*& from, size_t& n) {
  using Any __attribute__((may_alias, aligned(1))) = T;
  const T v = __atomic_load_n(reinterpret_cast<const Any*>(from), __ATOMIC_RELAXED);
  __atomic_store_n(reinterpret_cast<Any*>(to), v, __ATOMIC_RELAXED);
  to += sizeof(T), from += sizeof(T), n -= sizeof(T);
}

/// What other vCPUs may look at meanwhile: each byte is stored once, and an operand of natural size
/// as a whole, of which memcpy() promises neither.
void move_bytes(u8* to, const u8* from, size_t n) {
  while (n >= 8) move_one<u64>(to, from, n);
  if (n >= 4) move_one<u32>(to, from, n);
  if (n >= 2) move_one<u16>(to, from, n);
  if (n) move_one<u8>(to, from, n);
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

u8* Mmu::at(u64 va, Access access, Rights rights, Place& place) {
  const size_t set = static_cast<size_t>(rights), i = (va >> kPageShift) & (kTlbSize - 1);
  const TlbEntry& e = c.tlb_sets[set][i];
  place = {};
  if (tag_of(e, access) != (va & kPageMask)) {
    if (!fill(va, access, rights, place) || place.device) return nullptr;
  } else {
    place.at = side_[set][i].offset | (va & ~kPageMask);
  }
  return reinterpret_cast<u8*>(va + e.addend);
}

bool Mmu::read(u64 va, void* out, size_t n, Rights rights) {
  for (u8* to = static_cast<u8*>(out); n;) {
    const size_t part = std::min<u64>(n, kPageSize - (va & ~kPageMask));
    Place place;
    const u8* from = at(va, Access::Read, rights, place);
    if (from) move_bytes(to, from, part);
    else if (place.device) device_read(place.at, to, part);
    else return false;
    to += part, va = behind(va, part), n -= part;
  }
  return true;
}

bool Mmu::write(u64 va, const void* in, size_t n, Rights rights) {
  for (const u8* from = static_cast<const u8*>(in); n;) {
    const size_t part = std::min<u64>(n, kPageSize - (va & ~kPageMask));
    Place place;
    if (u8* to = at(va, Access::Write, rights, place)) {
      move_bytes(to, from, part);
      wrote_ram(place.at, part);
    } else if (place.device) {
      device_write(place.at, from, part);
    } else {
      return false;
    }
    from += part, va = behind(va, part), n -= part;
  }
  return true;
}

bool Mmu::probe_page(u64 va, Access access, Rights rights) {
  const TlbEntry* const set = c.tlb_sets[static_cast<size_t>(rights)];
  if (tag_of(set[(va >> kPageShift) & (kTlbSize - 1)], access) == (va & kPageMask)) return true;
  Translation t;  // not fill(): a probe alone dirties nothing
  return walk(va, access, rights, t);
}

bool Mmu::beyond_4g(u64 va, size_t n) {
  if (COLO_LIKELY(!((va + n - 1) >> 32) || !(c.mode & kModeLegacy))) return false;
  if (!c.long_mode() && !(c.mode & kModeFlat)) return false;
  c.raise(GP, 0);
  return true;
}

/// Where the next page begins.
u64 Mmu::behind(u64 va, u64 n) const {
  va += n;
  return va == 1ull << 32 && !c.long_mode() ? 0 : va;
}

/// No operand is longer than a page, so it lies in two at most; the one behind the last page of the
/// address space is page 0.
bool Cpu::probe(u64 va, size_t n, Access access) {
  COLO_ASSERT(n - 1 < kPageSize);
  const Rights by = rights();
  if (!mmu->probe_page(va, access, by)) return false;
  if (!((va ^ (va + n - 1)) & kPageMask)) return true;
  return mmu->probe_page(mmu->behind(va, kPageSize - (va & ~kPageMask)), access, by);
}

bool Cpu::load_bytes(u64 va, void* out, size_t n) {
  if (!mmu->aligned(va, n) || mmu->beyond_4g(va, n) || !mmu->read(va, out, n, rights()))
    return false;
  if (COLO_UNLIKELY(watching)) note_access(va, n, false);
  return true;
}

bool Cpu::store_bytes(u64 va, const void* in, size_t n) {
  if (!mmu->aligned(va, n) || mmu->beyond_4g(va, n)) return false;
  if (((va + n - 1) ^ va) & kPageMask && !probe(va, n, Access::Write)) return false;
  if (!mmu->write(va, in, n, rights())) return false;
  if (COLO_UNLIKELY(watching)) note_access(va, n, true);
  return true;
}

bool Cpu::load(u64 va, u8 size, u64& value) {
  value = 0;
  return load_bytes(va, &value, size);
}
bool Cpu::store(u64 va, u8 size, u64 value) { return store_bytes(va, &value, size); }
bool Cpu::load_sys(u64 va, u8 size, u64& value) {
  value = 0;
  return mmu->read(va, &value, size, Rights::Supervisor);
}
bool Cpu::store_sys(u64 va, u8 size, u64 value) {
  return mmu->write(va, &value, size, Rights::Supervisor);
}
bool Cpu::store_inner(u64 va, u8 size, u64 value) {
  return mmu->write(va, &value, size, inner_rights());
}

void Mmu::open_window(const Op* o, u64 va, u8 size, bool write) {
  TlbEntry* slot = &c.tlb[(va >> kPageShift) & (kTlbSize - 1)];
  const u64 tag = (va + size - 1) & kPageMask;
  u8* host = window.direct ? c.ram->base() + window.offset : c.bounce;
  window.saved = *slot;
  *slot = {tag, write ? tag : 1, 1, reinterpret_cast<u64>(host) - va};
  window.open = true, window.write = write, window.size = size, window.va = va, window.slot = slot,
  window.origin = o;
}

/// An operand that is read and then written, over two lines or pages, may be that of a LOCK: then
/// nobody may come between. Without LOCK it does no harm. A device in one page is a read and then a
/// write whoever waits: it promises no more for an aligned operand, and its answer may take long.
Mmu::Prepared Mmu::prepare(const Op* o, u64 va, u8 size, bool read_first, bool write_after) {
  COLO_ASSERT(!window.open);
  const Rights rights = c.rights();
  if (!aligned(va, size) || beyond_4g(va, size)) return Prepared::Fault;
  const Access access = write_after ? Access::Write : Access::Read;
  const bool crossing = ((va + size - 1) ^ va) & kPageMask;
  window.direct = false;
  if (!crossing) {
    const TlbEntry& slot = c.tlb[(va >> kPageShift) & (kTlbSize - 1)];
    Place place;
    if (!fill(va, access, rights, place)) return Prepared::Fault;
    if ((write_after ? slot.write : slot.read) == (va & kPageMask)) return Prepared::Retry;
    window.direct = !place.device;
    window.offset = place.at;
  } else if (!c.probe(va, size, access)) {
    return Prepared::Fault;
  }
  const bool ram = crossing || window.direct;
  window.alone = ram && read_first && write_after && splits_line(va, size) && !c.alone;
  if (window.alone) c.world->begin_alone(c);
  if (!window.direct && read_first && !read(va, c.bounce, size, rights)) {
    if (window.alone) c.world->end_alone(c);
    return Prepared::Fault;
  }
  if (c.watching) c.note_access(va, size, write_after);
  open_window(o, va, size, write_after);
  return Prepared::Windowed;
}

Mmu::Prepared Mmu::prepare_alone(const Op* o, u64 va, u8 size) {
  c.world->begin_alone(c);
  const size_t i = (va >> kPageShift) & (kTlbSize - 1);
  if (c.tlb[i].write != (va & kPageMask)) {  // it was taken back meanwhile
    c.world->end_alone(c);
    return Prepared::Retry;
  }
  window.direct = window.alone = true;
  window.offset = side_[static_cast<size_t>(c.rights())][i].offset | (va & ~kPageMask);
  open_window(o, va, size, true);
  return Prepared::Windowed;
}

void Mmu::close_window() {
  *window.slot = window.saved;
  window.open = false;
  // Both pages were probed, so this cannot fault unless a device remapped nothing: page tables only
  // change by our own stores.
  if (window.write) {
    if (window.direct) wrote_ram(window.offset, window.size);
    else write(window.va, c.bounce, window.size, c.rights());
  }
  if (window.alone) c.world->end_alone(c);
}

}  // namespace colo::soft
