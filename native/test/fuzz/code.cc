// Random code: nothing that a guest executes crashes the host, reads beyond its memory, stops the
// machine or escapes the dirty log.
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
  }

  RunResult go() {
    constexpr u64 kBases[] = {kCode, kAlias, kUpper};
    fill_registers();
    outside();
    if (r_.one_in(12)) check_log();
    c.rip = kBases[r_.below(3)] + r_.below(4) * kPageSize +
            (r_.one_in(3) ? 0xf80 + r_.below(0x80) : r_.below(0x200));
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
      if (why == RunResult::InternalError)
        fail("the guest stopped the machine: " + m.vm.vcpu(0).error());
      if (random.one_in(6)) m.check_save(random.one_in(4));
      if (why != RunResult::Shutdown && !m.lost_its_tables()) continue;
      m.check_log();
      m.vm.reset();
      m.long_mode(false);
      if (why == RunResult::Shutdown) break;
    }
    m.check_log();
  }
}

}  // namespace colo::fuzz
