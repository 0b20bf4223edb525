// Stand-in for the engine in tests of the system half: memory doors over a plain 4-level walk of 4
// KB pages, eager flags, no decoded code. Only what system functions call; linked instead of
// mmu.cc, block.cc, flags.cc and fpu.cc.
#include <cstring>

#include "soft/cpu/block.h"
#include "test/system_fixture.h"

namespace colo::soft {

namespace {

bool fail_page(Cpu& c, u64 va, u32 error) { return c.fault_page(va, error); }

/// Host address of one byte, or nullptr with pending set.
u8* translate(Cpu& c, u64 va, bool write, bool user) {
  const u32 error = (write ? 2 : 0) | (user ? 4 : 0);
  if (static_cast<u64>(static_cast<i64>(va << 16) >> 16) != va) return c.raise(GP, 0), nullptr;
  u64 table = c.cr3 & 0xffffff000;
  for (int shift = 39; shift >= 12; shift -= 9) {
    u64 entry;
    const u8* at = c.ram->hva(table + (va >> shift & 511) * 8, 8);
    if (!at) return fail_page(c, va, error), nullptr;
    memcpy(&entry, at, 8);
    if (!(entry & 1)) return fail_page(c, va, error), nullptr;
    if ((user && !(entry & 4)) || (write && !(entry & 2)))
      return fail_page(c, va, error | 1), nullptr;
    table = entry & 0xffffff000;
  }
  return c.ram->hva(table | (va & 0xfff), 1);
}

bool copy(Cpu& c, u64 va, void* bytes, size_t n, bool write, bool user) {
  u8* p = static_cast<u8*>(bytes);
  if (write)
    for (size_t i = 0; i < n; i++)
      if (!translate(c, va + i, true, user)) return false;
  for (size_t i = 0; i < n; i++) {
    u8* at = translate(c, va + i, write, user);
    if (!at) return false;
    if (write) *at = p[i];
    else p[i] = *at;
  }
  return true;
}

}  // namespace

bool Cpu::load(u64 va, u8 size, u64& value) {
  value = 0;
  return copy(*this, va, &value, size, false, cpl == 3);
}
bool Cpu::store(u64 va, u8 size, u64 value) {
  return copy(*this, va, &value, size, true, cpl == 3);
}
bool Cpu::load_bytes(u64 va, void* out, size_t n) {
  return copy(*this, va, out, n, false, cpl == 3);
}
bool Cpu::store_bytes(u64 va, const void* in, size_t n) {
  return copy(*this, va, const_cast<void*>(in), n, true, cpl == 3);
}
bool Cpu::load_sys(u64 va, u8 size, u64& value) {
  value = 0;
  return copy(*this, va, &value, size, false, false);
}
bool Cpu::store_sys(u64 va, u8 size, u64 value) {
  return copy(*this, va, &value, size, true, false);
}
bool Cpu::store_inner(u64 va, u8 size, u64 value) { return store_sys(va, size, value); }
bool Cpu::probe(u64 va, size_t n, Access access) {
  for (size_t i = 0; i < n; i++)
    if (!translate(*this, va + i, access == Access::Write, cpl == 3)) return false;
  return true;
}

void Cpu::tlb_flush(bool globals) {
  (globals ? test::engine.full_flushes : test::engine.flushes)++;
}
void Cpu::tlb_flush_page(u64 va) { test::engine.flushed_page = va; }
void Cpu::mode_changed() {
  mode = mode_bits();
  rip_mask = mode & kModeLegacy ? 0xffffffff : ~0ull;
  test::engine.mode_changes++;
}

void Cpu::alignment_flag_changed() {}

u64 Cpu::flags() const { return rflags | res; }
void Cpu::set_flags(u64 value) {
  res = value & flag::STATUS;
  rflags = (value & ~flag::STATUS) | 2;
}

u64 insn_rip(const Cpu& c, const Op&) { return c.rip; }

}  // namespace colo::soft
