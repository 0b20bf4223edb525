// Interrupts and exceptions outside long mode: real mode's vector table (Intel SDM vol. 3, 21.1.4)
// and the 8-byte gates of protected mode (7.12). The rules of two faults are deliver.cc's.
#include "soft/system/event.h"

namespace colo::soft::sys {

namespace {

struct Gate {
  u64 target = 0;
  u16 selector = 0;
  u8 size = 4;  // of a word of the frame
  bool task = false;
  bool masks_interrupts = false;
};

bool read_gate(Cpu& c, const Event& e, Gate& g) {
  const u32 error = e.vector * 8u | 2 | u32{!e.software};
  u64 raw;
  if (e.vector * 8u + 7 > c.idt.limit) return fault(c, GP, error);
  if (!c.load_sys(c.idt.base + e.vector * 8u, 8, raw)) return false;
  const u8 kind = (raw >> 40) & 31;  // S bit included: must be 0
  g.task = kind == type::TASK_GATE;
  const bool small = kind == type::INTERRUPT_GATE16 || kind == type::TRAP_GATE16;
  if (!g.task && !small && kind != type::INTERRUPT_GATE && kind != type::TRAP_GATE)
    return fault(c, GP, error);
  if (e.software && ((raw >> 45) & 3) < c.cpl) return fault(c, GP, error);
  if (!((raw >> 47) & 1)) return fault(c, NP, error);
  g.size = small ? 2 : 4;
  g.target = (raw & 0xffff) | (small ? 0 : raw >> 48 << 16);
  g.selector = (raw >> 16) & 0xffff;
  g.masks_interrupts = kind == type::INTERRUPT_GATE || kind == type::INTERRUPT_GATE16;
  return true;
}

bool read_code(Cpu& c, const Gate& g, u32 ext, Descriptor& d) {
  if (null_selector(g.selector)) return fault(c, GP, ext);
  const u32 error = selector_error(g.selector, ext);
  if (!fetch_descriptor(c, g.selector, d, GP, ext)) return false;
  if (!is_code(d.seg) || d.seg.dpl > c.cpl) return fault(c, GP, error);
  return code_target(c, d, error, g.target, ext);
}

}  // namespace

bool enter_real(Cpu& c, const Event& e) {
  u64 pointer;
  if (e.vector * 4u + 3 > c.idt.limit) return fault(c, GP, 0);
  if (!c.load_sys(c.idt.base + e.vector * 4u, 4, pointer)) return false;
  StackFrame frame{c, c.seg[SS], c.r[RSP], 2, false, 0};
  const u16 offset = static_cast<u16>(pointer);
  if (!frame.push({e.flags_image, c.seg[CS].selector, e.return_rip})) return false;
  if (!c.code_offset(offset)) return false;
  frame.commit();
  kvm_segment cs = c.seg[CS];
  load_real(cs, static_cast<u16>(pointer >> 16));
  c.rip = offset;
  const bool alignment = c.rflags & flag::AC;
  c.rflags &= ~(handler_clears(true) | flag::AC);
  enter_code(c, cs, 0);
  if (alignment) c.alignment_flag_changed();
  return true;
}

bool enter_protected(Cpu& c, const Event& e) {
  const u32 ext = !e.software;
  Gate g;
  Descriptor d;
  if (!read_gate(c, e, g)) return false;
  if (g.task) return refuse(c, "task gate in the IDT"), false;
  if (!read_code(c, g, ext, d)) return false;
  const bool inner = !is_conforming(d.seg) && d.seg.dpl < c.cpl;
  const u8 cpl = inner ? d.seg.dpl : c.cpl;
  StackFrame frame{c, c.seg[SS], c.r[RSP], g.size, false, cpl, ext};
  if (inner) {
    if (!legacy_tss_stack(c, cpl, ext, frame.ss, frame.sp)) return false;
    frame.error = selector_error(frame.ss.selector, ext);
    if (!frame.push({c.seg[SS].selector, c.r[RSP]})) return false;
  }
  if (!frame.push({e.flags_image, c.seg[CS].selector, e.return_rip})) return false;
  if (e.has_error && !frame.push(e.error)) return false;
  frame.commit();
  c.rip = g.target;
  d.seg.selector = (g.selector & 0xfffc) | cpl;
  c.rflags &= ~handler_clears(g.masks_interrupts);
  enter_code(c, d.seg, cpl);
  return true;
}

}  // namespace colo::soft::sys
