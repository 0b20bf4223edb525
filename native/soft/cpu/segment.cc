// Segments as every access outside 64-bit code sees them (Intel SDM vol. 3, ch. 3 and 5).
#include "soft/cpu/segment.h"

#include "soft/cpu/block.h"

namespace colo::soft {
namespace {

/// Types in protected mode: what is not data is readable code at most. Real mode asks for none.
bool type_allows(const kvm_segment& s, Access access) {
  constexpr u8 kCode = 8, kReadOrWrite = 2;
  if (s.unusable) return false;
  if (access == Access::Write) return (s.type & (kCode | kReadOrWrite)) == kReadOrWrite;
  return !(s.type & kCode) || (s.type & kReadOrWrite);
}

bool spans_all(const kvm_segment& s) {
  constexpr u8 kCode = 8, kExpandDown = 4, kWritable = 2;
  return !s.unusable && s.base == 0 && s.limit == 0xffffffff &&
         (s.type & (kCode | kExpandDown | kWritable)) == kWritable;
}

}  // namespace

bool Cpu::linear(SegReg which, u64 offset, u64 n, Access access, u64& va) {
  const kvm_segment& s = seg[which];
  if (code64()) {
    va = offset + (which == FS || which == GS ? s.base : 0);
    return true;
  }
  if ((protected_mode() && !type_allows(s, access)) || !within_limit(s, offset, n)) {
    raise(which == SS ? SS_ : GP, 0);
    return false;
  }
  va = (s.base + offset) & 0xffffffff;
  return true;
}

void Cpu::set_sp(u64 to) {
  const u64 mask = stack_mask();
  if (mask == 0xffff) r[RSP] = (r[RSP] & ~mask) | (to & mask);
  else r[RSP] = to & mask;
}

bool Cpu::stack_load(u64 at, u8 size, u64& value) {
  u64 va;
  return linear(SS, at & stack_mask(), size, Access::Read, va) && load(va, size, value);
}

bool Cpu::stack_store(u64 at, u8 size, u64 value) {
  u64 va;
  return linear(SS, at & stack_mask(), size, Access::Write, va) && store(va, size, value);
}

bool Cpu::code_offset(u64 offset) {
  if (code64() || offset <= seg[CS].limit) return true;
  raise(GP, 0);
  return false;
}

u8 Cpu::mode_bits() const {
  const u8 user = cpl == 3 ? kModeUser : 0;
  if (code64()) return user;
  const bool flat = seg[CS].base == 0 && seg[CS].limit == 0xffffffff && seg[SS].db &&
                    spans_all(seg[DS]) && spans_all(seg[ES]) && spans_all(seg[SS]);
  return user | kModeLegacy | (seg[CS].db ? kModeCode32 : 0) | (flat ? kModeFlat : 0);
}

}  // namespace colo::soft
