// Far transfers: IRET, far RET, JMP and CALL, INT (Intel SDM vol. 2 under each name), in every
// mode. Hardware task switches and virtual-8086 mode are not offered: what would begin one stops
// the guest by name.
#include "soft/system/frame.h"

namespace colo::soft::sys {

bool code_target(Cpu& c, Descriptor& d, u32 error, u64 rip, u32 ext) {
  if (!d.seg.present) return fault(c, NP, error);
  trim_code(c, d.seg);
  if (d.seg.l && d.seg.db) return fault(c, GP, error);
  if (d.seg.l ? !canonical(rip) : rip > d.seg.limit) return fault(c, GP, ext);
  return mark_accessed(c, d);
}

namespace {

/// Where a return goes. selectors and flags are zero-extended from the operand size.
struct Frame {
  u64 rip = 0, cs = 0, flags = 0, rsp = 0, ss = 0;
};

Step refuse_here(Cpu& c, const Op& o, const char* what) {
  c.rip = insn_rip(c, o);
  return refuse(c, what);
}

/// Checks the code segment of a return, RPL = the CPL to return to. False: pending set.
bool return_code(Cpu& c, u16 selector, u64 rip, Descriptor& d) {
  if (null_selector(selector)) return fault(c, GP, 0);
  const u32 error = selector_error(selector);
  const u8 rpl = selector & 3;
  if (!fetch_descriptor(c, selector, d)) return false;
  if (!is_code(d.seg) || rpl < c.cpl) return fault(c, GP, error);
  if (is_conforming(d.seg) ? d.seg.dpl > rpl : d.seg.dpl != rpl) return fault(c, GP, error);
  return code_target(c, d, error, rip);
}

/// Checks the stack segment of a return to `cpl` and `cs`. NULL is legal below ring 3 of 64-bit
/// code.
bool return_stack(Cpu& c, u16 selector, u8 cpl, const kvm_segment& cs, kvm_segment& out) {
  if (!null_selector(selector)) return check_stack_segment(c, selector, cpl, GP, 0, out);
  if (!cs.l || cpl == 3 || (selector & 3) != cpl) return fault(c, GP, 0);
  out = null_segment(selector, cpl);
  return true;
}

/// Data segments that the outer ring may not use become NULL. Their bases stay: 64-bit code has FS
/// and GS with any selector.
void drop_inner_segments(Cpu& c, u8 cpl) {
  for (SegReg which : {ES, DS, FS, GS}) {
    const kvm_segment& s = c.seg[which];
    if (s.unusable || s.dpl >= cpl || is_conforming(s)) continue;
    const u64 base = s.base;
    c.seg[which] = null_segment(0, 0);
    c.seg[which].base = base;
  }
}

/// Commits a checked return: the stack pointer has the width of the stack returned to.
void go_outward(Cpu& c, const kvm_segment& cs, const kvm_segment& ss, const Frame& f, u8 cpl) {
  if (cpl > c.cpl) drop_inner_segments(c, cpl);
  c.seg[SS] = ss;
  c.rip = f.rip;
  enter_code(c, cs, cpl);
  c.set_sp(f.rsp);
}

/// The flags that IRET takes from the frame at this privilege. RF matters only where an instruction
/// breakpoint is there to be suppressed.
u64 returned_flags(const Cpu& c, u64 image, u8 size) {
  u64 mask = flag::STATUS | flag::TF | flag::DF | flag::NT | flag::AC | flag::ID;
  if (c.cpl == 0) mask |= flag::IOPL;
  if (io_privileged(c)) mask |= flag::IF;
  if (c.breakpoints) mask |= flag::RF;
  if (size == 2) mask &= 0xffff;
  return (c.flags() & ~(mask | flag::RF)) | (image & mask);
}

/// n words of the stack, from `at` on.
bool read_words(Cpu& c, u64 at, u8 size, u64* out, size_t n) {
  if (!c.code64()) {
    for (size_t i = 0; i < n; i++)
      if (!c.stack_load(at + i * size, size, out[i])) return false;
    return true;
  }
  u8 raw[40];
  if (!c.load_bytes(at, raw, n * size)) return false;
  for (size_t i = 0; i < n; i++) {
    out[i] = 0;
    memcpy(&out[i], raw + i * size, size);
  }
  return true;
}

/// IRET in real mode: no checks but that of the limit, and all flags.
Step real_iret(Cpu& c, u8 size) {
  u64 w[3];
  if (!read_words(c, c.r[RSP], size, w, 3)) return Step::Fault;
  if (!c.code_offset(w[0])) return Step::Fault;
  c.set_sp(c.r[RSP] + 3u * size);
  c.set_flags(returned_flags(c, w[2], size));
  kvm_segment cs = c.seg[CS];
  load_real(cs, static_cast<u16>(w[1]));
  c.rip = w[0];
  enter_code(c, cs, 0);
  return Step::Jump;
}

/// CF: IRETQ, IRETD, IRET. In 64-bit code SS:RSP is popped in any case, else on the way outward.
Step iret(Cpu& c, const Op& o) {
  const u8 size = far_size(o);
  c.nmi_masked = false;  // also if it faults (SDM vol. 3, 7.7.1)
  if (real_mode(c)) return real_iret(c, size);
  if (c.rflags & flag::NT)
    return c.long_mode() ? c.raise(GP, 0) : refuse_here(c, o, "return from a task by IRET");
  u64 w[5] = {};
  const size_t words = c.code64() ? 5 : 3;
  if (!read_words(c, c.r[RSP], size, w, words)) return Step::Fault;
  if (w[2] & flag::VM && size == 4 && c.cpl == 0 && !c.long_mode())
    return refuse_here(c, o, "IRET to virtual-8086 mode");
  const u8 cpl = w[1] & 3;
  Descriptor cs;
  if (!return_code(c, static_cast<u16>(w[1]), w[0], cs)) return Step::Fault;
  kvm_segment ss = c.seg[SS];
  const bool outward = words == 5 || cpl > c.cpl;
  if (outward) {
    if (words == 3 && !read_words(c, c.r[RSP] + 3u * size, size, w + 3, 2)) return Step::Fault;
    if (!return_stack(c, static_cast<u16>(w[4]), cpl, cs.seg, ss)) return Step::Fault;
  }
  const Frame f{w[0], w[1], w[2], outward ? w[3] : c.r[RSP] + 3u * size, w[4]};
  c.set_flags(returned_flags(c, f.flags, size));  // before CPL changes: its rights decide
  go_outward(c, cs.seg, ss, f, cpl);
  return Step::Jump;
}

Step real_return(Cpu& c, u8 size, u64 arguments) {
  u64 w[2];
  if (!read_words(c, c.r[RSP], size, w, 2) || !c.code_offset(w[0])) return Step::Fault;
  c.set_sp(c.r[RSP] + 2u * size + arguments);
  kvm_segment cs = c.seg[CS];
  load_real(cs, static_cast<u16>(w[1]));
  c.rip = w[0];
  enter_code(c, cs, 0);
  return Step::Jump;
}

/// CB, CA iw: far RET. To an outer ring it pops SS:RSP too, behind the callee's arguments.
template <bool with_arguments>
Step far_return(Cpu& c, const Op& o) {
  const u8 size = far_size(o);
  const u64 arguments = with_arguments ? static_cast<u16>(o.imm) : 0;
  if (real_mode(c)) return real_return(c, size, arguments);
  u64 w[2], s[2];
  if (!read_words(c, c.r[RSP], size, w, 2)) return Step::Fault;
  Frame f{w[0], w[1], 0, c.r[RSP] + 2u * size + arguments, 0};
  const u8 cpl = f.cs & 3;
  Descriptor cs;
  if (!return_code(c, static_cast<u16>(f.cs), f.rip, cs)) return Step::Fault;
  kvm_segment ss = c.seg[SS];
  if (cpl > c.cpl) {
    if (!read_words(c, f.rsp, size, s, 2) ||
        !return_stack(c, static_cast<u16>(s[1]), cpl, cs.seg, ss))
      return Step::Fault;
    f.rsp = s[0] + arguments;
  }
  go_outward(c, cs.seg, ss, f, cpl);
  return Step::Jump;
}

/// Pushes the return address of a far CALL that changes no stack.
bool push_return(Cpu& c, const Op& o, u8 size) {
  StackFrame frame{c, c.seg[SS], c.r[RSP], size, c.code64(), c.cpl};
  if (!frame.push({c.seg[CS].selector, next_rip(c, o)})) return false;
  frame.commit();
  return true;
}

Step real_transfer(Cpu& c, const Op& o, u16 selector, u64 offset, u8 size, bool call) {
  if (!c.code_offset(offset) || (call && !push_return(c, o, size))) return Step::Fault;
  kvm_segment cs = c.seg[CS];
  load_real(cs, selector);
  c.rip = offset;
  enter_code(c, cs, 0);
  return Step::Jump;
}

Step to_code(Cpu& c, const Op& o, Descriptor& d, u64 offset, u8 size, bool call) {
  const u16 selector = d.seg.selector;
  const u32 error = selector_error(selector);
  if (is_conforming(d.seg) ? d.seg.dpl > c.cpl : (selector & 3) > c.cpl || d.seg.dpl != c.cpl)
    return c.raise(GP, error);
  d.seg.selector = (selector & 0xfffc) | c.cpl;
  if (!code_target(c, d, error, offset) || (call && !push_return(c, o, size))) return Step::Fault;
  c.rip = offset;
  enter_code(c, d.seg, c.cpl);
  return Step::Jump;
}

/// TSS and task gates: checked, then refused.
Step to_task(Cpu& c, const Op& o, const Descriptor& d) {
  const u16 selector = d.seg.selector;
  if (d.seg.dpl < c.cpl || d.seg.dpl < (selector & 3)) return c.raise(GP, selector_error(selector));
  if (!d.seg.present) return c.raise(NP, selector_error(selector));
  return refuse_here(c, o, "task switch by a far transfer");
}

/// Far JMP or CALL to selector:offset.
Step far_transfer(Cpu& c, const Op& o, u16 selector, u64 offset, bool call) {
  const u8 size = far_size(o);
  if (real_mode(c)) return real_transfer(c, o, selector, offset, size, call);
  if (null_selector(selector)) return c.raise(GP, 0);
  Descriptor d;
  if (!fetch_descriptor(c, selector, d)) return Step::Fault;
  if (is_code(d.seg)) return to_code(c, o, d, offset, size, call);
  if (d.seg.s) return c.raise(GP, selector_error(selector));
  const bool legacy = !c.long_mode();
  switch (d.seg.type) {
    case type::CALL_GATE:
      return through_gate(c, o, selector, d, call);
    case type::CALL_GATE16:
      if (legacy) return through_gate(c, o, selector, d, call);
      break;
    case type::TASK_GATE:
    case type::TSS_AVAILABLE:
    case type::TSS16_AVAILABLE:
      if (legacy) return to_task(c, o, d);
      break;
    default:
      break;
  }
  return c.raise(GP, selector_error(selector));
}

/// FF /3 CALL m16:n, FF /5 JMP m16:n. With REX.W the offset has 64 bits, as on Intel; AMD reads 32,
/// but no AMD program says REX.W here.
template <bool call>
Step far_indirect(Cpu& c, const Op& o) {
  const u8 size = far_size(o);
  const u64 at = ea(c, o);
  u64 offset, selector;
  if (!c.load(at, size, offset) || !c.load(at + size, 2, selector)) return Step::Fault;
  return far_transfer(c, o, static_cast<u16>(selector), offset, call);
}

/// 9A CALL, EA JMP ptr16:n, outside 64-bit code.
template <bool call>
Step far_direct(Cpu& c, const Op& o) {
  const u64 pointer = static_cast<u64>(o.imm);
  return far_transfer(c, o, static_cast<u16>(pointer >> 32), pointer & 0xffffffff, call);
}

/// CD ib: INT n.
Step int_n(Cpu& c, const Op& o) { return software_interrupt(c, o, static_cast<u8>(o.imm)); }
/// CC: INT3.
Step int3(Cpu& c, const Op& o) { return software_interrupt(c, o, BP); }
/// CE: INTO.
Step into(Cpu& c, const Op& o) {
  if (c.code64()) return c.raise(UD);
  return c.flags() & flag::OF ? software_interrupt(c, o, OF) : Step::Next;
}

/// F1: INT1. A trap from hardware's point of view: no DPL check, and the return address is behind
/// it.
Step int1(Cpu& c, const Op& o) {
  c.rip = next_rip(c, o);
  c.no_step = true;  // it is its own trap, and takes along what a load of SS held back
  c.dr6 = (c.dr6 & ~0xfull) | c.debug_hits;
  c.debug_hits = 0;
  c.raise(DB);
  return deliver_exception(c) ? Step::Jump : Step::Exit;
}

}  // namespace

SlowInsn far_insn(u8 opcode, u8 modrm) {
  switch (opcode) {
    case 0x9a:
      return {far_direct<true>, true};
    case 0xea:
      return {far_direct<false>, true};
    case 0xce:
      return {into, true};
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
  if (((modrm >> 3) & 7) == 3) return {far_indirect<true>, true};
  if (((modrm >> 3) & 7) == 5) return {far_indirect<false>, true};
  return {};
}

}  // namespace colo::soft::sys
