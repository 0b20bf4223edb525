// What an interrupt or a far call pushes, on the stack that it will run on. Private to
// native/soft/system.
#pragma once
#include "soft/cpu/segment.h"
#include "soft/system/system.h"

namespace colo::soft::sys {

/// A stack under construction: memory is written, registers are not until commit().
struct StackFrame {
  Cpu& c;
  kvm_segment ss;
  u64 sp;
  u8 size;        // of a word
  bool wide;      // of 64-bit code: no segment
  u8 cpl;         // whose rights the accesses have
  u32 error = 0;  // of #SS, where the words do not fit

  bool push(u64 value) {
    u64 at = sp - size;
    if (!wide) {
      at &= ss.db ? 0xffffffff : 0xffff;
      if (!within_limit(ss, at, size)) return fault(c, SS_, error);
    }
    const u64 va = wide ? at : (ss.base + at) & 0xffffffff;
    if (!(cpl == 3 ? c.store(va, size, value) : c.store_inner(va, size, value))) return false;
    sp = at;
    return true;
  }
  bool push(std::initializer_list<u64> values) {
    for (u64 v : values)
      if (!push(v)) return false;
    return true;
  }
  /// Outside 64-bit code; its own stack pointer is one register whatever the mode was.
  void commit() {
    c.seg[SS] = ss;
    if (wide) c.r[RSP] = sp;
    else if (ss.db) c.r[RSP] = sp & 0xffffffff;
    else c.r[RSP] = (c.r[RSP] & ~0xffffull) | (sp & 0xffff);
  }
};

/// The stack that the TSS has for a privilege, outside long mode. False: #TS or #SS.
bool legacy_tss_stack(Cpu& c, u8 cpl, u32 ext, kvm_segment& ss, u64& sp);
/// RSPn or ISTn of the 64-bit TSS, by its offset.
bool long_tss_stack(Cpu& c, u32 offset, u32 ext, u64& rsp);
/// The end of every check of a code segment: present, of a kind that this mode runs, and with the
/// target in it. Fits d.seg to the mode.
bool code_target(Cpu& c, Descriptor& d, u32 error, u64 rip, u32 ext = 0);
/// Far CALL and JMP through a call gate.
Step through_gate(Cpu& c, const Op& o, u16 selector, const Descriptor& gate, bool call);

}  // namespace colo::soft::sys
