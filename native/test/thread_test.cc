// The vCPU thread against a scripted backend: exits, doorbells, halting, timers, stopping, and
// tearing down at the worst moment.
#include "vcpu/thread.h"

#include <pthread.h>

#include <algorithm>
#include <chrono>
#include <cstring>
#include <optional>
#include <system_error>
#include <vector>

#include "test/check.h"
#include "test/scripted.h"
#include "vcpu/clock.h"
#include "vcpu/exits.h"
#include "vcpu/image.h"
#include "vcpu/runner.h"
#include "vcpu/spare_core.h"

using namespace colo;
using namespace colo::vcpu;
using test::ScriptedVm;

namespace {

/// Plays the main thread: everything that a vCPU needs, and a loop that answers.
struct Rig {
  explicit Rig(ScriptedVm::Guest guest) : vm(bus, clock, std::move(guest)) {
    thread.emplace(vm, 0, clock, [this](ParkReason why) {
      reason = why;
      main.notify();
    });
  }
  ~Rig() {
    bus.abandon();
    thread.reset();
  }
  /// Serves until done() holds; false after five seconds.
  template <class F>
  bool serve_until(F&& done) {
    u64 end = host_now_ns() + 5'000'000'000ull;
    while (host_now_ns() < end) {
      u32 armed = main.arm();
      bells.take([this](u32 id) { rung.push_back(id); });
      if (bus.pending()) answer();
      if (done()) return true;
      main.wait(armed, host_now_ns() + 20'000'000);
    }
    return false;
  }
  bool stopped() {
    return serve_until([this] { return reason != ParkReason::None; });
  }
  void answer() {
    ExitPage& page = bus.page();
    exits.push_back(page);
    page.data = answer_with;
    bus.complete();
  }

