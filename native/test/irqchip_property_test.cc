// Properties of the chips as a whole, over random accesses from a seed: nothing crashes, every
// state that can be reached passes check(), and save -> reset -> load -> save is identical at one
// clock; a copy loaded from an image then behaves as the original does.
#include "test/irqchip_fixture.h"

namespace colo::test {
namespace {

constexpr u16 kPorts[] = {0x20, 0x21, 0xa0, 0xa1, 0x4d0, 0x4d1, 0x40, 0x41, 0x42, 0x43, 0x61};

/// One random event; returns what the guest saw, so that two machines can be compared.
u64 step(Machine& m, Random random) {
  u64 seen = 0;
  u32 narrow = 0;
  const u64 value = random.below(4) ? random() : random() & 0xff;
  const u32 offset = static_cast<u32>(random.below(64) * 16);
  switch (random.below(16)) {
    case 0:
    case 1:
      m.cpu.pio_write(kPorts[random.below(11)], 1, static_cast<u32>(value & 0xff));
      break;
    case 2:
      m.cpu.pio_read(kPorts[random.below(11)], static_cast<u8>(1 << random.below(3)), narrow);
      return narrow;
    case 3:
      m.cpu.mmio_write(0xfee00000 + offset, 4, value);
      break;
    case 4:
      m.cpu.mmio_read(0xfee00000 + offset + random.below(16), static_cast<u8>(1 << random.below(4)),
                      seen);
      break;
    case 5:
      m.cpu.mmio_write(0xfec00000, 4, random.below(0x42));
      break;
    case 6:
      m.cpu.mmio_write(0xfec00010, 4, value);
      break;
    case 7:
      m.cpu.mmio_read(0xfec00000 + random.below(2) * 16, 4, seen);
      break;
    case 8:
    case 9:
      m.chip.set_irq(static_cast<u32>(random.below(26)), value & 1);
      break;
    case 10:
      m.chip.signal_msi(0xfee00000 | (value & 0xff00c), static_cast<u32>(random() & 0x87ff));
      break;
    case 11:
      return m.cpu.x2apic_write(0x800 + offset / 16, value & 0xffff) ? 1 : 2;
    case 12:
      return static_cast<u64>(m.take());
    case 13:
      if (!random.below(8)) m.cpu.set_apic_base(0xfee00900 | (value & 0xc00));
      if (value & 1) m.cpu.mmio_write(0xfee000f0, 4, 0x1ff);
      break;
    case 14:
      m.cpu.set_tsc_deadline(m.clock.ns + random.below(1u << 20));
      break;
    default:
      m.advance(random.below(8) ? random.below(1u << 16) : random.below(1ull << 34));
  }
  return seen;
}

void round_trip(Machine& m) {
  const Image before = save(m);
  EXPECT(m.chip.check(before.chips).empty());
  EXPECT(m.chip.check_lapic(before.lapic).empty());
  const bool pending = m.cpu.interrupt_pending();
  const u64 deadline = m.chip.next_deadline_ns();
  m.chip.reset();
  load(m, before);
  EXPECT(save(m) == before);
  EQUAL(m.cpu.interrupt_pending(), pending);
  EQUAL(m.chip.next_deadline_ns(), deadline);
}

/// From one image on, both see the same.
void twins(Machine& m, Random& random) {
  Machine copy;
  copy.clock.ns = m.clock.ns.load();
  load(copy, save(m));
  for (int i = 0; i < 40; i++) {
    const Random seed{random() | 1};
    if (!EQUAL(step(m, seed), step(copy, seed))) return;
    EQUAL(m.cpu.interrupt_pending(), copy.cpu.interrupt_pending());
  }
  EXPECT(save(m) == save(copy));
}

}  // namespace

void irqchip_properties() {
  Random random{0x5eed0001};
  for (int run = 0; run < 60; run++) {
    Machine m;
    if (run & 1) m.enable_apic();
    for (int i = 0; i < 400; i++) {
      step(m, {random() | 1});
      if (i % 20 == 0) round_trip(m);
      if (i % 100 == 50) twins(m, random);
      if (!m.cpu.interrupt_pending()) EQUAL(m.take(), -1);  // no false negatives
    }
  }
}

}  // namespace colo::test
