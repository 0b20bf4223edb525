// A machine of chips with a clock that the test moves.
#pragma once
#include <atomic>
#include <cstring>

#include "soft/chips/irqchip.h"
#include "test/expect.h"

namespace colo::test {

struct ManualClock final : vcpu::Clock {
  std::atomic<u64> ns{1000000};
  u64 now_ns() const override { return ns; }
};

struct Machine {
  ManualClock clock;
  int wakes = 0;
  soft::Irqchip chip{clock, {0}, [this](u32) { wakes++; }};
  soft::ChipPort& cpu = chip.port(0);

  void outb(u16 port, u8 value) { EXPECT(cpu.pio_write(port, 1, value)); }
  u8 inb(u16 port) {
    u32 value = 0;
    EXPECT(cpu.pio_read(port, 1, value));
    return static_cast<u8>(value);
  }
  void lapic(u32 offset, u32 value) { EXPECT(cpu.mmio_write(0xfee00000 + offset, 4, value)); }
  u32 lapic(u32 offset) {
    u64 value = 0;
    EXPECT(cpu.mmio_read(0xfee00000 + offset, 4, value));
    return static_cast<u32>(value);
  }
  void ioapic(u32 index, u32 value) {
    cpu.mmio_write(0xfec00000, 4, index);
    cpu.mmio_write(0xfec00010, 4, value);
  }
  u32 ioapic(u32 index) {
    u64 value = 0;
    cpu.mmio_write(0xfec00000, 4, index);
    cpu.mmio_read(0xfec00010, 4, value);
    return static_cast<u32>(value);
  }
  void redirect(u32 pin, u32 low, u32 dest = 0) {
    ioapic(0x11 + 2 * pin, dest << 24);
    ioapic(0x10 + 2 * pin, low);
  }
  int take() { return cpu.take_interrupt(); }
  void eoi() { lapic(0xb0, 0); }
  void advance(u64 ns) {
    clock.ns += ns;
    chip.run_timers();
  }
  /// The PC's usual programming: vectors 0x30 and 0x38, everything unmasked.
  void init_pics(u8 icw4 = 1) {
    outb(0x20, 0x11), outb(0x21, 0x30), outb(0x21, 4), outb(0x21, icw4), outb(0x21, 0);
    outb(0xa0, 0x11), outb(0xa1, 0x38), outb(0xa1, 2), outb(0xa1, icw4), outb(0xa1, 0);
  }
  /// LINT0 masked, so that only the APIC speaks.
  void enable_apic() { lapic(0xf0, 0x1ff), lapic(0x350, 0x10000); }
  void pulse(u32 gsi) { chip.set_irq(gsi, true), chip.set_irq(gsi, false); }
};

struct Image {
  vcpu::ChipState chips{};
  kvm_lapic_state lapic{};
  u64 base = 0, tsc_deadline = 0;
  bool operator==(const Image& o) const {
    return !std::memcmp(&chips, &o.chips, sizeof chips) &&
           !std::memcmp(&lapic, &o.lapic, sizeof lapic) && base == o.base &&
           tsc_deadline == o.tsc_deadline;
  }
};
inline Image save(Machine& m) {
  Image image;
  m.chip.save(image.chips);
  m.cpu.save_lapic(image.lapic);
  image.base = m.cpu.apic_base();
  image.tsc_deadline = m.cpu.tsc_deadline();
  return image;
}
inline void load(Machine& m, const Image& image) {
  m.cpu.load_lapic(image.lapic, {.base = image.base, .tsc_deadline = image.tsc_deadline});
  m.chip.load(image.chips);
}

}  // namespace colo::test
