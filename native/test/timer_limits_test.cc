// Goal: no timer that a guest programs keeps the host's threads busy, and no chip state that is
// accepted is refused when it is saved later. Method: count what a sleeping guest's host would have
// to wake for; load states at the edges of what check() takes.
#include "test/irqchip_fixture.h"

namespace colo::test {
namespace {

constexpr u64 kSecond = 1000000000;

/// Wakes of a host that sleeps until the next deadline, over 0.1 s of guest time.
u64 wakes_in_a_tenth(Machine& m) {
  const u64 end = m.clock.ns + kSecond / 10;
  u64 wakes = 0;
  for (; m.chip.next_deadline_ns() < end && wakes < 100000; wakes++) {
    m.clock.ns = std::max(m.clock.ns.load(), m.chip.next_deadline_ns());
    m.chip.run_timers();
  }
  m.clock.ns = end;
  m.chip.run_timers();
  return wakes;
}

void lapic_period() {
  for (const u32 count : {1u, 3u, 777u, 199999u}) {
    Machine m;
    m.enable_apic();
    m.lapic(0x3e0, 0xb), m.lapic(0x320, 0x200ec), m.lapic(0x380, count);
    const u64 wakes = wakes_in_a_tenth(m);
    EXPECT(wakes >= 499 && wakes <= 501);
    EQUAL(m.take(), 0xec);
    const u32 now = m.lapic(0x390);
    EXPECT(now >= 1 && now <= count);
    m.advance(1);
    EQUAL(m.lapic(0x390), now > 1 ? now - 1 : count);  // the counter runs as fast as it was told to
    m.lapic(0x320, 0xec);                              // one-shot: the count that is left, no more
    EXPECT(m.chip.next_deadline_ns() - m.clock.ns <= count);
  }
  Machine m;  // what guests use is exact
  m.enable_apic();
  m.lapic(0x3e0, 0xb), m.lapic(0x320, 0x200ec), m.lapic(0x380, 250000);
  const u64 start = m.clock.ns;
  for (u64 n = 1; n < 10; n++) {
    EQUAL(m.chip.next_deadline_ns(), start + n * 250000);
    m.advance(250000);
  }
}

void pit_period() {
  for (const u8 mode : {0x34, 0x36}) {
    Machine m;
    m.init_pics();
    m.outb(0x43, mode), m.outb(0x40, 2), m.outb(0x40, 0);
    const u64 wakes = wakes_in_a_tenth(m);
    EXPECT(wakes > 490 && wakes <= 500);
    EQUAL(m.take(), 0x30);
  }
}

/// Loaded at one time, saved at another: never is what the machine makes of it worse than what it
/// took.
void loaded_times() {
  constexpr u64 kBegin = 1ull << 61, kMost = (1ull << 63) - 1;
  constexpr i64 kLoaded[] = {-static_cast<i64>(kBegin), 1 - static_cast<i64>(kBegin), -1, 0,
                             static_cast<i64>(kMost)};
  constexpr u64 kSaved[] = {0, 1, kBegin, 2 * kBegin - 1, 2 * kBegin, kMost - 1, kMost};
  constexpr u64 kNow[] = {1, 1000, kBegin, 2 * kBegin - 1}, kLater[] = {0, 1, kSecond, kBegin};
  int accepted = 0;
  for (const i64 loaded : kLoaded)
    for (const u64 saved_at : kSaved)
      for (const u64 now : kNow)
        for (const int shape : {0, 1, 2, 3, 4, 5, 6, 7}) {
          Machine m;
          m.clock.ns = now;
          vcpu::ChipState k;
          m.chip.save(k);
          k.clock.clock = saved_at;
          for (kvm_pit_channel_state& c : k.pit.channels) {
            c.count_load_time = loaded, c.gate = shape & 1, c.mode = shape & 2 ? 3 : 0,
            c.count = shape & 4 ? 0x10000 : 7;
          }
          if (!m.chip.check(k).empty()) continue;
          accepted++;
          m.chip.load(k);
          for (const u64 later : kLater) {
            m.clock.ns = now + later;
            vcpu::ChipState after;
            m.chip.save(after);
            EXPECT(m.chip.check(after).empty());
          }
        }
  EXPECT(accepted > 300);
}

}  // namespace

void timer_limits() { lapic_period(), pit_period(), loaded_times(); }

}  // namespace colo::test
