// Page walker (Intel SDM vol. 3, 4.5) and the cold side of the soft TLB.
#include "soft/memory/mmu.h"

#include <type_traits>

#include "soft/cpu/block.h"
#include "soft/memory/world.h"

namespace colo::soft {
namespace {

constexpr u64 kPresent = 1, kWritable = 2, kUserBit = 4, kAccessed = 0x20, kDirty = 0x40,
              kLarge = 0x80, kGlobal = 0x100, kNx = 1ull << 63;
constexpr u64 kPhysMask = ((1ull << kPhysBits) - 1) & kPageMask;
constexpr u64 kReservedHigh = ((1ull << 52) - 1) & ~((1ull << kPhysBits) - 1);

size_t tlb_index(u64 va) { return (va >> kPageShift) & (kTlbSize - 1); }
size_t set_of(Rights rights) { return static_cast<size_t>(rights); }
/// In a tag of a page that is in the TLB for another kind of access: the tag never hits.
constexpr u64 kDenied = 1;

/// Page tables as a walk meets them; level 0 is the page table.
struct FourLevels {
  using Entry = u64;
  static constexpr int kLevels = 4, kBits = 9;
  static constexpr u64 kRoot = kPhysMask;
};
struct PaeTables {  // the four pointers of level 2 have no rights, and no bits to set
  using Entry = u64;
  static constexpr int kLevels = 3, kBits = 9;
  static constexpr u64 kRoot = 0xffffffe0;
};
struct TwoLevels {
  using Entry = u32;
  static constexpr int kLevels = 2, kBits = 10;
  static constexpr u64 kRoot = 0xfffff000;
};
/// Bits 1, 2 and 5..8 of a page-directory pointer in PAE paging.
constexpr u64 kPointerReserved = 0x1e6;

}  // namespace

bool Mmu::walk_fault(u64 va, Access access, Rights rights, bool present, bool reserved) {
  const bool nx = (c.efer & efer::NXE && c.cr4 & cr4::PAE) || c.cr4 & cr4::SMEP;
  return c.fault_page(va, (present ? 1 : 0) | (access == Access::Write ? 2 : 0) |
                              (rights == Rights::User ? 4 : 0) | (reserved ? 8 : 0) |
                              (access == Access::Exec && nx ? 16 : 0));
}

/// Sets bits in a paging-structure entry unless it changed meanwhile (devices write RAM too).
/// False: walk again.
template <class Entry>
bool Mmu::update_entry(u64 gpa, u64 old, u64 value) {
  const memory::Slot* slot = c.map.writable_slot_of(gpa);
  if (!slot) return true;  // tables in ROM: the write is lost
  auto* entry = reinterpret_cast<Entry*>(slot->hva + (gpa - slot->gpa));
  Entry expected = static_cast<Entry>(old);
  if (!__atomic_compare_exchange_n(entry, &expected, static_cast<Entry>(value), false,
                                   __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST))
    return false;
  wrote_ram(slot->offset + (gpa - slot->gpa), sizeof(Entry));
  return true;
}

bool Mmu::walk(u64 va, Access access, Rights rights, Translation& out) {
  if (!(c.cr0 & cr0::PG)) {
    out = {va, kPageSize, false, true, true, true};
    return true;
  }
  if (c.long_mode()) {
    if (canonical(va)) return walk_tables<FourLevels>(va, access, rights, out);
    c.pending = {true, true, GP, 0, va, true};
    return false;
  }
  return c.cr4 & cr4::PAE ? walk_tables<PaeTables>(va, access, rights, out)
                          : walk_tables<TwoLevels>(va, access, rights, out);
}

/// Bits that must be zero in an entry.
template <class F>
u64 Mmu::reserved_bits(int level, bool large) const {
  if constexpr (std::is_same_v<F, TwoLevels>) {
    return large ? 1 << 21 : 0;  // PSE-36: bits 13..20 are address bits 32..39
  } else {
    const u64 always = kReservedHigh | (c.efer & efer::NXE ? 0 : kNx);
    if (F::kLevels == 3 && level == 2) return kReservedHigh | kNx | kPointerReserved;
    if (F::kLevels == 4 && level == 3) return always | kLarge;
    return always | (large ? ((1ull << (12 + 9 * level)) - 1) & ~0x1fffull : 0);
  }
}

template <class F>
bool Mmu::walk_tables(u64 va, Access access, Rights rights, Translation& out) {
  using Entry = typename F::Entry;
  constexpr bool kTwo = std::is_same_v<F, TwoLevels>;
  constexpr u64 kFrame = kTwo ? 0xfffff000 : kPhysMask;
again:
  u64 gpa[F::kLevels], entry[F::kLevels];
  u64 table = c.cr3 & F::kRoot;
  bool writable = true, user_ok = true, nx = false, large = false;
  int level = F::kLevels - 1;
  for (;; level--) {
    const u64 index = (va >> (12 + F::kBits * level)) & ((1u << F::kBits) - 1);
    gpa[level] = table + (F::kLevels == 3 && level == 2 ? index & 3 : index) * sizeof(Entry);
    const u8* host = c.map.hva(gpa[level], sizeof(Entry));
    const u64 e = entry[level] =
        host ? __atomic_load_n(reinterpret_cast<const Entry*>(host), __ATOMIC_RELAXED) : ~0ull;
    if (!(e & kPresent)) return walk_fault(va, access, rights, false, false);
    large = level > 0 && (e & kLarge) && !(F::kLevels == 3 && level == 2) &&
            (!kTwo || c.cr4 & cr4::PSE);
    if (e & reserved_bits<F>(level, large)) return walk_fault(va, access, rights, true, true);
    if (!(F::kLevels == 3 && level == 2)) {
      writable = writable && (e & kWritable);
      user_ok = user_ok && (e & kUserBit);
      nx = nx || (e & kNx);
    }
    if (level == 0 || large) break;
    table = e & kFrame;
  }
  const bool user = rights == Rights::User;
  const bool may_write = writable || (!user && !(c.cr0 & cr0::WP));
  const bool smep = !user && user_ok && (c.cr4 & cr4::SMEP);
  const bool smap = rights == Rights::Supervisor && user_ok && (c.cr4 & cr4::SMAP);
  if ((user && !user_ok) || (access == Access::Write && !may_write) ||
      (access == Access::Exec ? nx || smep : smap))
    return walk_fault(va, access, rights, true, false);

  for (int l = F::kLevels - 1; l >= level; l--) {
    if (F::kLevels == 3 && l == 2) continue;
    const u64 want = entry[l] | kAccessed | (l == level && access == Access::Write ? kDirty : 0);
    if (want != entry[l] && !update_entry<Entry>(gpa[l], entry[l], want)) goto again;
    entry[l] = want;
  }
  const u64 size = 1ull << (12 + F::kBits * level);
  const u64 high = kTwo && large ? (entry[level] >> 13 & 0xff) << 32 : 0;
  out.gpa = high | (entry[level] & kFrame & ~(size - 1)) | (va & (size - 1));
  out.page_size = size;
  out.global = (entry[level] & kGlobal) && (c.cr4 & cr4::PGE);
  out.readable = !smap;
  out.writable = may_write && !smap && (entry[level] & kDirty);
  out.executable = !nx && !smep;
  return true;
}

void Mmu::enter(u64 va, Access access, Rights rights, const Translation& t,
                const memory::Slot& slot) {
  const size_t i = tlb_index(va), set = set_of(rights);
  const u64 page_va = va & kPageMask, in_slot = (t.gpa & kPageMask) - slot.gpa;
  const u64 page = slot.first_page + (in_slot >> kPageShift);
  const bool no_code = t.writable && !slot.read_only && c.world->may_tag_write(c, page);
  if (access == Access::Write && c.ram->logging() && no_code) c.ram->mark_dirty(page);
  const bool may_tag_write = no_code && (!c.ram->logging() || c.ram->is_dirty(page));
  sets_ = std::max(sets_, set + 1);
  c.tlb_sets[set][i] = {t.readable ? page_va : page_va | kDenied, may_tag_write ? page_va : 1,
                        t.executable ? page_va : 1,
                        reinterpret_cast<u64>(slot.hva) + in_slot - page_va};
  side_[set][i] = {page << kPageShift, t.page_size, t.global};
  if (!t.global) {
    if (local_count_[set] < kTlbSize) local_[set][local_count_[set]] = static_cast<u16>(i);
    if (local_count_[set] <= kTlbSize) local_count_[set]++;
    if (t.executable && va >> 63) local_high_ = true;  // whatever filled it: it has an exec tag now
  }
  if (t.page_size != kPageSize) {
    large_low_ = std::min(large_low_, va & ~(t.page_size - 1));
    large_high_ = std::max(large_high_, va | (t.page_size - 1));
  }
}

bool Mmu::fill(u64 va, Access access, Rights rights, Place& place) {
  COLO_ASSERT(!window.open);  // it would take the slot from under side_
  Translation t;
  if (!walk(va, access, rights, t)) return false;
  const memory::Slot* slot = c.map.slot_of(t.gpa);
  if (slot) enter(va, access, rights, t, *slot);
  if (!slot || (access == Access::Write && slot->read_only)) place = {true, t.gpa};
  else place = {false, slot->offset + (t.gpa - slot->gpa)};
  return true;
}

void Mmu::flush(bool globals) {
  for (size_t set = 0; set < sets_; set++) {
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
  for (size_t set = 0; set < sets_; set++) {
    if ((c.tlb_sets[set][i].read & kPageMask) == (va & kPageMask)) c.tlb_sets[set][i] = {};
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
  for (size_t set = 0; set < sets_; set++)
    for (TlbEntry& e : c.tlb_sets[set]) e.write = 1;
}

void Mmu::drop_write_tags(u64 page_offset) {
  for (size_t set = 0; set < sets_; set++)
    for (size_t i = 0; i < kTlbSize; i++)
      if (side_[set][i].offset == page_offset) c.tlb_sets[set][i].write = 1;
}

void Cpu::tlb_flush(bool globals) { mmu->flush(globals); }
void Cpu::tlb_flush_page(u64 va) { mmu->flush_page(va); }
/// Alignment and breakpoints cost nothing while they are not checked: then every access finds the
/// TLB empty and comes to prepare().
TlbEntry* Mmu::current_tlb() {
  if (COLO_LIKELY(!c.checks_alignment() && !c.watching)) return c.tlb_sets[set_of(c.rights())];
  if (!never_) never_.reset(new TlbEntry[kTlbSize]);
  return never_.get();
}

bool Mmu::aligned(u64 va, size_t n) {
  const u64 boundary = n == 2 || n == 4 ? n : n == 8 || n == 10 || n == 16 ? 8 : 1;
  if (COLO_LIKELY(!(va & (boundary - 1)) || !c.checks_alignment())) return true;
  c.raise(AC, 0);
  return false;
}

/// What was found through another code segment is void. User and supervisor have one each, so that
/// calls of a flat kernel drop nothing.
void Mmu::note_code_segment() {
  const kvm_segment& cs = c.seg[CS];
  CodeKey& known = code_[c.cpl == 3];
  if (known.mode == c.mode && known.base == cs.base && known.limit == cs.limit) return;
  known = {c.mode, cs.base, cs.limit};
  c.blocks->drop_legacy();
}

void Cpu::mode_changed() {
  mode = mode_bits();
  rip_mask = mode & kModeLegacy ? 0xffffffff : ~0ull;
  tlb = mmu->current_tlb();
  jumps = jump_sets[jump_set(mode)];
  if (mode & kModeLegacy) mmu->note_code_segment();
}

void Cpu::alignment_flag_changed() { tlb = mmu->current_tlb(); }

}  // namespace colo::soft
