// Call gates (Intel SDM vol. 3, 5.8.3 to 5.8.5), and the stacks of inner rings in the TSS (8.2.1,
// 8.7).
#include "soft/system/frame.h"

namespace colo::soft::sys {

bool legacy_tss_stack(Cpu& c, u8 cpl, u32 ext, kvm_segment& ss, u64& sp) {
  const bool small = !(c.tr.type & 8);
  const u32 offset = small ? 2 + cpl * 4u : 4 + cpl * 8u;
  const u8 size = small ? 2 : 4;
  if (c.tr.unusable || offset + size + 1 > c.tr.limit)
    return fault(c, TS, selector_error(c.tr.selector, ext));
  u64 selector;
  if (!c.load_sys(c.tr.base + offset, size, sp) ||
      !c.load_sys(c.tr.base + offset + size, 2, selector))
    return false;
  if (null_selector(static_cast<u16>(selector))) return fault(c, TS, ext);
  return check_stack_segment(c, static_cast<u16>(selector), cpl, TS, ext, ss);
}

bool long_tss_stack(Cpu& c, u32 offset, u32 ext, u64& rsp) {
  const u32 error = selector_error(c.tr.selector, ext);
  if (c.tr.unusable || offset + 7 > c.tr.limit) return fault(c, TS, error);
  if (!c.load_sys(c.tr.base + offset, 8, rsp)) return false;
  return canonical(rsp) || fault(c, SS_, ext);
}

namespace {

struct Gate {
  u64 target = 0;
  u16 selector = 0;
  u8 parameters = 0;
  u8 size = 4;  // of what it pushes
};

/// In long mode a call gate has 16 bytes, and leads to 64-bit code.
bool read_gate(Cpu& c, u16 selector, const Descriptor& d, Gate& g) {
  g.selector = (d.raw >> 16) & 0xffff;
  g.target = d.raw & 0xffff;
  g.parameters = (d.raw >> 32) & 31;
  g.size = d.seg.type == type::CALL_GATE ? 4 : 2;
  if (g.size == 4) g.target |= d.raw >> 48 << 16;
  if (!c.long_mode()) return true;
  const u64 limit = selector & 4 ? c.ldt.limit : c.gdt.limit;
  u64 high;
  if ((selector | 7u) + 8 > limit) return fault(c, GP, selector_error(selector));
  if (!c.load_sys(d.address + 8, 8, high)) return false;
  if ((high >> 40) & 31) return fault(c, GP, selector_error(selector));
  g.target |= high << 32;
  g.parameters = 0;
  g.size = 8;
  return true;
}

/// The code segment that a gate leads to: not less privileged than now.
bool gate_code(Cpu& c, const Gate& g, bool call, Descriptor& d) {
  if (null_selector(g.selector)) return fault(c, GP, 0);
  const u32 error = selector_error(g.selector);
  if (!fetch_descriptor(c, g.selector, d)) return false;
  if (!is_code(d.seg) || d.seg.dpl > c.cpl) return fault(c, GP, error);
  if (!call && !is_conforming(d.seg) && d.seg.dpl != c.cpl) return fault(c, GP, error);
  if (c.long_mode() && (!d.seg.l || d.seg.db)) return fault(c, GP, error);
  return code_target(c, d, error, g.target);
}

/// The caller's arguments, read from its stack: the last pushed first.
bool read_parameters(Cpu& c, const Gate& g, u64* out) {
  for (u64 i = 0; i < g.parameters; i++)
    if (!c.stack_load(c.r[RSP] + i * g.size, g.size, out[i])) return false;
  return true;
}

/// A call to a more privileged ring changes stacks.
bool push_inner(Cpu& c, const Gate& g, u8 cpl, u64 back, StackFrame& frame) {
  u64 parameters[31];
  if (c.long_mode()) {
    if (!long_tss_stack(c, 4 + cpl * 8u, 0, frame.sp)) return false;
    frame.ss = null_segment(cpl, cpl);
  } else if (!legacy_tss_stack(c, cpl, 0, frame.ss, frame.sp)) {
    return false;
  }
  frame.error = selector_error(frame.ss.selector);
  if (!read_parameters(c, g, parameters)) return false;
  if (!frame.push({c.seg[SS].selector, c.r[RSP]})) return false;
  for (u64 i = g.parameters; i-- > 0;)
    if (!frame.push(parameters[i])) return false;
  return frame.push({c.seg[CS].selector, back});
}

}  // namespace

Step through_gate(Cpu& c, const Op& o, u16 selector, const Descriptor& gate, bool call) {
  const u32 error = selector_error(selector);
  if (gate.seg.dpl < c.cpl || gate.seg.dpl < (selector & 3)) return c.raise(GP, error);
  if (!gate.seg.present) return c.raise(NP, error);
  Gate g;
  Descriptor d;
  if (!read_gate(c, selector, gate, g) || !gate_code(c, g, call, d)) return Step::Fault;
  const bool inner = call && !is_conforming(d.seg) && d.seg.dpl < c.cpl;
  const u8 cpl = inner ? d.seg.dpl : c.cpl;
  d.seg.selector = (g.selector & 0xfffc) | cpl;
  if (call) {
    StackFrame frame{c, c.seg[SS], c.r[RSP], g.size, c.long_mode(), cpl};
    const u64 back = next_rip(c, o);
    if (inner ? !push_inner(c, g, cpl, back, frame) : !frame.push({c.seg[CS].selector, back}))
      return Step::Fault;
    frame.commit();
  }
  c.rip = g.target;
  enter_code(c, d.seg, cpl);
  return Step::Jump;
}

}  // namespace colo::soft::sys
