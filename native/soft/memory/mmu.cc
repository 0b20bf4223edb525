// Page walker (Intel SDM vol. 3, 4.5) and the cold side of the soft TLB.
#include "soft/memory/mmu.h"

#include "soft/cpu/block.h"

namespace colo::soft {
namespace {

constexpr u64 kPresent = 1, kWritable = 2, kUserBit = 4, kAccessed = 0x20, kDirty = 0x40,
              kLarge = 0x80, kGlobal = 0x100, kNx = 1ull << 63;
constexpr u64 kPhysMask = ((1ull << kPhysBits) - 1) & kPageMask;
constexpr u64 kReservedHigh = ((1ull << 52) - 1) & ~((1ull << kPhysBits) - 1);

size_t tlb_index(u64 va) { return (va >> kPageShift) & (kTlbSize - 1); }
bool canonical(u64 va) { return static_cast<u64>(static_cast<i64>(va << 16) >> 16) == va; }

}  // namespace

bool Mmu::walk_fault(u64 va, Access access, bool user, bool present, bool reserved) {
  const bool nx = c.efer & efer::NXE;
  return c.fault_page(va, (present ? 1 : 0) | (access == Access::Write ? 2 : 0) | (user ? 4 : 0) |
                              (reserved ? 8 : 0) | (access == Access::Exec && nx ? 16 : 0));
}

/// Sets bits in a paging-structure entry unless it changed meanwhile (devices write RAM too).
/// False: walk again.
bool Mmu::update_entry(u64 gpa, u64 old, u64 value) {
  auto* entry = reinterpret_cast<u64*>(c.ram->hva(gpa, 8));
  if (!__atomic_compare_exchange_n(entry, &old, value, false, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
    return false;
  wrote_ram(gpa, 8);
  return true;
}

bool Mmu::walk(u64 va, Access access, bool user, Translation& out) {
  if (!(c.cr0 & cr0::PG)) {
    out = {va, kPageSize, false, true, true};
    return true;
  }
  if (!canonical(va)) {
    c.pending = {true, true, GP, 0, va, true};
    return false;
  }
  const bool nx_on = c.efer & efer::NXE;
  const u64 reserved = kReservedHigh | (nx_on ? 0 : kNx);
again:
  u64 gpa[4], entry[4];
  u64 table = c.cr3 & kPhysMask;
  bool writable = true, user_ok = true, nx = false;
  int level = 3;  // 3 = PML4, 0 = page table
  for (;; level--) {
    gpa[level] = table + ((va >> (12 + 9 * level)) & 511) * 8;
    const u8* host = c.ram->hva(gpa[level], 8);
    const u64 e = entry[level] =
        host ? __atomic_load_n(reinterpret_cast<const u64*>(host), __ATOMIC_RELAXED) : ~0ull;
    if (!(e & kPresent)) return walk_fault(va, access, user, false, false);
    const bool large = level > 0 && (e & kLarge);
    const u64 low = large ? (((1ull << (12 + 9 * level)) - 1) & ~0x1fffull) : 0;
    if ((e & (reserved | low)) || (level == 3 && large))
      return walk_fault(va, access, user, true, true);
    writable = writable && (e & kWritable);
    user_ok = user_ok && (e & kUserBit);
    nx = nx || (e & kNx);
    if (level == 0 || large) break;
    table = e & kPhysMask;
  }
  const bool may_write = writable || (!user && !(c.cr0 & cr0::WP));
  const bool smep = !user && user_ok && (c.cr4 & cr4::SMEP);
  if ((user && !user_ok) || (access == Access::Write && !may_write) ||
      (access == Access::Exec && (nx || smep)))
    return walk_fault(va, access, user, true, false);

  for (int l = 3; l >= level; l--) {
    const u64 want = entry[l] | kAccessed | (l == level && access == Access::Write ? kDirty : 0);
    if (want != entry[l] && !update_entry(gpa[l], entry[l], want)) goto again;
    entry[l] = want;
  }
  const u64 size = 1ull << (12 + 9 * level);
  out.gpa = (entry[level] & kPhysMask & ~(size - 1)) | (va & (size - 1));
  out.page_size = size;
  out.global = (entry[level] & kGlobal) && (c.cr4 & cr4::PGE);
  out.writable = may_write && (entry[level] & kDirty);
  out.executable = !nx && !smep;
  return true;
}

void Mmu::enter(u64 va, Access access, bool user, const Translation& t, const memory::Slot& slot) {
  const size_t i = tlb_index(va);
  const u64 page_va = va & kPageMask, page_gpa = t.gpa & kPageMask;
  const u64 page = slot.first_page + ((page_gpa - slot.gpa) >> kPageShift);
  if (access == Access::Write && c.ram->logging() && !c.blocks->has_code(page))
    c.ram->mark_dirty(page);
  const bool may_tag_write =
      t.writable && !c.blocks->has_code(page) && (!c.ram->logging() || c.ram->is_dirty(page));
  c.tlb_sets[user][i] = {page_va, may_tag_write ? page_va : 1, t.executable ? page_va : 1,
                         reinterpret_cast<u64>(slot.hva) + (page_gpa - slot.gpa) - page_va};
  side_[user][i] = {page_gpa, t.page_size, t.global};
  if (!t.global) {
    if (local_count_[user] < kTlbSize) local_[user][local_count_[user]] = static_cast<u16>(i);
    if (local_count_[user] <= kTlbSize) local_count_[user]++;
    if (t.executable && va >> 63) local_high_ = true;  // whatever filled it: it has an exec tag now
  }
  if (t.page_size != kPageSize) {
    large_low_ = std::min(large_low_, va & ~(t.page_size - 1));
    large_high_ = std::max(large_high_, va | (t.page_size - 1));
  }
}

bool Mmu::fill(u64 va, Access access, bool user, u64& gpa) {
  COLO_ASSERT(!window.open);  // it would take the slot from under side_
  Translation t;
  if (!walk(va, access, user, t)) return false;
  gpa = t.gpa;
  if (const memory::Slot* slot = c.ram->slot_of(t.gpa)) enter(va, access, user, t, *slot);
  return true;
}

void Mmu::flush(bool globals) {
  for (int set = 0; set < 2; set++) {
    if (globals) {
      for (TlbEntry& e : c.tlb_sets[set]) e = {};
    } else if (local_count_[set] > kTlbSize) {
      for (size_t i = 0; i < kTlbSize; i++)
        if (!side_[set][i].global) c.tlb_sets[set][i] = {};
    } else {
      for (size_t n = 0; n < local_count_[set]; n++)
        if (!side_[set][local_[set][n]].global) c.tlb_sets[set][local_[set][n]] = {};
    }
    local_count_[set] = 0;
  }
  if (globals) large_low_ = ~0ull, large_high_ = 0;
  c.blocks->drop_half(0);
  if (globals || local_high_) c.blocks->drop_half(1);
  local_high_ = false;
}

void Mmu::flush_page(u64 va) {
  const size_t i = tlb_index(va);
  const bool large = va >= large_low_ && va <= large_high_;
  for (int set = 0; set < 2; set++) {
    if (c.tlb_sets[set][i].read == (va & kPageMask)) c.tlb_sets[set][i] = {};
    for (size_t n = 0; large && n < kTlbSize; n++) {
      const u64 mask = ~(side_[set][n].page_size - 1);
      if (side_[set][n].page_size > kPageSize && !((c.tlb_sets[set][n].read ^ va) & mask))
        c.tlb_sets[set][n] = {};
    }
  }
  if (large) c.blocks->drop_half(va >> 63);
  else c.blocks->drop_page(va);
}

void Mmu::drop_write_tags() {
  for (auto& set : c.tlb_sets)
    for (TlbEntry& e : set) e.write = 1;
}

void Mmu::drop_write_tags(u64 gpa_page) {
  for (int set = 0; set < 2; set++)
    for (size_t i = 0; i < kTlbSize; i++)
      if (side_[set][i].gpa == gpa_page) c.tlb_sets[set][i].write = 1;
}

void Cpu::tlb_flush(bool globals) { mmu->flush(globals); }
void Cpu::tlb_flush_page(u64 va) { mmu->flush_page(va); }
/// Alignment costs nothing while it is not checked: then every access finds the TLB empty and comes
/// to prepare().
TlbEntry* Mmu::current_tlb() {
  if (COLO_LIKELY(!c.checks_alignment())) return c.tlb_sets[c.cpl == 3];
  if (!never_) never_.reset(new TlbEntry[kTlbSize]);
  return never_.get();
}

bool Mmu::aligned(u64 va, size_t n) {
  const u64 boundary = n == 2 || n == 4 ? n : n == 8 || n == 10 || n == 16 ? 8 : 1;
  if (COLO_LIKELY(!(va & (boundary - 1)) || !c.checks_alignment())) return true;
  c.raise(AC, 0);
  return false;
}

void Cpu::mode_changed() {
  tlb = mmu->current_tlb();
  jumps = jump_sets[cpl == 3];
}

}  // namespace colo::soft
