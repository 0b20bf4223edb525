// Goal: vCPUs that take turns on one thread give the same run from the same state, whatever the
// host does, and are still one machine: LOCK, code of another, interrupts, timers, stops. Method:
// the routines of several vCPUs, and guests that any other interleaving would leave different.
#include "vcpu/lockstep.h"

#include <set>

#include "test/smp_routines.h"
#include "vcpu/signal.h"

// Multiplies the number at Guest::kData, counts behind it, ends the interrupt.
ROUTINE(strike,
        "push %rax\npush %rcx\npush %rdx\nimull $3, 0x801000, %eax\nmovl %eax, 0x801000\n"
        "incl 0x801040\nmov $0x80b, %ecx\nxor %eax, %eax\nxor %edx, %edx\nwrmsr\n"
        "pop %rdx\npop %rcx\npop %rax\niretq")
ROUTINE(sleep_once, "sti\nhlt\ncli")
// Vector 0x30 to APIC 0.
ROUTINE(wake_first, "mov $0x830, %ecx\nxor %edx, %edx\nmov $0x30, %eax\nwrmsr")

namespace {
using namespace colo;
using namespace colo::soft;
using namespace colo::test;
using vcpu::CountedClock;
using vcpu::Lockstep;
using vcpu::RunResult;

struct Turns : Guest {
  explicit Turns(u32 cpus) : Guest(cpus, true) { clock.other = &counted; }
  /// False: it did not come to the end that all have halted in.
  bool finish(u64 budget = 400'000'000) {
    steps.begin();
    RunResult why;
    do why = steps.run(budget);
    while (why == RunResult::Kicked);  // late: it had halted before
    if (why != RunResult::Halted) return false;
    for (u32 i = 0; i < cpus; i++)
      if (fault(i) >= 0) return false;
    return true;
  }
  bool finish(const std::vector<Party>& parties, u64 rounds) {
    start(parties, rounds);
    return finish();
  }
  void start(const std::vector<Party>& parties, u64 rounds) {
    place_all(parties, rounds);
    for (u32 i = 0; i < parties.size(); i++)  // back to its HLT
      put<u16>(kCode + i * 0x10000 + parties[i].code.size() + 1, 0xfdeb);
  }
  /// Both take this interrupt, on the stack that they are on; their APICs are x2APICs.
  void take_interrupts(u8 vector, const Routine& handler) {
    const u64 at_code = kHandlers + vector * 16, gate = kIdt + vector * 16;
    memcpy(at(at_code, handler.size()), handler.begin, handler.size());
    put<u64>(gate, at_code | 0x08ull << 16 | 0x8e00ull << 32);
    put<u64>(gate + 8, 0);
    for (u32 i = 0; i < cpus; i++) {
      Cpu& c = cpu(i);
      c.idt.limit = 0xfff;
      CHECK(c.chip->set_apic_base(0xfee00c00 | (i ? 0 : 0x100)));
      c.chip->x2apic_write(0x80f, 0x1ff), c.chip->x2apic_write(0x835, 0x10000);
    }
  }
  CountedClock counted;
  Lockstep steps{vm, &counted};
};

constexpr u64 kRaceRounds = 200'000;
const std::vector<Party> kRace{{THE(race), 0, 0, 1}, {THE(race), 0, 0, 2}};
u32 outcome(Guest& g) { return g.get<u32>(Guest::kData); }

/// The witness: threads race.
void the_same_run_always() {
  std::set<u32> here, threads;
  for (int again = 0; again < 3; again++) {
    Turns g(2);
    CHECK(g.finish(kRace, kRaceRounds));
    here.insert(outcome(g));
  }
  CHECK(here.size() == 1);
  for (int again = 0; again < 10 && threads.size() < 2; again++) {
    Guest g(2);
    CHECK(run_guest(g, kRace, kRaceRounds));
    threads.insert(outcome(g));
  }
  CHECK(threads.size() > 1 || !vcpu::host_is_parallel());
}

void copy(Turns& from, Turns& to) {
  memcpy(to.at(0, 32 << 20), from.at(0, 32 << 20), 32 << 20);
  to.ram.mark_written(0, 32 << 20);
  for (u32 i = 0; i < from.cpus; i++) {
    vcpu::VcpuState s;
    from.vm.vcpu(i).save(s);
    CHECK(to.vm.vcpu(i).check(s).empty());
    to.vm.vcpu(i).load(s);
  }
  vcpu::ChipState chips;
  from.vm.save(chips);
  to.counted.continue_from(chips.clock.clock);
  to.vm.load(chips);
}

/// Stopped by another thread, in the middle of a turn as likely as not.
void a_state_goes_on_elsewhere_in_the_same_way() {
  for (int again = 0; again < 10; again++) {
    Turns g(2);
    g.start(kRace, kRaceRounds);
    g.steps.begin();
    std::thread stop([&] {
      std::this_thread::sleep_for(std::chrono::microseconds(100 + 50 * again));
      g.steps.kick();
    });
    const RunResult why = g.steps.run(~0ull);
    stop.join();
    CHECK(why == RunResult::Kicked || why == RunResult::Halted);
    Turns elsewhere(2);
    copy(g, elsewhere);
    CHECK(g.finish() && elsewhere.finish());
    CHECK(outcome(g) == outcome(elsewhere));
    CHECK(g.counted.now_ns() == elsewhere.counted.now_ns());
  }
}

/// Where a timer strikes is part of the run: its handler changes what they race for.
void timers_strike_at_the_same_instruction() {
  std::set<u32> outcomes;
  for (int again = 0; again < 3; again++) {
    Turns g(2);
    g.start(kRace, kRaceRounds);
    g.take_interrupts(0x30, THE(strike));
    for (u32 i = 0; i < 2; i++) {
      Cpu& c = g.cpu(i);
      c.chip->x2apic_write(0x832, 0x20030), c.chip->x2apic_write(0x83e, 0xb);  // periodic
      c.chip->x2apic_write(0x838, 30'000 + 7'000 * i);
      c.rflags |= flag::IF;
    }
    outcomes.insert(g.finish() ? outcome(g) : ~0u);
    CHECK(g.get<u32>(Guest::kData + 64) >= 4);  // at most one in 200 us each
  }
  CHECK(outcomes.size() == 1 && *outcomes.begin() != ~0u);
}

u64 both_zero(Guest& g, u64 rounds) {
  u64 n = 0;
  for (u64 i = 0; i < rounds; i++)
    n += !g.get<u32>(Guest::kData + 0x400000 + i * 8) &&
         !g.get<u32>(Guest::kData + 0x500000 + i * 8);
  return n;
}

/// One order for all that they do: not even what x86 allows is seen.
void memory_order() {
  constexpr u64 kRounds = 300;
  for (const Routine code : {THE(store_buffer), THE(store_fence_load), THE(exchange_load)}) {
    Turns g(2);
    CHECK(g.finish({{code, 0, 64, 0x400000}, {code, 64, 0, 0x500000}}, kRounds));
    CHECK(both_zero(g, kRounds) == 0);
  }
  Turns g(2);
  CHECK(g.finish({{THE(write_two), 0, 64, 0x400000}, {THE(read_two), 64, 0, 0x500000}}, kRounds));
  for (u64 i = 0; i < kRounds; i++)
    CHECK(!g.get<u32>(Guest::kData + 0x500000 + i * 8) ||
          g.get<u32>(Guest::kData + 0x500004 + i * 8));
}

void locks() {
  constexpr u64 kRounds = 20'000;
  for (const u64 at : {0x100ull, 0x13eull, 0xffeull})
    for (const Routine code : {THE(lock_inc), THE(lock_cmpxchg)}) {
      Turns g(3);
      CHECK(g.finish({{code, at}, {code, at}, {code, at}}, kRounds));
      CHECK(g.get<u32>(Guest::kData + at) == 3 * kRounds);
    }
}

void code_of_another() {
  constexpr u64 kFunction = Guest::kData + 0x10000, kFlags = Guest::kData + 0x20000;
  constexpr u64 kWrong = Guest::kData + 0x30000;
  Turns g(2);
  g.code(kFunction, {0xb8, 0, 0, 0, 0, 0xc3});
  g.place(0, {THE(patch_code), kFunction, kFlags}, 500, 2);
  g.place(1, {THE(run_patched), kFunction, kFlags, kWrong}, 500, 2);
  CHECK(g.finish() && g.get<u32>(kWrong) == 0);
}

/// The first has halted and its turn is over when the second wakes it, and halts as well.
void a_halted_one_is_woken_within_the_round() {
  Turns g(2);
  g.start({{THE(sleep_once)}, {THE(wake_first)}}, 1);
  g.take_interrupts(0x30, THE(strike));
  CHECK(g.finish() && g.get<u32>(Guest::kData + 64) == 1);
}

/// 1 ns for an instruction of the longest turn; not a ns for those that halt.
void time_is_counted() {
  Turns g(2);
  const u64 from = g.counted.now_ns();
  g.start({{THE(plain_inc), 0}, {THE(plain_inc), 64}}, 1000);
  CHECK(g.finish());
  const u64 took = g.counted.now_ns() - from;
  CHECK(took == g.vm.vcpu(0).icount() && took > 3000 && took < 3100);
  CHECK(g.steps.run(1000) == RunResult::Halted && g.counted.now_ns() == from + took);
  g.counted.follow_host(from + took + 1000);
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(g.counted.now_ns() == from + took + 1000);
  g.counted.stand_still();
  std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(g.counted.now_ns() == from + took + 1000);
}

void triple_fault_of_one() {
  Turns g(2);
  g.start({{THE(plain_inc), 0}, {THE(plain_inc), 64}}, ~0ull >> 1);
  g.code(0x410000, {0x0f, 0x0b});
  g.cpu(1).idt.limit = 0;
  g.steps.begin();
  CHECK(g.steps.run(10'000'000) == RunResult::Shutdown && g.steps.stopped_by() == 1);
}

}  // namespace

int main() {
  the_same_run_always();
  a_state_goes_on_elsewhere_in_the_same_way();
  timers_strike_at_the_same_instruction();
  memory_order();
  locks();
  code_of_another();
  a_halted_one_is_woken_within_the_round();
  time_is_counted();
  triple_fault_of_one();
  return test::finish();
}
