// Goal: what one local APIC sends reaches those that it addresses, in each way that an ICR has, and
// no other; and a state is loaded into all of them as into one. Method: three APICs on one chip,
// registers written as their processors would (Intel SDM vol. 3, 11.6).
#include "test/irqchip_fixture.h"

namespace colo::test {
namespace {

constexpr u32 kCpus = 3;
constexpr u32 kFixed = 0, kLowest = 0x100, kNmi = 0x400, kInit = 0x500, kSipi = 0x600;
constexpr u32 kAssert = 0x4000, kLogical = 0x800;
constexpr u32 kSelf = 1 << 18, kAll = 2 << 18, kOthers = 3 << 18;

struct Apics {
  ManualClock clock;
  soft::Irqchip chip{clock, {0, 1, 2}, [](u32) {}};

  Apics() {
    for (u32 i = 0; i < kCpus; i++) {
      write(i, 0xf0, 0x1ff), write(i, 0x350, 0x10000);
      write(i, 0xe0, ~0u), write(i, 0xd0, 1u << (24 + i));  // flat, a bit for each
    }
  }
  soft::ChipPort& port(u32 i) { return chip.port(i); }
  void write(u32 i, u32 offset, u32 value) {
    EXPECT(port(i).mmio_write(0xfee00000 + offset, 4, value));
  }
  u32 read(u32 i, u32 offset) {
    u64 value = 0;
    EXPECT(port(i).mmio_read(0xfee00000 + offset, 4, value));
    return static_cast<u32>(value);
  }
  void send(u32 from, u32 command, u32 dest = 0) {
    write(from, 0x310, dest << 24), write(from, 0x300, command | kAssert);
  }
  /// Who has this interrupt now, as a set; it is ended.
  u32 got(u8 vector) {
    u32 set = 0;
    for (u32 i = 0; i < kCpus; i++) {
      if (port(i).take_interrupt() != vector) continue;
      set |= 1u << i;
      write(i, 0xb0, 0);
    }
    return set;
  }
  /// Who has been told this, as a set; it is taken.
  u32 told(u32 which) {
    u32 set = 0;
    for (u32 i = 0; i < kCpus; i++) {
      if (!(port(i).signals() & which)) continue;
      set |= 1u << i;
      port(i).take_signal(which);
    }
    return set;
  }
  void x2apic(u32 i) { EXPECT(port(i).set_apic_base(0xfee00c00 | (i ? 0 : 0x100))); }
};

void fixed_to_a_destination() {
  Apics m;
  m.send(0, kFixed | 0x41, 2), EQUAL(m.got(0x41), 4);
  m.send(2, kFixed | 0x42, 0), EQUAL(m.got(0x42), 1);
  m.send(1, kFixed | 0x43, 1), EQUAL(m.got(0x43), 2);
  m.send(1, kFixed | 0x44, 7), EQUAL(m.got(0x44), 0);
  m.send(1, kFixed | 0x45, 0xff), EQUAL(m.got(0x45), 7);  // physical broadcast, itself included
  m.send(0, kFixed | kLogical | 0x46, 6), EQUAL(m.got(0x46), 6);
  m.send(0, kFixed | kLogical | 0x47, 0xf8), EQUAL(m.got(0x47), 0);
  EQUAL(m.read(0, 0x280), 0);
}

void fixed_to_a_cluster() {
  Apics m;
  for (u32 i = 0; i < kCpus; i++) m.write(i, 0xe0, 0x0fffffff);
  m.write(0, 0xd0, 0x11u << 24), m.write(1, 0xd0, 0x12u << 24), m.write(2, 0xd0, 0x21u << 24);
  m.send(2, kFixed | kLogical | 0x41, 0x13), EQUAL(m.got(0x41), 3);
  m.send(0, kFixed | kLogical | 0x42, 0x23), EQUAL(m.got(0x42), 4);
  m.send(0, kFixed | kLogical | 0x43, 0xf1), EQUAL(m.got(0x43), 5);  // of every cluster
}

void fixed_by_shorthand() {
  Apics m;
  m.send(1, kFixed | kSelf | 0x41, 2), EQUAL(m.got(0x41), 2);
  m.send(1, kFixed | kAll | 0x42), EQUAL(m.got(0x42), 7);
  m.send(1, kFixed | kOthers | 0x43), EQUAL(m.got(0x43), 5);
  m.send(1, kFixed | kAll | 0x0f), EQUAL(m.got(0x0f), 0);  // no such vector
  m.write(1, 0x280, 0), EQUAL(m.read(1, 0x280), 1 << 5);
}

/// It goes to the one whose processor has the least to do; one that is switched off does not count.
void lowest_priority() {
  Apics m;
  m.write(0, 0x80, 0x30), m.write(1, 0x80, 0x20), m.write(2, 0x80, 0x30);
  m.send(0, kLowest | kLogical | 0x41, 7), EQUAL(m.got(0x41), 2);
  m.write(2, 0x80, 0x10);
  m.send(0, kLowest | kLogical | 0x42, 7), EQUAL(m.got(0x42), 4);
  m.send(0, kLowest | kLogical | 0x43, 3), EQUAL(m.got(0x43), 2);  // 2 is not addressed
  m.send(0, kFixed | 0x71, 2);
  EQUAL(m.port(2).take_interrupt(), 0x71);  // in service: now it is the busiest
  m.send(0, kLowest | kLogical | 0x44, 7), EQUAL(m.got(0x44), 2);
  m.write(1, 0xf0, 0xff);
  m.send(1, kLowest | kLogical | 0x45, 3), EQUAL(m.got(0x45), 1);
}

void x2apic_destinations() {
  Apics m;
  for (u32 i = 0; i < kCpus; i++) m.x2apic(i);
  auto send = [&](u32 from, u64 dest, u32 command) {
    EXPECT(m.port(from).x2apic_write(0x830, dest << 32 | command));
  };
  auto got = [&](u8 vector) {
    u32 set = 0;
    for (u32 i = 0; i < kCpus; i++) {
      if (m.port(i).take_interrupt() != vector) continue;
      set |= 1u << i;
      EXPECT(m.port(i).x2apic_write(0x80b, 0));
    }
    return set;
  };
  send(0, 2, 0x41), EQUAL(got(0x41), 4);
  send(0, ~0u, 0x42), EQUAL(got(0x42), 7);
  send(0, 0x102, 0x43), EQUAL(got(0x43), 0);  // all 32 bits count
  send(0, 6, kLogical | 0x44), EQUAL(got(0x44), 6);
  send(0, 0x10006, kLogical | 0x45), EQUAL(got(0x45), 0);
  EXPECT(m.port(1).x2apic_write(0x83f, 0x46)), EQUAL(got(0x46), 2);
  send(2, 0, kNmi | kOthers), EQUAL(m.told(soft::signal::NMI), 3);
}

void nmi_init_and_startup() {
  using namespace soft;
  Apics m;
  m.send(0, kNmi, 1), EQUAL(m.told(signal::NMI), 2);
  m.send(0, kNmi | kOthers), EQUAL(m.told(signal::NMI), 6);
  m.send(0, kNmi | kSelf), EQUAL(m.told(signal::NMI), 0);
  m.write(1, 0xf0, 0xff);  // switched off by software: it takes them all the same
  m.send(0, kFixed | kAll | 0x41), EQUAL(m.got(0x41), 5);
  m.send(0, kNmi | kOthers), EQUAL(m.told(signal::NMI), 6);
  m.send(0, kInit | kOthers);
  m.send(0, kSipi | kOthers | 0x9a);
  EQUAL(m.told(signal::INIT), 6);
  EQUAL(m.port(1).take_signal(signal::SIPI), 0x9a),
      EQUAL(m.port(2).take_signal(signal::SIPI), 0x9a);
  m.send(0, kSipi | 0x9b, 2), m.send(0, kInit, 2);  // the start that has not begun is void
  EQUAL(m.told(signal::SIPI), 0), EQUAL(m.told(signal::INIT), 4);
  m.send(0, kNmi | kOthers), m.send(0, kInit, 1);
  m.port(1).take_signal(signal::INIT), m.port(1).init();  // an NMI from before it, too
  EQUAL(m.told(signal::NMI), 4);
  EXPECT(m.port(1).set_apic_base(0xfee00000));  // off for good: deaf to all of them
  m.send(0, kInit | kOthers), EQUAL(m.told(signal::INIT), 4);
}

/// The PIT of the old state comes due meanwhile, and would interrupt one that has its new state.
void loading_fires_no_timer() {
  Apics m;
  soft::ChipPort& cpu = m.port(0);
  kvm_lapic_state images[kCpus];
  for (u32 i = 0; i < kCpus; i++) m.port(i).save_lapic(images[i]);
  cpu.mmio_write(0xfec00000, 4, 0x15), cpu.mmio_write(0xfec00010, 4, 2u << 24);
  cpu.mmio_write(0xfec00000, 4, 0x14), cpu.mmio_write(0xfec00010, 4, 0x50);
  vcpu::ChipState chips;
  m.chip.save(chips);
  cpu.pio_write(0x43, 1, 0x34), cpu.pio_write(0x40, 1, 0xff), cpu.pio_write(0x40, 1, 0);
  for (u32 i = kCpus; i-- > 0; m.clock.ns += 10'000'000) {
    m.port(i).load_lapic(images[i], {.base = 0xfee00800u | (i ? 0 : 0x100)});
    EXPECT(!m.port(2).interrupt_pending());
  }
  m.chip.load(chips);
  EXPECT(!m.port(2).interrupt_pending());
  EQUAL(m.got(0x50), 0);
}

}  // namespace

void ipi_tests() {
  fixed_to_a_destination(), fixed_to_a_cluster(), fixed_by_shorthand(), lowest_priority();
  x2apic_destinations(), nmi_init_and_startup(), loading_fires_no_timer();
}

}  // namespace colo::test
