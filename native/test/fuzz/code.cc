// Random code in every mode: nothing that a guest executes crashes the host, reads beyond its
// memory, stops the machine (but by a named refusal) or escapes the dirty log.
#include "test/fuzz/machine.h"

namespace colo::fuzz {
namespace {

using vcpu::RunResult;

struct CodeMachine : FuzzMachine {
  using FuzzMachine::FuzzMachine;

  void start_round() {
    fill_code(), fill_data();
    long_mode(r_.one_in(3));
    for (const u64 flag : {soft::flag::TF, soft::flag::DF, soft::flag::AC, soft::flag::NT})
      if (r_.one_in(12)) c.rflags |= flag;
    if (r_.one_in(3)) c.rflags |= soft::flag::IF;
    if (r_.one_in(4)) c.cr0 |= soft::cr0::AM, c.mode_changed();
    if (r_.one_in(2)) leave_64_bits();
    if (r_.one_in(12)) arm_breakpoint();
  }

  kvm_segment random_segment(u8 cpl, bool code) {
    constexpr u32 kLimits[] = {0xffffffff, 0xffffffff, 0xffff, 0xfff, 0};
    constexpr u64 kSegmentBases[] = {0, 0, 0, kCodeGpa, kDataGpa + 0x10, 0xffff0000};
    kvm_segment s{};
    s.limit = kLimits[r_.below(code ? 3 : 5)];
    s.base = kSegmentBases[r_.below(code ? 4 : 6)];
    s.g = s.limit > 0xfffff, s.present = s.s = 1, s.dpl = cpl, s.selector = cpl;
    s.type = code ? (r_.one_in(4) ? 9 : 11) : r_.one_in(4) ? 7 : 3;
    s.db = r_.one_in(2);
    return s;
  }

  /// Compatibility mode, or long mode off: protected or real mode, without paging.
  void leave_64_bits() {
    const u64 kind = r_.below(3);
    const u8 cpl = kind == 2 ? 0 : c.cpl;
    if (kind) c.cr0 &= ~soft::cr0::PG, c.efer &= ~(soft::efer::LMA | soft::efer::LME);
    if (kind == 2) c.cr0 &= ~soft::cr0::PE;
    for (int i = 0; i < soft::SEG_COUNT; i++) c.seg[i] = random_segment(cpl, i == soft::CS);
    if (r_.one_in(3)) {  // flat
      for (kvm_segment& s : c.seg) s.base = 0, s.limit = 0xffffffff, s.g = s.db = 1, s.type |= 3;
      for (int i = 0; i < soft::SEG_COUNT; i++) c.seg[i].type = i == soft::CS ? 11 : 3;
    }
    c.cpl = cpl;
    c.tlb_flush(true), c.mode_changed();
  }

  void arm_breakpoint() {
    constexpr u64 kPlaces[] = {kCode, kData, kStack - 0x20, kCodeGpa, kDataGpa};
    c.dr[0] = kPlaces[r_.below(5)] + r_.below(0x40);
    c.dr7 = 0x402 | r_.below(16) << 16;
    c.arm_breakpoints(), c.mode_changed();
  }

  RunResult go() {
    constexpr u64 kBases[] = {kCode, kAlias, kUpper};
    fill_registers();
    outside();
    if (r_.one_in(12)) check_log();
    c.rip = kBases[r_.below(3)] + r_.below(4) * kPageSize +
            (r_.one_in(3) ? 0xf80 + r_.below(0x80) : r_.below(0x200));
    if (!c.code64()) {
      const u64 base = c.long_mode() ? kCode : kCodeGpa;
      c.rip = (base + (c.rip & 0x3fff) - c.seg[soft::CS].base) & 0xffffffff;
    }
    c.halted = false, c.pending = {};
    return run_guarded(1 + r_.below(r_.one_in(4) ? 400 : 40));
  }

  bool lost_its_tables() const {
    return c.cr3 != kTables || c.gdt.base != kGdt || c.idt.base != kIdt || c.tr.base != kTss;
  }
};

}  // namespace

void run_code(u64 seed) {
  Random random(seed);
  CodeMachine m(random);
  m.start_log();
  for (int round = 0; round < 4; round++) {
    m.start_round();
    for (int i = 0; i < 24; i++) {
      const RunResult why = m.go();
      if (why == RunResult::InternalError && !m.refused())
        fail("the guest stopped the machine: " + m.vm.vcpu(0).error());
      if (random.one_in(6)) m.check_save(random.one_in(4));
      if (why != RunResult::Shutdown && why != RunResult::InternalError && !m.lost_its_tables())
        continue;
      m.check_log();
      m.vm.reset();
      m.long_mode(false);
      if (why == RunResult::Shutdown || why == RunResult::InternalError) break;
    }
    m.check_log();
  }
}

}  // namespace colo::fuzz
