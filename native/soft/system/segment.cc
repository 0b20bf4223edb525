// Descriptors and segment registers (Intel SDM vol. 3 ch. 3 and 5; AMD APM vol. 2 ch. 4).
// In 64-bit mode only FS and GS have a base, but every check of a load is still made. In real mode
// a load changes the base alone: limits and types stay what protected mode left (big real mode).
#include "soft/system/system.h"

namespace colo::soft::sys {

namespace {

kvm_segment parse(u16 selector, u64 raw) {
  kvm_segment s = {};
  s.base = ((raw >> 16) & 0xffffff) | ((raw >> 56) << 24);
  s.limit = (raw & 0xffff) | ((raw >> 32) & 0xf0000);
  s.selector = selector;
  s.type = (raw >> 40) & 15;
  s.s = (raw >> 44) & 1;
  s.dpl = (raw >> 45) & 3;
  s.present = (raw >> 47) & 1;
  s.avl = (raw >> 52) & 1;
  s.l = (raw >> 53) & 1;
  s.db = (raw >> 54) & 1;
  s.g = (raw >> 55) & 1;
  if (s.g) s.limit = s.limit << 12 | 0xfff;  // KVM's images hold byte limits
  return s;
}

/// SS: NULL is legal only in 64-bit mode below CPL 3, with RPL = CPL (SDM vol. 2, MOV).
bool load_ss(Cpu& c, u16 selector) {
  if (null_selector(selector)) {
    if (!c.code64() || c.cpl == 3 || (selector & 3) != c.cpl) return fault(c, GP, 0);
    c.seg[SS] = null_segment(selector, c.cpl);
    return true;
  }
  return check_stack_segment(c, selector, c.cpl, GP, 0, c.seg[SS]);
}

bool load_data(Cpu& c, SegReg which, u16 selector) {
  if (null_selector(selector)) {
    c.seg[which] =
        null_segment(selector, 0);  // clears the base too: CPUID 80000021 EAX bit 6 says so
    return true;
  }
  Descriptor d;
  if (!fetch_descriptor(c, selector, d)) return false;
  const bool readable = d.seg.s && (!is_code(d.seg) || (d.seg.type & type::READABLE));
  const bool reachable =
      is_conforming(d.seg) || ((selector & 3) <= d.seg.dpl && c.cpl <= d.seg.dpl);
  if (!readable || !reachable) return fault(c, GP, selector_error(selector));
  if (!d.seg.present) return fault(c, NP, selector_error(selector));
  if (!mark_accessed(c, d)) return false;
  c.seg[which] = d.seg;
  return true;
}

bool load_segment(Cpu& c, SegReg which, u16 selector) {
  if (real_mode(c)) load_real(c.seg[which], selector);
  else if (!(which == SS ? load_ss(c, selector) : load_data(c, which, selector))) return false;
  if (!c.code64()) c.mode_changed();
  return true;
}

/// 8E: MOV Sreg, r/m16.
Step mov_to_segment(Cpu& c, const Op& o) {
  const SegReg which = SegReg((op_modrm(o) >> 3) & 7);
  if (which == CS || which >= SEG_COUNT) return c.raise(UD);
  u16 selector;
  if (!rm16_read(c, o, selector) || !load_segment(c, which, selector)) return Step::Fault;
  if (which != SS) return Step::Next;
  c.shadow = c.shadow_ss = true;  // the next instruction may load RSP in peace (SDM vol. 3, 6.8.3)
  return leave(c, o);
}

/// 8C: MOV r/m16, Sreg.
Step mov_from_segment(Cpu& c, const Op& o) {
  const u8 which = (op_modrm(o) >> 3) & 7;
  if (which >= SEG_COUNT) return c.raise(UD);
  return done(rm16_write(c, o, c.seg[which].selector));
}

/// 06, 0E, 16, 1E, 0F A0, 0F A8: PUSH ES, CS, SS, DS, FS, GS.
template <SegReg which>
Step push(Cpu& c, const Op& o) {
  const u8 size = stack_size(c, o);
  if (!c.stack_store(c.r[RSP] - size, size, c.seg[which].selector)) return Step::Fault;
  c.set_sp(c.r[RSP] - size);
  return Step::Next;
}

/// 07, 17, 1F, 0F A1, 0F A9: POP ES, SS, DS, FS, GS. The stack pointer moves by the stack segment
/// that was popped from.
template <SegReg which>
Step pop(Cpu& c, const Op& o) {
  const u8 size = stack_size(c, o);
  const u64 rsp = c.r[RSP];
  u64 selector;
  if (!c.stack_load(rsp, size, selector)) return Step::Fault;
  c.set_sp(rsp + size);
  if (!load_segment(c, which, static_cast<u16>(selector))) {
    c.r[RSP] = rsp;
    return Step::Fault;
  }
  if (which != SS) return Step::Next;
  c.shadow = c.shadow_ss = true;
  return leave(c, o);
}

/// C4, C5, 0F B2, B4, B5: LES, LDS, LSS, LFS, LGS. The pointer is offset, then selector.
template <SegReg which>
Step load_far_pointer(Cpu& c, const Op& o) {
  const u8 size = far_size(o);
  const u64 at = ea(c, o);
  u64 offset, selector;
  if (!c.load(at, size, offset) || !c.load(at + size, 2, selector) ||
      !load_segment(c, which, selector))
    return Step::Fault;
  reg_write(c, o.s, size, offset);
  return which == SS ? leave(c, o) : Step::Next;
}

}  // namespace

bool fetch_descriptor(Cpu& c, u16 selector, Descriptor& out, u8 vector, u32 ext) {
  const bool local = selector & 4;
  const u64 base = local ? c.ldt.base : c.gdt.base;
  const u64 limit = local ? (c.ldt.unusable ? 0 : c.ldt.limit) : c.gdt.limit;
  if ((selector | 7u) > limit) return fault(c, vector, selector_error(selector, ext));
  out.address = base + (selector & 0xfff8);
  if (!c.load_sys(out.address, 8, out.raw)) return false;
  out.seg = parse(selector, out.raw);
  return true;
}

bool check_stack_segment(Cpu& c, u16 selector, u8 cpl, u8 vector, u32 ext, kvm_segment& out) {
  const u32 error = selector_error(selector, ext);
  Descriptor d;
  if (!fetch_descriptor(c, selector, d, vector, ext)) return false;
  if ((selector & 3) != cpl || !is_writable_data(d.seg) || d.seg.dpl != cpl)
    return fault(c, vector, error);
  if (!d.seg.present) return fault(c, SS_, error);
  if (!mark_accessed(c, d)) return false;
  out = d.seg;
  return true;
}

void load_real(kvm_segment& s, u16 selector) {
  s.selector = selector;
  s.base = selector * 16u;
  s.present = s.s = 1;
  if (s.unusable) s.limit = 0xffff, s.type = type::WRITABLE | type::ACCESSED;  // it had none
  s.unusable = 0;
}

bool mark_accessed(Cpu& c, Descriptor& d) {
  if (d.seg.type & type::ACCESSED) return true;
  d.seg.type |= type::ACCESSED;
  return c.store_sys(d.address + 5, 1, ((d.raw >> 40) & 0xff) | type::ACCESSED);
}

kvm_segment null_segment(u16 selector, u8 dpl) {
  kvm_segment s = {};
  s.selector = selector;
  s.dpl = dpl;  // KVM reads the CPL from SS.dpl, also when SS is NULL
  s.unusable = 1;
  return s;
}

kvm_segment flat_code(u16 selector, u8 dpl, bool is64) {
  kvm_segment s = {};
  s.limit = 0xffffffff;
  s.selector = selector;
  s.type = type::CODE | type::READABLE | type::ACCESSED;
  s.present = s.s = s.g = 1;
  s.dpl = dpl;
  s.l = is64;
  s.db = !is64;
  return s;
}

kvm_segment flat_data(u16 selector, u8 dpl) {
  kvm_segment s = {};
  s.limit = 0xffffffff;
  s.selector = selector;
  s.type = type::WRITABLE | type::ACCESSED;
  s.present = s.s = s.g = s.db = 1;
  s.dpl = dpl;
  return s;
}

void enter_code(Cpu& c, const kvm_segment& cs, u8 cpl) {
  const bool same = c.cpl == cpl && c.seg[CS].l && cs.l;  // legacy code depends on all of CS
  c.seg[CS] = cs;
  c.cpl = cpl;
  if (!same) c.mode_changed();
}

namespace {
/// Those that 64-bit code has not.
SlowInsn legacy_segment_insn(u8 opcode, u8 modrm) {
  const bool memory = modrm < 0xc0;
  switch (opcode) {
    case 0x06:
      return {push<ES>, true};
    case 0x07:
      return {pop<ES>, true};
    case 0x0e:
      return {push<CS>, true};
    case 0x16:
      return {push<SS>, true};
    case 0x17:
      return {pop<SS>, true};
    case 0x1e:
      return {push<DS>, true};
    case 0x1f:
      return {pop<DS>, true};
    case 0xc4:
      return memory ? SlowInsn{load_far_pointer<ES>, true} : SlowInsn{};
    case 0xc5:
      return memory ? SlowInsn{load_far_pointer<DS>, true} : SlowInsn{};
    default:
      return {};
  }
}
}  // namespace

SlowInsn segment_insn(u8 map, u8 opcode, u8 modrm) {
  if (map == 0) {
    if (opcode == 0x8c) return {mov_from_segment, false};
    if (opcode == 0x8e) return {mov_to_segment, ((modrm >> 3) & 7) == SS};
    return legacy_segment_insn(opcode, modrm);
  }
  const bool memory = modrm < 0xc0;
  switch (opcode) {
    case 0xa0:
      return {push<FS>, false};
    case 0xa1:
      return {pop<FS>, false};
    case 0xa8:
      return {push<GS>, false};
    case 0xa9:
      return {pop<GS>, false};
    case 0xb2:
      return memory ? SlowInsn{load_far_pointer<SS>, true} : SlowInsn{};
    case 0xb4:
      return memory ? SlowInsn{load_far_pointer<FS>, false} : SlowInsn{};
    case 0xb5:
      return memory ? SlowInsn{load_far_pointer<GS>, false} : SlowInsn{};
    default:
      return {};
  }
}

}  // namespace colo::soft::sys
