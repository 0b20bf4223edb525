// States with wrong bytes: what is accepted can run for any time and be saved, and what is saved is
// accepted.
#include "test/fuzz/machine.h"

namespace colo::fuzz {
namespace {

using vcpu::RunResult;

template <class T>
void spoil(Random& r, T& part, size_t bytes = sizeof(T)) {
  constexpr u8 kEdges[] = {0, 1, 0x7f, 0x80, 0xff, 0xfe};
  u8* const p = reinterpret_cast<u8*>(&part);
  for (u64 n = 1 + r.below(4); n > 0; n--) {
    const size_t at = r.below(bytes), word = at & ~size_t{7};
    const u64 value = r.one_in(3) ? r.next() : ~0ull << r.below(64);
    if (r.one_in(3)) memcpy(p + word, &value, std::min<size_t>(8, bytes - word));
    else p[at] = r.one_in(2) ? r.byte() : kEdges[r.below(6)];
  }
}

void spoil(Random& r, vcpu::VcpuState& s, vcpu::ChipState& k) {
  switch (r.below(9)) {
    case 0:
      return spoil(r, s.regs);
    case 1:
      return spoil(r, s.sregs);
    case 2:
      return spoil(r, s.debugregs);
    case 3:
      return spoil(r, s.xsave, 512);
    case 4:
      return spoil(r, s.events);
    case 5:
      return spoil(r, s.lapic);
    case 6:
      return spoil(r, s.msrs[r.below(s.msrs.size())]);
    case 7:
      return spoil(r, k);
    default:
      spoil(r, s.mp_state), spoil(r, s.sregs), spoil(r, s.lapic), spoil(r, k.ioapic);
  }
}

struct StateMachine : FuzzMachine {
  using FuzzMachine::FuzzMachine;

  bool take_spoiled() {
    vcpu::VcpuState s;
    vcpu::ChipState k;
    long_mode(r_.one_in(2));
    fill_registers();
    c.rip = kCode + r_.below(kCodeBytes);
    vm.save(k);
    vm.vcpu(0).save(s);
    for (u64 n = r_.below(3) + 1; n > 0; n--) spoil(r_, s, k);
    if (!vm.check(k).empty() || !vm.vcpu(0).check(s).empty()) return false;
    clock.ns = r_.one_in(2) ? clock.ns : 1000;
    vm.vcpu(0).load(s), vm.load(k);
    return true;
  }

  void live() {
    for (int i = 0; i < 6; i++) {
      pass_time();
      outside();
      const RunResult why = run_guarded(1 + r_.below(60));
      if (why == RunResult::InternalError && !refused())
        fail("the guest stopped the machine: " + vm.vcpu(0).error());
      if (why == RunResult::Shutdown || why == RunResult::InternalError) return;
    }
  }
};

}  // namespace

void run_state(u64 seed) {
  Random random(seed);
  StateMachine m(random);
  m.fill_code(), m.fill_data();
  m.start_log();
  for (int round = 0; round < 20; round++) {
    if (!m.take_spoiled()) continue;
    m.live();
    m.check_save(false);
    m.check_log();
    m.clock.ns = 1000;
    m.vm.reset();
  }
}

}  // namespace colo::fuzz
