// Goal: each chip behaves as its datasheet says. Method: program it through ports and memory as a
// guest does, with a clock that only we move.
#include <thread>

#include "test/irqchip_fixture.h"

namespace colo::test {

void pit_behaviour();
void timer_limits();
void irqchip_properties();
void ipi_tests();

namespace {

// --- 8259A

void pic_priority_and_eoi() {
  Machine m;
  m.init_pics();
  EXPECT(!m.cpu.interrupt_pending());
  m.chip.set_irq(4, true);
  m.chip.set_irq(1, true);
  EXPECT(m.cpu.interrupt_pending());
  EQUAL(m.wakes, 1);
  EQUAL(m.take(), 0x31);                         // fixed priority: 1 before 4
  EQUAL(m.take(), -1);                           // 4 waits for the EOI of 1
  m.outb(0x20, 0x0b), EQUAL(m.inb(0x20), 0x02);  // ISR
  m.outb(0x20, 0x0a), EQUAL(m.inb(0x20), 0x10);  // IRR
  m.outb(0x20, 0x20);                            // non-specific EOI
  EQUAL(m.take(), 0x34);
  m.chip.set_irq(4, false), m.chip.set_irq(4, true);  // a second edge while in service
  EQUAL(m.take(), -1);
  m.outb(0x20, 0x64);  // specific EOI of 4
  EQUAL(m.take(), 0x34);
  m.outb(0x20, 0x20);
  m.chip.set_irq(4, false);
  m.outb(0x21, 0x10);  // mask 4
  m.pulse(4);
  EQUAL(m.take(), -1);
  m.outb(0x21, 0);
  EQUAL(m.take(), 0x34);
}

void pic_rotation() {
  Machine m;
  m.init_pics();
  m.outb(0x20, 0xc2);  // set priority: 2 is lowest, 3 highest
  m.pulse(0), m.pulse(3);
  EQUAL(m.take(), 0x33);
  m.outb(0x20, 0xa0);  // rotate on non-specific EOI: 3 becomes lowest
  m.pulse(3);
  EQUAL(m.take(), 0x30);
  m.outb(0x20, 0xe0);  // rotate on specific EOI of 0
  EQUAL(m.take(), 0x33);
  Machine a;
  a.init_pics(3);  // automatic EOI
  a.outb(0x20, 0x80);
  a.pulse(5), a.pulse(6);
  EQUAL(a.take(), 0x35);
  a.pulse(5);
  EQUAL(a.take(), 0x36);  // 5 has become the lowest
  EQUAL(a.take(), 0x35);
}

void pic_cascade_and_modes() {
  Machine m;
  m.init_pics();
  m.pulse(12), m.pulse(9);
  EQUAL(m.take(), 0x39);
  EQUAL(m.take(), -1);
  m.outb(0xa0, 0x20), m.outb(0x20, 0x20);
  EQUAL(m.take(), 0x3c);
  m.pulse(3);
  EQUAL(m.take(), -1);                     // 3 is below the cascade
  m.outb(0x21, 0x04), m.outb(0x20, 0x68);  // special mask mode lets lower levels through
  EQUAL(m.take(), 0x33);
  m.outb(0x20, 0x0c);  // poll: nothing
  EQUAL(m.inb(0x20), 0);
  m.pulse(0);
  m.outb(0x20, 0x0c);
  EQUAL(m.inb(0x20), 0x80);
}

void pic_level() {
  Machine m;
  m.init_pics();
  m.outb(0x4d0, 0xff), EQUAL(m.inb(0x4d0), 0xf8);  // 0..2 stay edge
  m.outb(0x4d1, 0xff), EQUAL(m.inb(0x4d1), 0xde);
  m.chip.set_irq(5, true);
  EQUAL(m.take(), 0x35);
  m.outb(0x20, 0x20);
  EQUAL(m.take(), 0x35);  // still asserted
  m.outb(0x20, 0x20);
  m.chip.set_irq(5, false);
  EXPECT(!m.cpu.interrupt_pending());
  EQUAL(m.take(), -1);
}

void pic_to_processor() {
  Machine m;
  m.init_pics();
  m.enable_apic();
  m.pulse(4);
  EXPECT(!m.cpu.interrupt_pending());  // LINT0 masked
  m.lapic(0x350, 0x700);
  EXPECT(m.cpu.interrupt_pending());
  m.cpu.set_cr8(15);  // ExtINT is not subject to the task priority
  EQUAL(m.take(), 0x34);
  m.outb(0x20, 0x20);
  m.lapic(0x350, 0x10000);
  EXPECT(m.cpu.set_apic_base(0xfee00100));  // APIC off: INTR is wired straight
  m.pulse(4);
  EQUAL(m.take(), 0x34);
}

void lint0_fixed() {
  Machine m;
  m.init_pics();
  m.enable_apic();
  m.lapic(0x350, 0x52);
  m.pulse(4);
  EQUAL(m.take(), 0x52);
  EQUAL(m.take(), -1);
}

// --- IOAPIC

void ioapic_registers() {
  Machine m;
  EQUAL(m.ioapic(1), 0x170011);
  EQUAL(m.ioapic(0x10), 0x10000);
  m.ioapic(0, 0x0f000000), EQUAL(m.ioapic(0), 0x0f000000);
  m.ioapic(0x12, 0xffffffff),
      EQUAL(m.ioapic(0x12), 0x1afff);  // remote IRR and delivery status are read-only
  m.ioapic(0x13, 0xffffffff), EQUAL(m.ioapic(0x13), 0xff000000);
  EQUAL(m.ioapic(0x40), 0);
}

void ioapic_edge() {
  Machine m;
  m.enable_apic();
  m.redirect(4, 0x10041);
  m.pulse(4);
  EQUAL(m.take(), -1);  // masked edges are ignored
  m.redirect(4, 0x41);
  EQUAL(m.take(), -1);
  m.chip.set_irq(4, true), m.chip.set_irq(4, true);
  EQUAL(m.take(), 0x41);
  m.eoi();
  EQUAL(m.take(), -1);
  m.redirect(2, 0x42);
  m.pulse(0);  // ISA IRQ 0 is pin 2
  EQUAL(m.take(), 0x42);
  m.eoi();
  m.redirect(5, 0x45, 7);  // nobody has ID 7
  m.pulse(5);
  EQUAL(m.take(), -1);
  m.lapic(0xd0, 0x04000000);  // flat logical destination
  m.redirect(5, 0x945, 0x0c);
  m.pulse(5);
  EQUAL(m.take(), 0x45);
}

void ioapic_level() {
  Machine m;
  m.enable_apic();
  m.redirect(10, 0x804a);
  m.chip.set_irq(10, true);
  EQUAL(m.ioapic(0x24), 0xc04a);  // remote IRR
  EQUAL(m.take(), 0x4a);
  EQUAL(m.lapic(0x180 + 0x20), 1 << 10);  // TMR
  m.eoi();
  EQUAL(m.take(), 0x4a);  // still asserted: sent again
  m.chip.set_irq(10, false);
  m.eoi();
  EQUAL(m.ioapic(0x24), 0x804a);
  EQUAL(m.take(), -1);
  m.redirect(10, 0x1804a);
  m.chip.set_irq(10, true);
  EQUAL(m.take(), -1);
  m.redirect(10, 0x804a);  // unmasking finds the level
  EQUAL(m.take(), 0x4a);
  m.redirect(10, 0x1004a), EQUAL(m.ioapic(0x24), 0x1004a);  // the driver's way to clear remote IRR
  m.eoi();
  m.lapic(0xf0, 0xff);  // APIC disabled by software: refused, offered again on enable
  m.redirect(10, 0x804a);
  EQUAL(m.take(), -1);
  m.lapic(0xf0, 0x1ff);
  EQUAL(m.take(), 0x4a);
}

// --- local APIC

void lapic_priority() {
  Machine m;
  m.enable_apic();
  EQUAL(m.lapic(0x30), 0x50014);
  m.chip.signal_msi(0xfee00000, 0x51);
  m.chip.signal_msi(0xfee00000, 0x92);
  EQUAL(m.take(), 0x92);
  EQUAL(m.lapic(0xa0), 0x90);
  m.chip.signal_msi(0xfee00000, 0x9f);
  EQUAL(m.take(), -1);  // same class
  m.chip.signal_msi(0xfee00000, 0xa0);
  EQUAL(m.take(), 0xa0);
  m.eoi(), EQUAL(m.lapic(0xa0), 0x90);
  m.eoi(), EQUAL(m.take(), 0x9f);
  m.eoi();
  m.lapic(0x80, 0x5f);
  EQUAL(m.cpu.cr8(), 5);
  EQUAL(m.lapic(0xa0), 0x5f);
  EXPECT(!m.cpu.interrupt_pending());
  const int wakes = m.wakes;
  m.cpu.set_cr8(4);
  EQUAL(m.wakes, wakes + 1);
  EQUAL(m.take(), 0x51);
}

void lapic_messages() {
  Machine m;
  m.chip.signal_msi(0xfee00000, 0x61);
  EQUAL(m.take(), -1);  // disabled by software
  m.enable_apic();
  m.chip.signal_msi(0xfee01000, 0x61), m.chip.signal_msi(0xfed00000, 0x61),
      m.chip.signal_msi(0xfee00000, 0x461);
  EQUAL(m.take(), -1);  // other ID; not an MSI address; NMI
  m.chip.signal_msi(0xfeeff000, 0x161);
  EQUAL(m.take(), 0x61);  // broadcast, lowest priority
  m.eoi();
  m.lapic(0xe0, 0), m.lapic(0xd0, 0x12000000);  // cluster 1, bit 1
  EQUAL(m.lapic(0xe0), 0x0fffffff);
  m.chip.signal_msi(0xfee23004, 0x62), EQUAL(m.take(), -1);
  m.chip.signal_msi(0xfee13004, 0x62), EQUAL(m.take(), 0x62);
}

void lapic_ipi() {
  Machine m;
  m.enable_apic();
  m.lapic(0x310, 0), m.lapic(0x300, 0x40f0);
  EQUAL(m.take(), 0xf0), m.eoi();
  m.lapic(0x300, 0x400f1);
  EQUAL(m.take(), 0xf1), m.eoi();
  m.lapic(0x300, 0x800f2), m.eoi();  // all including self
  EQUAL(m.take(), 0xf2), m.eoi();
  m.lapic(0x300, 0xc00f3);  // all but self
  m.lapic(0x310, 0x01000000), m.lapic(0x300, 0xf4);
  m.lapic(0x300, 0xc4500), m.lapic(0x300, 0xc4610);  // INIT, SIPI
  EQUAL(m.take(), -1);
  EQUAL(m.lapic(0x300), 0xc4610);
}

void lapic_errors() {
  Machine m;
  m.enable_apic();
  m.lapic(0x370, 0xfe);
  m.lapic(0x300, 0x40005);  // illegal vector
  EQUAL(m.take(), 0xfe);
  EQUAL(m.lapic(0x280), 0);
  m.lapic(0x280, 0), EQUAL(m.lapic(0x280), 0x20);
  m.lapic(0x280, 0), EQUAL(m.lapic(0x280), 0);
  m.eoi();
  m.lapic(0x3f8 & 0xff0, 0);  // self IPI register exists in x2APIC mode only
  m.lapic(0x040, 0);
  m.lapic(0x280, 0), EQUAL(m.lapic(0x280), 0x80);
  m.lapic(0xf0, 0xff);
  EQUAL(m.lapic(0x370), 0x100fe);  // software disable masks the LVTs
  m.lapic(0x370, 0xfe), EQUAL(m.lapic(0x370), 0x100fe);
}

void lapic_one_shot() {
  Machine m;
  m.enable_apic();
  m.clock.ns = 1600000;
  m.lapic(0x3e0, 3);  // divide by 16
  m.lapic(0x320, 0xec);
  m.lapic(0x380, 1000);
  EQUAL(m.chip.next_deadline_ns(), 1616000);
  m.advance(8000), EQUAL(m.lapic(0x390), 500);
  m.lapic(0x3e0, 0xb), EQUAL(m.lapic(0x390), 500);  // divide by 1: the count goes on, faster
  EQUAL(m.chip.next_deadline_ns(), 1608500);
  m.advance(499), EQUAL(m.take(), -1);
  m.advance(1), EQUAL(m.take(), 0xec), m.eoi();
  EQUAL(m.lapic(0x390), 0);
  EQUAL(m.chip.next_deadline_ns(), ~0ull);
  m.advance(1000000), EQUAL(m.take(), -1);
}

void lapic_periodic() {
  Machine m;
  m.enable_apic();
  m.lapic(0x3e0, 0xb);
  m.lapic(0x320, 0x200ec);
  m.lapic(0x380, 1000000);
  m.advance(1000000), EQUAL(m.take(), 0xec), m.eoi();
  m.advance(5300000), EQUAL(m.take(), 0xec), m.eoi();
  EQUAL(m.take(), -1);  // five periods, one interrupt
  EQUAL(m.lapic(0x390), 700000);
  m.lapic(0x320, 0x300ec), EQUAL(m.chip.next_deadline_ns(), ~0ull);  // masked
  m.advance(5000000), EQUAL(m.take(), -1);
  m.lapic(0x320, 0x200ec), m.lapic(0x380, 0);
  EQUAL(m.chip.next_deadline_ns(), ~0ull);
}

void lapic_tsc_deadline() {
  Machine m;
  m.enable_apic();
  m.cpu.set_tsc_deadline(5), EQUAL(m.cpu.tsc_deadline(), 0);  // ignored in other modes
  m.lapic(0x320, 0x400ec);
  m.lapic(0x380, 77), EQUAL(m.lapic(0x380), 0);
  m.cpu.set_tsc_offset(500);
  const u64 tsc = m.clock.ns + 500;
  m.cpu.set_tsc_deadline(tsc + 100);
  EQUAL(m.cpu.tsc_deadline(), tsc + 100);
  EQUAL(m.chip.next_deadline_ns(), m.clock.ns + 100);
  m.cpu.set_tsc_offset(450), EQUAL(m.chip.next_deadline_ns(), m.clock.ns + 150);
  m.advance(150), EQUAL(m.take(), 0xec), m.eoi();
  EQUAL(m.cpu.tsc_deadline(), 0);
  m.cpu.set_tsc_deadline(1), EQUAL(m.take(), 0xec), m.eoi();  // the past: at once
  m.cpu.set_tsc_deadline(~0ull),
      EXPECT(m.chip.next_deadline_ns() > ~0ull >> 1);  // never, not long ago
  m.cpu.set_tsc_deadline(m.clock.ns + 1000);
  m.lapic(0x320, 0xec), EQUAL(m.cpu.tsc_deadline(), 0);  // leaving the mode disarms
}

void lapic_x2apic() {
  Machine m;
  u64 v = 0;
  m.enable_apic();
  EXPECT(!m.cpu.x2apic_read(0x802, v));
  EXPECT(!m.cpu.set_apic_base(0xfee00500));
  EXPECT(m.cpu.set_apic_base(0xfee00d00));
  EXPECT(!m.cpu.set_apic_base(0xfee00900));  // not straight back to xAPIC
  EXPECT(!m.cpu.mmio_read(0xfee00020, 4, v));
  EXPECT(m.cpu.x2apic_read(0x80d, v)), EQUAL(v, 1);
  EXPECT(m.cpu.x2apic_read(0x80f, v)), EQUAL(v, 0x1ff);
  EXPECT(!m.cpu.x2apic_write(0x80d, 1) && !m.cpu.x2apic_read(0x80e, v) &&
         !m.cpu.x2apic_read(0x831, v) && !m.cpu.x2apic_read(0x80b, v));
  EXPECT(!m.cpu.x2apic_write(0x80b, 1) && !m.cpu.x2apic_write(0x808, 0x100) &&
         !m.cpu.x2apic_write(0x828, 1));
  EXPECT(m.cpu.x2apic_write(0x83f, 0x77)), EQUAL(m.take(), 0x77);
  EXPECT(m.cpu.x2apic_write(0x80b, 0));
  EXPECT(m.cpu.x2apic_write(0x830, 0x0000000000004078)), EQUAL(m.take(), 0x78);
  EXPECT(m.cpu.x2apic_write(0x80b, 0));
  EXPECT(m.cpu.x2apic_write(0x830, 0x0000000100004879)),
      EQUAL(m.take(), 0x79);  // logical: cluster 0, bit 0
  EXPECT(m.cpu.x2apic_write(0x80b, 0));
  EXPECT(m.cpu.x2apic_write(0x830, 0x000000050000407a)), EQUAL(m.take(), -1);
  EXPECT(m.cpu.x2apic_read(0x830, v)), EQUAL(v, 0x000000050000407a);
  EXPECT(m.cpu.set_apic_base(0xfee00100));
  EXPECT(!m.cpu.set_apic_base(0xfee00d00));  // disabled: xAPIC first
  EXPECT(m.cpu.set_apic_base(0xfee00900));
  EQUAL(m.lapic(0xf0), 0xff);
}

void lapic_relocated() {
  Machine m;
  u64 v = 0;
  EXPECT(m.cpu.set_apic_base(0xfed10900));
  EXPECT(!m.cpu.mmio_read(0xfee00030, 4, v));
  EXPECT(m.cpu.mmio_read(0xfed10030, 4, v)), EQUAL(v, 0x50014);
  EXPECT(m.cpu.mmio_read(0xfed10032, 1, v)), EQUAL(v, 0x05);
  EXPECT(!m.cpu.set_apic_base(0xfee00901));
  EXPECT(!m.cpu.set_apic_base(1ull << 60 | 0xfee00900));
}

// --- the whole

void refusals() {
  Machine m;
  const Image good = save(m);
  EXPECT(m.chip.check(good.chips).empty() && m.chip.check_lapic(good.lapic).empty());
  const auto refused = [&](auto spoil) {
    Image bad = good;
    spoil(bad);
    EXPECT(!m.chip.check(bad.chips).empty() || !m.chip.check_lapic(bad.lapic).empty());
  };
  refused([](Image& i) { i.chips.pic_master.chip_id = 1; });
  refused([](Image& i) { i.chips.pic_slave.chip.pic.irq_base = 0x3b; });
  refused([](Image& i) { i.chips.pic_master.chip.pic.elcr = 1; });
  refused([](Image& i) { i.chips.ioapic.chip.ioapic.irr = 1 << 24; });
  refused([](Image& i) { i.chips.ioapic.chip.ioapic.redirtbl[3].bits = 1 << 20; });
  refused([](Image& i) { i.chips.pit.channels[1].mode = 6; });
  refused([](Image& i) {
    i.chips.pit.channels[0].count_load_time = static_cast<i64>(i.chips.clock.clock) + 1;
  });
  refused([](Image& i) { i.lapic.regs[0x20] = 1; });
  refused([](Image& i) { i.lapic.regs[0x390] = 1; });
}

/// A machine resumed at another clock reading: what was left to wait is still left.
void rebased() {
  Machine m;
  m.enable_apic();
  m.outb(0x43, 0x34), m.outb(0x40, 0x9c), m.outb(0x40, 0x2e);
  m.outb(0x43, 0xb0), m.outb(0x42, 0xe8), m.outb(0x42, 3);
  m.outb(0x61, 1), m.advance(100000), m.outb(0x61, 0);
  m.lapic(0x3e0, 0xb), m.lapic(0x320, 0x200ec), m.lapic(0x380, 77000000);
  m.advance(3333333);
  Image image = save(m);
  Machine copy;
  copy.clock.ns = 987654321987;
  load(copy, image);
  EQUAL(copy.chip.next_deadline_ns() - copy.clock.ns, m.chip.next_deadline_ns() - m.clock.ns);
  copy.advance(1234567), m.advance(1234567);
  EQUAL(copy.lapic(0x390), m.lapic(0x390));
  for (Machine* each : {&m, &copy}) each->outb(0x61, 1), each->outb(0x43, 0x80);
  EQUAL(copy.inb(0x42) | copy.inb(0x42) << 8, m.inb(0x42) | m.inb(0x42) << 8);
}

/// Sanitizers look on: device threads, a timer thread and the vCPU at once.
void threads() {
  Machine m;
  m.enable_apic();
  m.redirect(10, 0x804a);
  m.lapic(0x3e0, 0xb), m.lapic(0x320, 0x200ec), m.lapic(0x380, 10000);
  std::atomic<int> running{2};
  std::thread device([&] {
    for (int i = 0; i < 20000; i++) m.chip.set_irq(10, i & 1), m.chip.signal_msi(0xfee00000, 0x61);
    running--;
  });
  std::thread timer([&] {
    for (int i = 0; i < 20000; i++) m.clock.ns += 100, m.chip.run_timers();
    running--;
  });
  int taken = 0;
  const auto look = [&] {
    if (m.cpu.interrupt_pending() && m.take() >= 0) taken++, m.cpu.mmio_write(0xfee000b0, 4, 0);
  };
  while (running) look();
  device.join(), timer.join();
  look();  // this thread may not have had a core before the others were done
  EXPECT(taken > 0);
}

}  // namespace
}  // namespace colo::test

int main() {
  using namespace colo::test;
  pic_priority_and_eoi(), pic_rotation(), pic_cascade_and_modes(), pic_level(), pic_to_processor(),
      lint0_fixed();
  ioapic_registers(), ioapic_edge(), ioapic_level();
  lapic_priority(), lapic_messages(), lapic_ipi(), lapic_errors(), lapic_one_shot(),
      lapic_periodic(), lapic_tsc_deadline(), lapic_x2apic(), lapic_relocated();
  pit_behaviour(), timer_limits();
  refusals(), rebased(), threads(), irqchip_properties(), ipi_tests();
  return summary();
}
