// Interrupts and exceptions through the IDT in long mode (Intel SDM vol. 3, 7.14; AMD APM vol.
// 2, 8.9), and the rules that turn two faults into a double fault. Everything is checked and the
// frame is written before the first register changes: a fault on the way leaves the state as it
// was.
#include "soft/system/system.h"

namespace colo::soft {

using namespace sys;

namespace {

struct Event {
  u8 vector = 0;
  bool has_error = false;
  u32 error = 0;
  bool software = false;  // INT n, INT3: DPL is checked, and nested errors are not marked external
  u64 return_rip = 0;
  u64 flags_image = 0;
};

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

/// RSPn or ISTn of the 64-bit TSS (SDM vol. 3, figure 8-11).
bool read_tss_stack(Cpu& c, u32 offset, u32 ext, u64& rsp) {
  const u32 error = selector_error(c.tr.selector, ext);
  if (c.tr.unusable || offset + 7 > c.tr.limit) return fault(c, TS, error);
  if (!c.load_sys(c.tr.base + offset, 8, rsp)) return false;
  return canonical(rsp) || fault(c, SS_, ext);
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
    if (!(cpl == 3 ? c.store(at, 8, frame[i]) : c.store_sys(at, 8, frame[i]))) return false;
  }
  rsp = to;
  return true;
}

/// One attempt. False: pending holds the fault met on the way, and nothing else has changed.
bool enter_handler(Cpu& c, const Event& e) {
  const u32 ext = !e.software;
  Gate g;
  Descriptor d;
  if (!read_gate(c, e, g) || !read_handler_segment(c, g, ext, d)) return false;
  const u8 cpl = is_conforming(d.seg) ? c.cpl : d.seg.dpl;
  const bool inner = cpl < c.cpl;
  u64 rsp = c.r[RSP];
  if (g.ist && !read_tss_stack(c, 0x24 + (g.ist - 1) * 8u, ext, rsp)) return false;
  if (!g.ist && inner && !read_tss_stack(c, 4 + cpl * 8u, ext, rsp)) return false;
  if (!push_frame(c, e, rsp, cpl)) return false;

  if (inner) c.seg[SS] = null_segment(cpl, cpl);
  c.r[RSP] = rsp;
  c.rip = g.target;
  u64 cleared = flag::TF | flag::NT | flag::RF | flag::VM;
  if (g.masks_interrupts) cleared |= flag::IF;
  c.rflags &= ~cleared;  // none of them is a status bit
  d.seg.selector = (g.selector & 0xfffc) | cpl;
  enter_code(c, d.seg, cpl);
  c.shadow = false;
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

/// Only a state that was given to the CPU can lead here: no guest leaves long mode.
bool not_long_mode(Cpu& c) {
  c.error = "interrupt or exception outside long mode: the software CPU delivers in long mode only";
  c.exit_reason = vcpu::RunResult::InternalError;
  return false;
}

}  // namespace

bool deliver_exception(Cpu& c) {
  if (!c.long_mode()) return not_long_mode(c);
  Exception now = c.pending;
  for (;;) {
    c.pending.set = false;
    if (now.vector == PF) c.cr2 = now.cr2;
    if (enter_handler(c, event_of(c, now))) return true;
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
  if (!c.long_mode()) return not_long_mode(c);
  Event e;
  e.vector = vector;
  e.return_rip = c.rip;
  e.flags_image = c.flags();
  return enter_handler(c, e) || deliver_exception(c);
}

Step software_interrupt(Cpu& c, u8 vector, u64 next_rip) {
  if (!c.long_mode()) return not_long_mode(c), Step::Exit;
  Event e;
  e.vector = vector;
  e.software = true;
  e.return_rip = next_rip;
  e.flags_image = c.flags();
  return enter_handler(c, e) ? Step::Jump : Step::Fault;
}

}  // namespace colo::soft