  Signal main;
  RealClock clock;
  Doorbells bells{[this] { main.notify(); }};
  PostedBus bus{bells, [this] { main.notify(); }};
  ScriptedVm vm;
  std::vector<ExitPage> exits;
  std::vector<u32> rung;
  u64 answer_with = 0xfedcba9876543210ull;
  std::atomic<ParkReason> reason{ParkReason::None};
  std::optional<VcpuThread> thread;
};

void exits_carry_the_access_and_its_answer() {
  std::vector<u64> got;
  Rig rig([&](ScriptedVm& vm) {
    vm.bus.pio_write(0x3f8, 1, 'x');
    got.push_back(vm.bus.pio_read(0x3fd, 1));
    vm.bus.mmio_write(0x1'0000'0000ull + 8, 4, 0xdeadbeef);
    got.push_back(vm.bus.mmio_read(0xfebf0000, 8));
    got.push_back(vm.bus.mmio_read(0xfebf0000, 2));
    return RunResult::Shutdown;
  });
  rig.thread->start();
  CHECK(rig.stopped() && rig.reason == ParkReason::Shutdown);
  CHECK((got == std::vector<u64>{0x10, 0xfedcba9876543210ull, 0x3210}));
  CHECK(rig.exits.size() == 5);
  CHECK(rig.exits[0].kind == ExitKind::PioWrite && rig.exits[0].address == 0x3f8 &&
        rig.exits[0].size == 1 && rig.exits[0].data == 'x');
  CHECK(rig.exits[2].kind == ExitKind::MmioWrite && rig.exits[2].address == 4294967304.0 &&
        rig.exits[2].data == 0xdeadbeef);
}

void doorbells_do_not_wait() {
  int rings = 0;
  Rig rig([&](ScriptedVm& vm) {
    vm.bus.mmio_write(0xfe003000, 2, rings++ & 1);
    return rings < 1000 ? RunResult::Budget : RunResult::Shutdown;
  });
  rig.bells.add({Space::Mmio, 0xfe003000, 2, 0, 7});
  rig.bells.add({Space::Mmio, 0xfe003000, 2, 1, 70});
  rig.thread->start();
  // Nobody serves: the thread comes to its end without an answer.
  u64 end = host_now_ns() + 5'000'000'000ull;
  while (!rig.thread->parked() && host_now_ns() < end)
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  CHECK(rig.thread->parked());
  CHECK(rig.stopped());
  CHECK(rig.exits.empty());
  CHECK((rig.rung == std::vector<u32>{7, 70}));
}

void doorbell_matching() {
  int rung = 0;
  Doorbells bells([&] { rung++; });
  bells.add({Space::Pio, 0xc010, 2, {}, 1});
  bells.add({Space::Mmio, 0xc010, 0, {}, 2});
  bells.add({Space::Mmio, 0xd000, 4, 5, 3});
  CHECK(!bells.ring(Space::Pio, 0xc010, 1, 0) && !bells.ring(Space::Pio, 0xc011, 2, 0));
  CHECK(bells.ring(Space::Pio, 0xc010, 2, 99) && bells.ring(Space::Mmio, 0xc010, 8, 99));
  CHECK(!bells.ring(Space::Mmio, 0xd000, 4, 6) && !bells.ring(Space::Mmio, 0xd000, 2, 5) &&
        bells.ring(Space::Mmio, 0xd000, 4, 5));
  CHECK(bells.ring(Space::Mmio, 0xd000, 4, 5) &&
        rung == 3);  // the second ring of an untaken bell tells nobody again
  bells.remove(2);
  std::vector<u32> ids;
  bells.take([&](u32 id) { ids.push_back(id); });
  CHECK((ids == std::vector<u32>{1, 3}));
  CHECK(!bells.ring(Space::Mmio, 0xc010, 8, 99));
  bells.take([&](u32) { CHECK(false); });
}

void stop_completes_the_exit_first() {
  std::atomic<int> finished{0};
  Rig rig([&](ScriptedVm& vm) {
    vm.bus.pio_read(0x60, 1);
    finished++;
    return RunResult::Budget;
  });
  for (int round = 0; round < 200; round++) {
    rig.reason = ParkReason::None;
    rig.thread->start();
    size_t seen = rig.exits.size();
    CHECK(rig.serve_until([&] { return rig.exits.size() > seen; }));
    while (!rig.bus.pending()) std::this_thread::yield();
    rig.thread->stop();  // with an exit open
    CHECK(!rig.thread->parked());
    CHECK(rig.stopped() && rig.reason == ParkReason::Requested && !rig.bus.pending());
    CHECK(static_cast<size_t>(finished) == rig.exits.size());
  }
}

void a_halted_vcpu_wakes_for_interrupts_and_stops() {
  std::atomic<int> taken{0};
  Rig rig([&](ScriptedVm& vm) {
    if (!vm.take_interrupt()) return RunResult::Halted;
    taken++;
    return RunResult::Budget;
  });
  rig.thread->start();
  for (int i = 1; i <= 300; i++) {
    rig.vm.set_irq(3, true);
    while (taken < i) std::this_thread::yield();
  }
  CHECK(taken == 300);
  rig.thread->stop();
  CHECK(rig.stopped() && rig.reason == ParkReason::Requested);
  rig.vm.set_irq(3, true);  // while it is parked: taken when it runs again
  rig.reason = ParkReason::None;
  rig.thread->start();
  CHECK(rig.serve_until([&] { return taken == 301; }));
}

/// A periodic timer that the guest sets anew each time; halting or spinning while it waits.
void timers_fire_on_time(bool halts, const char* name) {
  constexpr u64 kPeriod = 300'000;
  std::vector<u64> late;
  u64 due = 0;
  Rig rig([&](ScriptedVm& vm) {
    if (due == 0) vm.set_deadline(due = vm.clock.now_ns() + kPeriod);
    if (!vm.take_interrupt()) return halts ? RunResult::Halted : RunResult::Budget;
    late.push_back(vm.clock.now_ns() - due);
    if (late.size() == 300) return RunResult::Shutdown;
    vm.set_deadline(due += kPeriod);
    return RunResult::Budget;
  });
  rig.thread->start();
  CHECK(rig.stopped() && late.size() == 300);
  std::sort(late.begin(), late.end());
  printf("timer, guest %s: late by %.1f us p50, %.1f us p90\n", name, late[late.size() / 2] / 1e3,
         late[late.size() * 9 / 10] / 1e3);
}

void a_stopped_vm_fires_no_timer() {
  Rig rig([](ScriptedVm&) { return RunResult::Budget; });
  rig.thread->start();
  rig.thread->stop();
  CHECK(rig.stopped());
  rig.vm.set_deadline(rig.clock.now_ns() + 1'000'000);
  std::this_thread::sleep_for(std::chrono::milliseconds(10));
  CHECK(rig.vm.interrupts == 0);
  rig.reason = ParkReason::None;
  rig.thread->start();
  CHECK(rig.serve_until([&] { return rig.vm.interrupts == 1; }));
}

void teardown_at_any_moment() {
  for (int i = 0; i < 200; i++) {
    Rig rig([&](ScriptedVm& vm) {
      switch (i % 4) {
        case 0:
          vm.bus.pio_read(0x60, 1);
          return RunResult::Budget;
        case 1:
          return RunResult::Halted;
        case 2:
          return RunResult::InternalError;
        default:
          return RunResult::Budget;
      }
    });
    rig.thread->start();
    if (i & 8) std::this_thread::sleep_for(std::chrono::microseconds(i * 3));
  }
  CHECK(true);
}

/// Two vCPUs that time themselves, on a host with one thread to give: no address space holds the
/// stack of the second.
struct NoSecondThread : ScriptedVm {
  using ScriptedVm::ScriptedVm;
  ~NoSecondThread() override {
    pthread_setattr_default_np(&usual);
    CHECK(set_wakes == 2);  // the first one's thread came and has gone
  }
  size_t vcpu_count() const override { return 2; }
  bool times_itself() const override {
    if (++asked == 1) return true;
    pthread_attr_t huge;
    pthread_attr_init(&huge);
    pthread_attr_setstacksize(&huge, size_t{1} << 50);
    pthread_getattr_default_np(&usual);
    pthread_setattr_default_np(&huge);
    return true;
  }
  void set_wake(size_t cpu, std::function<void()> wake) override {
    set_wakes++;
    ScriptedVm::set_wake(cpu, wake);
  }
  mutable int asked = 0;
  mutable pthread_attr_t usual;
  int set_wakes = 0;
};

void a_host_without_threads() {
  auto make = [](memory::GuestRam&, const Buses& buses, SettableClock& clock) {
    return std::make_unique<NoSecondThread>(*buses[0], clock,
                                            [](ScriptedVm&) { return RunResult::Halted; });
  };
  auto ram = std::make_shared<memory::GuestRam>(1 << 20);
  bool refused = false;
  try {
    Runner runner(ram, make, Runner::Mode::Threaded, 2, {[] {}, nullptr, nullptr});
  } catch (const std::system_error&) {
    refused = true;
  }
  CHECK(refused);
}

/// The guest shuts down with the same access in which its device gives up.
void what_ended_one_run_does_not_end_the_next() {
  std::optional<Runner> runner;
  auto make = [](memory::GuestRam&, const Buses& buses, SettableClock& clock) {
    return std::make_unique<ScriptedVm>(*buses[0], clock, [](ScriptedVm& vm) {
      if (vm.icount() > 0) return RunResult::Budget;
      vm.bus.pio_write(0x80, 1, 0);
      return RunResult::Shutdown;
    });
  };
  auto answer = [&](size_t) {
    runner->stop();
    return true;
  };
  runner.emplace(std::make_shared<memory::GuestRam>(1 << 20), make, Runner::Mode::Stepped, 1,
                 RunnerHooks{[] {}, answer, [] {}});
  CHECK(runner->run_for(100) == RunResult::Shutdown);
  CHECK(runner->run_for(100) == RunResult::Budget);
}

void clocks() {
  RealClock real;
  real.continue_from(5'000'000'000'000ull);
  u64 a = real.now_ns(), b = real.now_ns();
  CHECK(a >= 5'000'000'000'000ull && a < 5'001'000'000'000ull && b >= a);
  SteppedClock stepped;
  stepped.advance(5);
  CHECK(stepped.now_ns() == 5);
  stepped.continue_from(100);
  stepped.advance(1);
  CHECK(stepped.now_ns() == 101);
}

void images_round_trip() {
  VcpuState in{}, out{};
  in.regs.rip = 0x1234;
  in.lapic.regs[1023] = 'z';
  in.msrs = {{0xc0000080, 0, 0x500}, {0x10, 0, 99}};
  std::vector<u8> bytes = encode(in);
  CHECK(bytes.size() == kVcpuImageFixed + 32);
  CHECK(decode(bytes, out).empty() && out.regs.rip == 0x1234 && out.msrs.size() == 2 &&
        out.msrs[1].data == 99);
  CHECK(encode(out) == bytes);
  for (size_t n = 0; n < bytes.size(); n += 97)
    CHECK(!decode(std::span(bytes).first(n), out).empty());
  bytes[4] = 3;
  CHECK(!decode(bytes, out).empty());
  ChipState chips{}, chips_out{};
  chips.clock.clock = 77;
  bytes = encode(chips);
  CHECK(decode(bytes, chips_out).empty() && chips_out.clock.clock == 77);
  bytes[0] ^= 1;
  CHECK(!decode(bytes, chips_out).empty());
}

void exit_latency() {
  std::vector<u64> took;
  Rig rig([&](ScriptedVm& vm) {
    u64 t = host_now_ns();
    vm.bus.pio_read(0x60, 1);
    took.push_back(host_now_ns() - t);
    return took.size() == 20000 ? RunResult::Shutdown : RunResult::Budget;
  });
  rig.thread->start();
  CHECK(rig.stopped());
  std::sort(took.begin(), took.end());
  printf("exit to another native thread and back: %.1f us p50, %.1f us p90\n",
         took[took.size() / 2] / 1e3, took[took.size() * 9 / 10] / 1e3);
}

void spare_core() {
  CHECK(running_tasks("0.20 0.18 0.12 3/80 11206\n") == 3);
  CHECK(running_tasks("") == -1);
  CHECK(running_tasks("0.20 0.18") == -1);
  SpareCore spare;
  spare.there();  // whatever it says: the host decides
}

}  // namespace

int main() {
  clocks();
  images_round_trip();
  doorbell_matching();
  exits_carry_the_access_and_its_answer();
  doorbells_do_not_wait();
  stop_completes_the_exit_first();
  a_halted_vcpu_wakes_for_interrupts_and_stops();
  timers_fire_on_time(true, "halts");
  timers_fire_on_time(false, "spins");
  a_stopped_vm_fires_no_timer();
  teardown_at_any_moment();
  a_host_without_threads();
  what_ended_one_run_does_not_end_the_next();
  spare_core();
  exit_latency();
  return test::finish();
}
