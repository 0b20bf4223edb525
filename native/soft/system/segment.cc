// Descriptors and segment registers (Intel SDM vol. 3 ch. 3 and 5; AMD APM vol. 2 ch. 4).
// In 64-bit mode only FS and GS have a base, but every check of a load is still made.
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
  Descriptor d;
  if (!fetch_descriptor(c, selector, d)) return false;
  if ((selector & 3) != c.cpl || !is_writable_data(d.seg) || d.seg.dpl != c.cpl)
    return fault(c, GP, selector_error(selector));
  if (!d.seg.present) return fault(c, SS_, selector_error(selector));
  if (!mark_accessed(c, d)) return false;
  c.seg[SS] = d.seg;
  return true;
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
  return which == SS ? load_ss(c, selector) : load_data(c, which, selector);
}

/// 8E: MOV Sreg, r/m16.
Step mov_to_segment(Cpu& c, const Op& o) {
  const SegReg which = SegReg((op_modrm(o) >> 3) & 7);
  if (which == CS || which >= SEG_COUNT) return c.raise(UD);
  u16 selector;
  if (!rm16_read(c, o, selector) || !load_segment(c, which, selector)) return Step::Fault;
  if (which != SS) return Step::Next;
  c.shadow = true;  // the next instruction may load RSP in peace (SDM vol. 3, 6.8.3)
  return leave(c, o);
}

/// 8C: MOV r/m16, Sreg.
Step mov_from_segment(Cpu& c, const Op& o) {
  const u8 which = (op_modrm(o) >> 3) & 7;
  if (which >= SEG_COUNT) return c.raise(UD);
  return done(rm16_write(c, o, c.seg[which].selector));
}

/// 0F A0, A8: PUSH FS, GS.
template <SegReg which>
Step push(Cpu& c, const Op& o) {
  const u8 size = stack_size(o);
  const u64 rsp = c.r[RSP] - size;
  if (!c.store(rsp, size, c.seg[which].selector)) return Step::Fault;
  c.r[RSP] = rsp;
  return Step::Next;
}

/// 0F A1, A9: POP FS, GS.
template <SegReg which>
Step pop(Cpu& c, const Op& o) {
  const u8 size = stack_size(o);
  u64 selector;
  if (!c.load(c.r[RSP], size, selector) || !load_data(c, which, selector)) return Step::Fault;
  c.r[RSP] += size;
  return Step::Next;
}

/// 0F B2, B4, B5: LSS, LFS, LGS. The pointer is offset, then selector.
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

/// 0F 00 /0 /1: SLDT, STR.
Step store_ldt(Cpu& c, const Op& o) { return done(rm16_write(c, o, c.ldt.selector)); }
Step store_tr(Cpu& c, const Op& o) { return done(rm16_write(c, o, c.tr.selector)); }

/// Reads a 16-byte system descriptor of the GDT: the base has 64 bits, and the type field of the
/// upper half must be zero.
bool fetch_system(Cpu& c, u16 selector, Descriptor& d) {
  if (selector & 4) return fault(c, GP, selector_error(selector));
  if ((selector | 7u) + 8 > c.gdt.limit) return fault(c, GP, selector_error(selector));
  u64 high;
  if (!fetch_descriptor(c, selector, d) || !c.load_sys(d.address + 8, 8, high)) return false;
  d.seg.base |= high << 32;
  if ((high >> 40) & 31 || !canonical(d.seg.base)) return fault(c, GP, selector_error(selector));
  return true;
}

/// 0F 00 /2: LLDT.
Step load_ldt(Cpu& c, const Op& o) {
  if (c.cpl) return c.raise(GP, 0);
  u16 selector;
  if (!rm16_read(c, o, selector)) return Step::Fault;
  if (null_selector(selector)) {
    c.ldt = null_segment(selector, 0);
    return leave(c, o);
  }
  Descriptor d;
  if (!fetch_system(c, selector, d)) return Step::Fault;
  if (d.seg.s || d.seg.type != type::LDT) return c.raise(GP, selector_error(selector));
  if (!d.seg.present) return c.raise(NP, selector_error(selector));
  c.ldt = d.seg;
  return leave(c, o);
}

