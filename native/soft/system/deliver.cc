// Interrupts and exceptions: through the IDT in long mode (Intel SDM vol. 3, 7.14; AMD APM vol. 2,
// 8.9) here, in the other modes in deliver_legacy.cc; and the rules that turn two faults into a
// double fault. Everything is checked and the frame is written before the first register changes: a
// fault on the way leaves the state as it was.
#include "soft/system/event.h"

namespace colo::soft {

using namespace sys;

namespace {

struct Gate {
  u64 target = 0;
  u16 selector = 0;
  u8 ist = 0;
  bool masks_interrupts = false;
};

bool read_gate(Cpu& c, const Event& e, Gate& g) {
  const u32 ext = !e.software;
  const u32 error = e.vector * 8u | 2 | ext;
  if (e.vector * 16u + 15 > c.idt.limit) return fault(c, GP, error);
  u64 low, high;
  if (!c.load_sys(c.idt.base + e.vector * 16u, 8, low) ||
      !c.load_sys(c.idt.base + e.vector * 16u + 8, 8, high))
    return false;
  const u8 kind = (low >> 40) & 31;  // S bit included: must be 0
  if (kind != type::INTERRUPT_GATE && kind != type::TRAP_GATE) return fault(c, GP, error);
  if (e.software && ((low >> 45) & 3) < c.cpl) return fault(c, GP, error);
  if (!((low >> 47) & 1)) return fault(c, NP, error);
  g.target = (low & 0xffff) | ((low >> 32) & 0xffff0000) | high << 32;
  g.selector = (low >> 16) & 0xffff;
  g.ist = (low >> 32) & 7;
  g.masks_interrupts = kind == type::INTERRUPT_GATE;
  return true;
}

/// The handler's code segment: present 64-bit code, not less privileged than now.
bool read_handler_segment(Cpu& c, const Gate& g, u32 ext, Descriptor& d) {
  if (null_selector(g.selector)) return fault(c, GP, ext);
  const u32 error = selector_error(g.selector, ext);
  if (!fetch_descriptor(c, g.selector, d, GP, ext)) return false;
  if (!is_code(d.seg) || d.seg.dpl > c.cpl) return fault(c, GP, error);
  if (!d.seg.present) return fault(c, NP, error);
  if (!d.seg.l || d.seg.db) return fault(c, GP, error);
  if (!canonical(g.target)) return fault(c, GP, ext);
  return mark_accessed(c, d);
}

bool push_frame(Cpu& c, const Event& e, u64& rsp, u8 cpl) {
  const u64 frame[] = {e.error,       e.return_rip, c.seg[CS].selector,
                       e.flags_image, c.r[RSP],     c.seg[SS].selector};
  const size_t skip = e.has_error ? 0 : 1;
  const size_t bytes = sizeof frame - skip * 8;
  const u64 to = (rsp & ~15ull) - bytes;
  if (!canonical(to)) return fault(c, SS_, !e.software);
  for (size_t i = sizeof frame / 8; i-- > skip;) {
    const u64 at = to + (i - skip) * 8;
    if (!(cpl == 3 ? c.store(at, 8, frame[i]) : c.store_inner(at, 8, frame[i]))) return false;
  }
  rsp = to;
  return true;
}

bool enter_long(Cpu& c, const Event& e) {
  const u32 ext = !e.software;
  Gate g;
  Descriptor d;
  if (!read_gate(c, e, g) || !read_handler_segment(c, g, ext, d)) return false;
  const u8 cpl = is_conforming(d.seg) ? c.cpl : d.seg.dpl;
  const bool inner = cpl < c.cpl;
  u64 rsp = c.r[RSP];
  if (g.ist && !long_tss_stack(c, 0x24 + (g.ist - 1) * 8u, ext, rsp)) return false;
  if (!g.ist && inner && !long_tss_stack(c, 4 + cpl * 8u, ext, rsp)) return false;
  if (!push_frame(c, e, rsp, cpl)) return false;

  if (inner) c.seg[SS] = null_segment(cpl, cpl);
  c.r[RSP] = rsp;
  c.rip = g.target;
  d.seg.selector = (g.selector & 0xfffc) | cpl;
  c.rflags &= ~handler_clears(g.masks_interrupts);
  enter_code(c, d.seg, cpl);
  return true;
}

/// One attempt. False: nothing has changed, and pending holds the fault met on the way; if it does
/// not, the guest is stopped.
bool enter_handler(Cpu& c, const Event& e) {
  const bool entered = real_mode(c)    ? enter_real(c, e)
                       : c.long_mode() ? enter_long(c, e)
                                       : enter_protected(c, e);
  if (!entered) return false;
  c.shadow = c.shadow_ss = false;
  c.halted = false;
  return true;
}

enum class Class : u8 { Benign, Contributory, PageFault, DoubleFault };  // SDM vol. 3, table 7-4
Class class_of(u8 vector) {
  switch (vector) {
    case DE:
    case TS:
    case NP:
    case SS_:
    case GP:
      return Class::Contributory;
    case PF:
      return Class::PageFault;
    case soft::DF:
      return Class::DoubleFault;
    default:
      return Class::Benign;
  }
}

/// SDM vol. 3, table 7-5: a page fault while a contributory fault is delivered is simply delivered
/// next; the other way round is a double fault.
bool doubles(u8 first, u8 second) {
  const Class a = class_of(first), b = class_of(second);
  if (a == Class::Contributory) return b == Class::Contributory;
  return a == Class::PageFault && (b == Class::Contributory || b == Class::PageFault);
}

/// Fault-class exceptions push RF, so that an instruction breakpoint on the faulting instruction
/// would not hit again (SDM vol. 3, 18.3.1.1).
u64 pushed_flags(const Cpu& c, u8 vector) {
  const bool trap = vector == DB || vector == BP || vector == OF || vector == NMI || vector >= 32;
  return c.flags() | (trap ? 0 : flag::RF);
}

Event event_of(const Cpu& c, const Exception& x) {
  Event e;
  e.vector = x.vector;
  e.has_error = x.has_error;
  e.error = x.error;
  e.return_rip = c.rip;
  e.flags_image = pushed_flags(c, x.vector);
  return e;
}

bool shut_down(Cpu& c) {
  c.pending = {};
  c.exit_reason = vcpu::RunResult::Shutdown;
  return false;
}

}  // namespace

bool deliver_exception(Cpu& c) {
  Exception now = c.pending;
  for (;;) {
    c.pending.set = false;
    if (now.vector == PF) c.cr2 = now.cr2;
    if (enter_handler(c, event_of(c, now))) return true;
    if (!c.pending.set) return false;
    if (class_of(now.vector) == Class::DoubleFault) return shut_down(c);
    if (!doubles(now.vector, c.pending.vector)) {
      now = c.pending;
      continue;
    }
    if (c.pending.vector == PF) c.cr2 = c.pending.cr2;
    now = {true, true, soft::DF, 0, 0};
  }
}

bool deliver_interrupt(Cpu& c, u8 vector) {
  Event e;
  e.vector = vector;
  e.return_rip = c.rip;
  e.flags_image = c.flags();
  return enter_handler(c, e) || (c.pending.set && deliver_exception(c));
}

Step software_interrupt(Cpu& c, const Op& o, u8 vector) {
  Event e;
  e.vector = vector;
  e.software = true;
  e.return_rip = next_rip(c, o);
  e.flags_image = c.flags();
  c.no_step = true;
  if (enter_handler(c, e)) return Step::Jump;
  if (c.pending.set) return Step::Fault;
  c.rip = insn_rip(c, o);
  return Step::Exit;
}

Step sys::refuse(Cpu& c, const char* what) {
  c.error = std::string(what) + ": the software CPU has no hardware tasks and no virtual-8086 mode";
  c.exit_reason = vcpu::RunResult::InternalError;
  return Step::Exit;
}

}  // namespace colo::soft
