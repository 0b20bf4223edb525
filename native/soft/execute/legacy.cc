// Instructions that 64-bit code has not (Intel SDM vol. 2), and the stack and the near branches of
// legacy code wherever segments or 16-bit operands ask for more than int_flat.cc does. Nothing is
// committed before the last access has succeeded.
#include "soft/execute/handlers.h"
#include "soft/execute/ops.h"

namespace colo::soft {
namespace {

u64 read_reg(const Cpu& c, u8 offset, u8 size) {
  return size == 2 ? get<u16>(&c, offset) : get<u32>(&c, offset);
}
void write_reg(Cpu& c, u8 offset, u8 size, u64 value) {
  if (size == 2) put<u16>(&c, offset, static_cast<u16>(value));
  else put<u32>(&c, offset, static_cast<u32>(value));
}
u64 narrow(u64 offset, u8 address_size) {
  return address_size == 2 ? static_cast<u16>(offset) : static_cast<u32>(offset);
}

Step push_value(Cpu& c, u8 size, u64 value) {
  if (!c.stack_store(c.r[RSP] - size, size, value)) return Step::Fault;
  c.set_sp(c.r[RSP] - size);
  return Step::Next;
}

Step go(Cpu& c, u64 target) {
  c.rip = target;
  return Step::Jump;
}

Step call_to(Cpu& c, const Op& o, u64 target) {
  const u8 size = static_cast<u8>(o.extra);
  if (!c.code_offset(target) || push_value(c, size, next_rip(c, o)) == Step::Fault)
    return Step::Fault;
  return go(c, target);
}

}  // namespace

Step legacy_push(Cpu& c, const Op& o) {
  const u8 size = static_cast<u8>(o.extra);
  return push_value(c, size, read_reg(c, o.s, size));
}

Step legacy_push_imm(Cpu& c, const Op& o) {
  return push_value(c, static_cast<u8>(o.extra), static_cast<u64>(o.imm));
}

Step legacy_pop(Cpu& c, const Op& o) {
  const u8 size = static_cast<u8>(o.extra);
  u64 v;
  if (!c.stack_load(c.r[RSP], size, v)) return Step::Fault;
  c.set_sp(c.r[RSP] + size);
  write_reg(c, o.d, size, v);
  return Step::Next;
}

/// The address is that after the pop, if it is made of the stack pointer.
Step legacy_pop_mem(Cpu& c, const Op& o) {
  const u8 size = static_cast<u8>(o.extra);
  const u64 rsp = c.r[RSP];
  u64 v, va;
  if (!c.stack_load(rsp, size, v)) return Step::Fault;
  c.set_sp(rsp + size);
  if (c.linear(SegReg(o.d), narrow(ea(c, o), o.s), size, Access::Write, va) && c.store(va, size, v))
    return Step::Next;
  c.r[RSP] = rsp;
  return Step::Fault;
}

Step legacy_pusha(Cpu& c, const Op& o) {
  const u8 size = static_cast<u8>(o.extra);
  u64 sp = c.r[RSP];
  for (Reg r : {RAX, RCX, RDX, RBX, RSP, RBP, RSI, RDI})
    if (!c.stack_store(sp -= size, size, read_reg(c, r * 8, size))) return Step::Fault;
  c.set_sp(sp);
  return Step::Next;
}

Step legacy_popa(Cpu& c, const Op& o) {
  const u8 size = static_cast<u8>(o.extra);
  u64 v[8];
  for (u64 i = 0; i < 8; i++)
    if (!c.stack_load(c.r[RSP] + i * size, size, v[i])) return Step::Fault;
  c.set_sp(c.r[RSP] + 8u * size);
  constexpr Reg kOrder[] = {RDI, RSI, RBP, RSP, RBX, RDX, RCX, RAX};
  for (int i = 0; i < 8; i++)
    if (kOrder[i] != RSP) write_reg(c, kOrder[i] * 8, size, v[i]);
  return Step::Next;
}

/// C8: ENTER. imm = frame size | nesting level << 16.
Step legacy_enter(Cpu& c, const Op& o) {
  const u8 size = static_cast<u8>(o.extra);
  const u64 frame_size = o.imm & 0xffff;
  const int level = (o.imm >> 16) & 31;
  u64 sp = c.r[RSP] - size;
  if (!c.stack_store(sp, size, read_reg(c, RBP * 8, size))) return Step::Fault;
  // the whole of ESP, of which a 16-bit stack has moved the lower half
  const u64 frame = (c.r[RSP] & 0xffffffff & ~c.stack_mask()) | (sp & c.stack_mask());
  for (int i = 1; i < level; i++) {
    u64 outer;
    sp -= size;
    if (!c.stack_load(c.r[RBP] - u64(size) * static_cast<u64>(i), size, outer) ||
        !c.stack_store(sp, size, outer))
      return Step::Fault;
  }
  if (level && !c.stack_store(sp -= size, size, frame)) return Step::Fault;
  sp -= frame_size;
  u64 va;
  if (!c.linear(SS, sp & c.stack_mask(), 1, Access::Write, va) || !c.probe(va, 1, Access::Write))
    return Step::Fault;
  write_reg(c, RBP * 8, size, frame);
  c.set_sp(sp);
  return Step::Next;
}

Step legacy_leave(Cpu& c, const Op& o) {
  const u8 size = static_cast<u8>(o.extra);
  u64 v;
  if (!c.stack_load(c.r[RBP], size, v)) return Step::Fault;
  c.set_sp(c.r[RBP] + size);
  write_reg(c, RBP * 8, size, v);
  return Step::Next;
}

Step legacy_call(Cpu& c, const Op& o) { return call_to(c, o, static_cast<u64>(o.imm)); }

Step legacy_call_indirect(Cpu& c, const Op& o) {
  return call_to(c, o, read_reg(c, o.s, static_cast<u8>(o.extra)));
}

Step legacy_jump_indirect(Cpu& c, const Op& o) {
  const u64 target = read_reg(c, o.s, static_cast<u8>(o.extra));
  return c.code_offset(target) ? go(c, target) : Step::Fault;
}

Step legacy_ret(Cpu& c, const Op& o) {
  const u8 size = static_cast<u8>(o.extra);
  u64 target;
  if (!c.stack_load(c.r[RSP], size, target) || !c.code_offset(target)) return Step::Fault;
  c.set_sp(c.r[RSP] + size + static_cast<u64>(o.imm));
  return go(c, target);
}

Step legacy_xlat(Cpu& c, const Op& o) {
  u64 va, v;
  const u64 offset = narrow(c.r[RBX] + get<u8>(&c, RAX * 8), static_cast<u8>(o.extra));
  if (!c.linear(SegReg(o.imm), offset, 1, Access::Read, va) || !c.load(va, 1, v))
    return Step::Fault;
  put<u8>(&c, RAX * 8, static_cast<u8>(v));
  return Step::Next;
}

Step legacy_bound(Cpu& c, const Op& o) {
  const u8 size = static_cast<u8>(o.extra);
  u64 low, high;
  if (!c.load(ea(c, o), size, low) || !c.load(ea(c, o) + size, size, high)) return Step::Fault;
  const auto number = [&](u64 v) {
    return size == 2 ? i64(static_cast<i16>(v)) : i64(static_cast<i32>(v));
  };
  const i64 index = number(read_reg(c, o.s, size));
  return index < number(low) || index > number(high) ? c.raise(BR) : Step::Next;
}

namespace {

/// The flags that follow from AL; CF and AF as given, OF clear (it is undefined).
void set_bcd_flags(Cpu& c, bool cf, bool af) {
  const u8 al = get<u8>(&c, RAX * 8);
  lazy_of_status((cf ? flag::CF : 0) | (af ? flag::AF : 0) | (al ? 0 : flag::ZF) |
                     (al & 0x80 ? flag::SF : 0) | (__builtin_parity(al) ? 0 : flag::PF),
                 c.res, c.aux);
}

/// DAA and DAS.
void decimal_adjust(Cpu& c, bool subtract) {
  const u64 f = status_of_lazy(c.res, c.aux);
  const u8 old = get<u8>(&c, RAX * 8);
  u8 al = old;
  const bool low = (old & 15) > 9 || f & flag::AF, high = old > 0x99 || f & flag::CF;
  bool cf = high;
  if (low) {
    cf = cf || (subtract && old < 6);
    al = static_cast<u8>(subtract ? al - 6 : al + 6);
  }
  if (high) al = static_cast<u8>(subtract ? al - 0x60 : al + 0x60);
  put<u8>(&c, RAX * 8, al);
  set_bcd_flags(c, cf, low);
}

/// AAA and AAS.
void ascii_adjust(Cpu& c, bool subtract) {
  const bool adjust = (c.r[RAX] & 15) > 9 || status_of_lazy(c.res, c.aux) & flag::AF;
  u16 ax = get<u16>(&c, RAX * 8);
  if (adjust) ax = static_cast<u16>(subtract ? ax - 0x106 : ax + 0x106);
  put<u16>(&c, RAX * 8, ax & 0xff0f);
  set_bcd_flags(c, adjust, adjust);
}

}  // namespace

Step legacy_bcd(Cpu& c, const Op& o) {
  const u8 opcode = o.imm & 0xff, base = (o.imm >> 8) & 0xff;
  const u8 al = get<u8>(&c, RAX * 8), ah = get<u8>(&c, RAX * 8 + 1);
  switch (opcode) {
    case 0x27:
    case 0x2f:
      decimal_adjust(c, opcode == 0x2f);
      break;
    case 0x37:
    case 0x3f:
      ascii_adjust(c, opcode == 0x3f);
      break;
    case 0xd4:  // AAM
      if (!base) return c.raise(DE);
      put<u16>(&c, RAX * 8, static_cast<u16>((al / base) << 8 | al % base));
      set_bcd_flags(c, false, false);
      break;
    case 0xd5:  // AAD
      put<u16>(&c, RAX * 8, static_cast<u8>(al + ah * base));
      set_bcd_flags(c, false, false);
      break;
    default:  // D6: SALC
      put<u8>(&c, RAX * 8, lazy_cf(c.aux) ? 0xff : 0);
      break;
  }
  return Step::Next;
}

}  // namespace colo::soft