/// 0F 00 /3: LTR. Marks the TSS busy in the GDT.
Step load_tr(Cpu& c, const Op& o) {
  if (c.cpl) return c.raise(GP, 0);
  u16 selector;
  if (!rm16_read(c, o, selector)) return Step::Fault;
  if (null_selector(selector)) return c.raise(GP, 0);
  Descriptor d;
  if (!fetch_system(c, selector, d)) return Step::Fault;
  if (d.seg.s || d.seg.type != type::TSS_AVAILABLE) return c.raise(GP, selector_error(selector));
  if (!d.seg.present) return c.raise(NP, selector_error(selector));
  d.seg.type = type::TSS_BUSY;
  if (!c.store_sys(d.address + 5, 1, ((d.raw >> 40) & 0xff) | 2)) return Step::Fault;
  c.tr = d.seg;
  return leave(c, o);
}

/// The common part of LAR, LSL, VERR, VERW: none of them faults on a bad selector. Found = visible
/// at this CPL and RPL.
enum class Look : u8 { Hidden, Found, Fault };
Look look(Cpu& c, const Op& o, Descriptor& d) {
  u16 selector;
  if (!rm16_read(c, o, selector)) return Look::Fault;
  if (null_selector(selector)) return Look::Hidden;
  if (!fetch_descriptor(c, selector, d)) {
    if (c.pending.vector == PF) return Look::Fault;
    c.pending.set = false;
    return Look::Hidden;
  }
  if (is_conforming(d.seg)) return Look::Found;
  return c.cpl <= d.seg.dpl && (selector & 3) <= d.seg.dpl ? Look::Found : Look::Hidden;
}

Step set_zf(Cpu& c, bool on) {
  c.set_flags((c.flags() & ~flag::ZF) | (on ? flag::ZF : 0));
  return Step::Next;
}

/// System descriptor types that LAR and LSL accept in long mode.
bool lar_type(u8 t) {
  return t == type::LDT || t == type::TSS_AVAILABLE || t == type::TSS_BUSY || t == type::CALL_GATE;
}
bool lsl_type(u8 t) { return t == type::LDT || t == type::TSS_AVAILABLE || t == type::TSS_BUSY; }

/// 0F 02: LAR.
Step lar(Cpu& c, const Op& o) {
  Descriptor d;
  const Look l = look(c, o, d);
  if (l == Look::Fault) return Step::Fault;
  if (l == Look::Hidden || (!d.seg.s && !lar_type(d.seg.type))) return set_zf(c, false);
  reg_write(c, o.s, op_size(o), (d.raw >> 32) & 0x00f0ff00);
  return set_zf(c, true);
}

/// 0F 03: LSL. Linux keeps the CPU number in a limit.
Step lsl(Cpu& c, const Op& o) {
  Descriptor d;
  const Look l = look(c, o, d);
  if (l == Look::Fault) return Step::Fault;
  if (l == Look::Hidden || (!d.seg.s && !lsl_type(d.seg.type))) return set_zf(c, false);
  reg_write(c, o.s, op_size(o), d.seg.limit);
  return set_zf(c, true);
}

/// 0F 00 /4: VERR.
Step verr(Cpu& c, const Op& o) {
  Descriptor d;
  const Look l = look(c, o, d);
  if (l == Look::Fault) return Step::Fault;
  return set_zf(c,
                l == Look::Found && d.seg.s && (!is_code(d.seg) || (d.seg.type & type::READABLE)));
}

/// 0F 00 /5: VERW.
Step verw(Cpu& c, const Op& o) {
  Descriptor d;
  const Look l = look(c, o, d);
  if (l == Look::Fault) return Step::Fault;
  return set_zf(c, l == Look::Found && is_writable_data(d.seg));
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
  const bool same = c.cpl == cpl && c.seg[CS].l == cs.l && c.seg[CS].db == cs.db;
  c.seg[CS] = cs;
  c.cpl = cpl;
  if (!same) c.mode_changed();
}

SlowInsn group_0f00(u8 modrm) {
  switch ((modrm >> 3) & 7) {
    case 0:
      return {store_ldt, false};
    case 1:
      return {store_tr, false};
    case 2:
      return {load_ldt, true};
    case 3:
      return {load_tr, true};
    case 4:
      return {verr, false};
    case 5:
      return {verw, false};
    default:
      return {};
  }
}

SlowInsn segment_insn(u8 map, u8 opcode, u8 modrm) {
  if (map == 0) {
    if (opcode == 0x8c) return {mov_from_segment, false};
    if (opcode == 0x8e) return {mov_to_segment, ((modrm >> 3) & 7) == SS};
    return {};
  }
  const bool memory = modrm < 0xc0;
  switch (opcode) {
    case 0x02:
      return {lar, false};
    case 0x03:
      return {lsl, false};
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
