// Far transfers: IRET, far RET, JMP and CALL, INT (Intel SDM vol. 2 under each name).
//
// There is no compatibility mode: code segments that are not 64-bit are refused with #GP(selector),
// as one of a reserved kind would be. A guest's 32-bit program then dies in its guest, at the
// latest when its kernel's IRET meets the segment.
#include "soft/system/system.h"

namespace colo::soft::sys {

namespace {

/// Where a return goes. selectors and flags are zero-extended from the operand size.
struct Frame {
  u64 rip = 0, cs = 0, flags = 0, rsp = 0, ss = 0;
};

/// The end of every check of a code segment: it is present, it holds 64-bit code, and the target is
/// an address.
bool code64_target(Cpu& c, Descriptor& d, u32 error, u64 rip) {
  if (!d.seg.present) return fault(c, NP, error);
  if (!d.seg.l || d.seg.db) return fault(c, GP, error);
  if (!canonical(rip)) return fault(c, GP, 0);
  return mark_accessed(c, d);
}

/// Checks the code segment of a return, RPL = the CPL to return to. False: pending set.
bool return_code(Cpu& c, u16 selector, u64 rip, Descriptor& d) {
  if (null_selector(selector)) return fault(c, GP, 0);
  const u32 error = selector_error(selector);
  const u8 rpl = selector & 3;
  if (!fetch_descriptor(c, selector, d)) return false;
  if (!is_code(d.seg) || rpl < c.cpl) return fault(c, GP, error);
  if (is_conforming(d.seg) ? d.seg.dpl > rpl : d.seg.dpl != rpl) return fault(c, GP, error);
  return code64_target(c, d, error, rip);
}

/// Checks the stack segment of a return to `cpl`. NULL is legal below ring 3.
bool return_stack(Cpu& c, u16 selector, u8 cpl, kvm_segment& out) {
  if (null_selector(selector)) {
    if (cpl == 3 || (selector & 3) != cpl) return fault(c, GP, 0);
    out = null_segment(selector, cpl);
    return true;
  }
  const u32 error = selector_error(selector);
  Descriptor d;
  if (!fetch_descriptor(c, selector, d)) return false;
  if ((selector & 3) != cpl || !is_writable_data(d.seg) || d.seg.dpl != cpl)
    return fault(c, GP, error);
  if (!d.seg.present) return fault(c, SS_, error);
  if (!mark_accessed(c, d)) return false;
  out = d.seg;
  return true;
}

/// Data segments that the outer ring may not use become NULL.
void drop_inner_segments(Cpu& c, u8 cpl) {
  for (SegReg which : {ES, DS, FS, GS}) {
    const kvm_segment& s = c.seg[which];
    if (!s.unusable && s.dpl < cpl && !is_conforming(s)) c.seg[which] = null_segment(0, 0);
  }
}

/// Commits a checked return.
void go_outward(Cpu& c, const kvm_segment& cs, const kvm_segment& ss, const Frame& f, u8 cpl) {
  if (cpl > c.cpl) drop_inner_segments(c, cpl);
  c.seg[SS] = ss;
  c.r[RSP] = f.rsp;
  c.rip = f.rip;
  enter_code(c, cs, cpl);
}

/// The flags that IRET takes from the frame at this privilege. RF is dropped: no instruction
/// breakpoint is there to be suppressed.
u64 returned_flags(const Cpu& c, u64 image, u8 size) {
  u64 mask = flag::STATUS | flag::TF | flag::DF | flag::NT | flag::AC | flag::ID;
  if (c.cpl == 0) mask |= flag::IOPL;
  if (io_privileged(c)) mask |= flag::IF;
  if (size == 2) mask &= 0xffff;
  return ((c.flags() & ~mask) | (image & mask)) & ~flag::RF;
}

bool pop_words(Cpu& c, u8 size, u64* out, size_t n) {
  u8 raw[40];
  if (!c.load_bytes(c.r[RSP], raw, n * size)) return false;
  for (size_t i = 0; i < n; i++) {
    out[i] = 0;
    memcpy(&out[i], raw + i * size, size);
  }
  return true;
}

/// CF: IRETQ, IRETD, IRET. In 64-bit mode SS:RSP is popped in any case.
Step iret(Cpu& c, const Op& o) {
  if (c.rflags & flag::NT) return c.raise(GP, 0);
  const u8 size = far_size(o);
  u64 w[5];
  if (!pop_words(c, size, w, 5)) return Step::Fault;
  const Frame f{w[0], w[1], w[2], w[3], w[4]};
  const u8 cpl = f.cs & 3;
  Descriptor cs;
  kvm_segment ss;
  if (!return_code(c, f.cs, f.rip, cs) || !return_stack(c, f.ss, cpl, ss)) return Step::Fault;
  c.set_flags(returned_flags(c, f.flags, size));  // before CPL changes: its rights decide
  go_outward(c, cs.seg, ss, f, cpl);
  return Step::Jump;
}

/// CB, CA iw: far RET. To an outer ring it pops SS:RSP too, behind the callee's arguments.
template <bool with_arguments>
Step far_return(Cpu& c, const Op& o) {
  const u8 size = far_size(o);
  const u64 arguments = with_arguments ? static_cast<u16>(o.imm) : 0;
  u64 w[2], s[2];
  if (!pop_words(c, size, w, 2)) return Step::Fault;
  Frame f{w[0], w[1], 0, c.r[RSP] + 2 * size + arguments, 0};
  const u8 cpl = f.cs & 3;
  Descriptor cs;
  if (!return_code(c, f.cs, f.rip, cs)) return Step::Fault;
  kvm_segment ss = c.seg[SS];
  if (cpl > c.cpl) {
    const u64 rsp = c.r[RSP];
    c.r[RSP] = f.rsp;  // pop_words reads there; undone if it faults
    const bool ok = pop_words(c, size, s, 2);
    c.r[RSP] = rsp;
    if (!ok || !return_stack(c, s[1], cpl, ss)) return Step::Fault;
    f.rsp = s[0] + arguments;
  }
  go_outward(c, cs.seg, ss, f, cpl);
  return Step::Jump;
}

/// Checks the target of a far JMP or CALL. Call gates, task gates and TSSs are refused with #GP: no
/// 64-bit system is known to use them.
bool far_target(Cpu& c, u16 selector, u64 rip, Descriptor& d) {
  if (null_selector(selector)) return fault(c, GP, 0);
  const u32 error = selector_error(selector);
  if (!fetch_descriptor(c, selector, d)) return false;
  if (!is_code(d.seg)) return fault(c, GP, error);
  if (is_conforming(d.seg) ? d.seg.dpl > c.cpl : (selector & 3) > c.cpl || d.seg.dpl != c.cpl)
    return fault(c, GP, error);
  d.seg.selector = (selector & 0xfffc) | c.cpl;
  return code64_target(c, d, error, rip);
}

/// FF /3 CALL m16:n, FF /5 JMP m16:n. With REX.W the offset has 64 bits, as on Intel; AMD reads 32,
/// but no AMD program says REX.W here.
template <bool call>
Step far_jump(Cpu& c, const Op& o) {
  const u8 size = far_size(o);
  const u64 at = ea(c, o);
  u64 rip, selector;
  Descriptor d;
  if (!c.load(at, size, rip) || !c.load(at + size, 2, selector) || !far_target(c, selector, rip, d))
    return Step::Fault;
  if (call) {
    const u64 to = c.r[RSP] - 2 * size;
    u8 frame[16] = {};
    const u64 back = next_rip(c, o);
    memcpy(frame, &back, size);
    memcpy(frame + size, &c.seg[CS].selector, 2);
    if (!c.store_bytes(to, frame, 2 * size)) return Step::Fault;
    c.r[RSP] = to;
  }
  c.rip = rip;
  enter_code(c, d.seg, c.cpl);
  return Step::Jump;
}

/// CD ib: INT n.
Step int_n(Cpu& c, const Op& o) {
  return software_interrupt(c, static_cast<u8>(o.imm), next_rip(c, o));
}
/// CC: INT3.
Step int3(Cpu& c, const Op& o) { return software_interrupt(c, BP, next_rip(c, o)); }

/// F1: INT1. A trap from hardware's point of view: no DPL check, and the return address is behind
/// it.
Step int1(Cpu& c, const Op& o) {
  c.rip = next_rip(c, o);
  c.raise(DB);
  return deliver_exception(c) ? Step::Jump : Step::Exit;
}

}  // namespace

SlowInsn far_insn(u8 opcode, u8 modrm) {
  switch (opcode) {
    case 0xca:
      return {far_return<true>, true};
    case 0xcb:
      return {far_return<false>, true};
    case 0xcc:
      return {int3, true};
    case 0xcd:
      return {int_n, true};
    case 0xcf:
      return {iret, true};
    case 0xf1:
      return {int1, true};
    case 0xff:
      break;
    default:
      return {};
  }
  if (modrm >= 0xc0) return {};
  if (((modrm >> 3) & 7) == 3) return {far_jump<true>, true};
  if (((modrm >> 3) & 7) == 5) return {far_jump<false>, true};
  return {};
}

}  // namespace colo::soft::sys
