// Instructions about descriptors: LDTR and TR, LAR, LSL, VERR, VERW, ARPL (Intel SDM vol. 2).
#include "soft/system/system.h"

namespace colo::soft::sys {

namespace {

/// 0F 00 /0 /1: SLDT, STR.
Step store_selector(Cpu& c, const Op& o, u16 selector) {
  if (real_mode(c)) return c.raise(UD);
  return hidden_from_user(c) ? c.raise(GP, 0) : done(rm16_write(c, o, selector));
}
Step store_ldt(Cpu& c, const Op& o) { return store_selector(c, o, c.ldt.selector); }
Step store_tr(Cpu& c, const Op& o) { return store_selector(c, o, c.tr.selector); }

/// Reads a system descriptor of the GDT. In long mode it has 16 bytes: the base has 64 bits, and
/// the type field of the upper half must be zero.
bool fetch_system(Cpu& c, u16 selector, Descriptor& d) {
  if (selector & 4) return fault(c, GP, selector_error(selector));
  if (!c.long_mode()) return fetch_descriptor(c, selector, d);
  if ((selector | 7u) + 8 > c.gdt.limit) return fault(c, GP, selector_error(selector));
  u64 high;
  if (!fetch_descriptor(c, selector, d) || !c.load_sys(d.address + 8, 8, high)) return false;
  d.seg.base |= high << 32;
  if ((high >> 40) & 31 || !canonical(d.seg.base)) return fault(c, GP, selector_error(selector));
  return true;
}

/// 0F 00 /2: LLDT.
Step load_ldt(Cpu& c, const Op& o) {
  if (real_mode(c)) return c.raise(UD);
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
  if (real_mode(c)) return c.raise(UD);
  if (c.cpl) return c.raise(GP, 0);
  u16 selector;
  if (!rm16_read(c, o, selector)) return Step::Fault;
  if (null_selector(selector)) return c.raise(GP, 0);
  Descriptor d;
  if (!fetch_system(c, selector, d)) return Step::Fault;
  const bool small = !c.long_mode() && d.seg.type == type::TSS16_AVAILABLE;
  if (d.seg.s || (d.seg.type != type::TSS_AVAILABLE && !small))
    return c.raise(GP, selector_error(selector));
  if (!d.seg.present) return c.raise(NP, selector_error(selector));
  d.seg.type |= 2;  // busy
  if (!c.store_sys(d.address + 5, 1, ((d.raw >> 40) & 0xff) | 2)) return Step::Fault;
  c.tr = d.seg;
  return leave(c, o);
}

/// The common part of LAR, LSL, VERR, VERW: none of them faults on a bad selector. Found = visible
/// at this CPL and RPL.
enum class Look : u8 { Hidden, Found, Fault };
Look look(Cpu& c, const Op& o, Descriptor& d) {
  u16 selector;
  if (real_mode(c)) return c.raise(UD), Look::Fault;
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

/// System descriptor types that LAR and LSL accept; the 16-bit ones and task gates exist outside
/// long mode only.
bool lsl_type(const Cpu& c, u8 t) {
  const bool small = t == type::TSS16_AVAILABLE || t == type::TSS16_BUSY;
  return t == type::LDT || t == type::TSS_AVAILABLE || t == type::TSS_BUSY ||
         (small && !c.long_mode());
}
bool lar_type(const Cpu& c, u8 t) {
  const bool small = t == type::CALL_GATE16 || t == type::TASK_GATE;
  return lsl_type(c, t) || t == type::CALL_GATE || (small && !c.long_mode());
}

/// 0F 02: LAR.
Step lar(Cpu& c, const Op& o) {
  Descriptor d;
  const Look l = look(c, o, d);
  if (l == Look::Fault) return Step::Fault;
  if (l == Look::Hidden || (!d.seg.s && !lar_type(c, d.seg.type))) return set_zf(c, false);
  reg_write(c, o.s, op_size(o), (d.raw >> 32) & 0x00f0ff00);
  return set_zf(c, true);
}

/// 0F 03: LSL. Linux keeps the CPU number in a limit.
Step lsl(Cpu& c, const Op& o) {
  Descriptor d;
  const Look l = look(c, o, d);
  if (l == Look::Fault) return Step::Fault;
  if (l == Look::Hidden || (!d.seg.s && !lsl_type(c, d.seg.type))) return set_zf(c, false);
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

/// 63: ARPL. The RPL of the destination becomes at least that of the source.
Step arpl(Cpu& c, const Op& o) {
  u16 to;
  if (real_mode(c)) return c.raise(UD);
  if (!rm16_read(c, o, to)) return Step::Fault;
  const u16 from = static_cast<u16>(reg_read(c, o.s, 2));
  const bool raised = (to & 3) < (from & 3);
  const u64 adjusted = (to & 0xfffc) | (from & 3);
  if (raised && is_register(o)) reg_write(c, o.d, 2, adjusted);
  if (raised && !is_register(o) && !c.store(ea(c, o), 2, adjusted)) return Step::Fault;
  return set_zf(c, raised);
}

}  // namespace

/// 0F 02, 0F 03 and 63.
SlowInsn system_segment_insn(u8 opcode) {
  switch (opcode) {
    case 0x02:
      return {lar, false};
    case 0x03:
      return {lsl, false};
    default:
      return {arpl, true};
  }
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

}  // namespace colo::soft::sys
