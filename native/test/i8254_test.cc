// Goal: the 8254 counts, interrupts and reads back as its datasheet says, and port 0x61 gates and
// reads channel 2.
#include "test/irqchip_fixture.h"

namespace colo::test {
namespace {

void pit_mode2_interrupts() {
  Machine m;
  m.init_pics();
  EQUAL(m.chip.next_deadline_ns(), ~0ull);
  m.outb(0x43, 0x34), m.outb(0x40, 0x9c), m.outb(0x40, 0x2e);  // 11932: 100 Hz
  const u64 start = m.clock.ns;
  EQUAL(m.chip.next_deadline_ns() - start, 10000151);  // ceil(11932 / 1.193182 MHz)
  m.advance(10000150), EQUAL(m.take(), -1);
  m.advance(1), EQUAL(m.take(), 0x30);
  m.outb(0x20, 0x20);
  m.advance(55000000), EQUAL(m.take(), 0x30);  // five ticks merged
  m.outb(0x20, 0x20), EQUAL(m.take(), -1);
  EQUAL(m.chip.next_deadline_ns() - start, 70001056);  // the phase is kept: 7 periods
  m.outb(0x43, 0x30);                                  // a control word stops it
  EQUAL(m.chip.next_deadline_ns(), ~0ull);
}

void pit_mode0() {
  Machine m;
  m.init_pics();
  m.outb(0x43, 0x30), m.outb(0x40, 0xe8), m.outb(0x40, 3);  // 1000
  m.advance(500 * 1000000000ull / 1193182 + 1);
  m.outb(0x43, 0xe2);  // read-back: status of channel 0
  EQUAL(m.inb(0x40), 0x30);
  m.outb(0x43, 0x00);  // latch
  m.advance(100000);
  EQUAL(m.inb(0x40) | m.inb(0x40) << 8, 500);
  m.advance(1000000), EQUAL(m.take(), 0x30);
  m.outb(0x43, 0xe2), EQUAL(m.inb(0x40), 0xb0);  // OUT high
  m.outb(0x20, 0x20);
  m.advance(1000000000), EQUAL(m.take(), -1);
  m.outb(0x43, 0x30), m.outb(0x43, 0xe2), EQUAL(m.inb(0x40), 0x70);  // null count, OUT low
}

void pit_mode3_and_read_back() {
  Machine m;
  m.outb(0x43, 0xb6), m.outb(0x42, 100), m.outb(0x42, 0);
  m.outb(0x61, 1);  // the gate's rise starts it
  m.advance(10 * 1000000000ull / 1193182 + 1);
  m.outb(0x43, 0xc8);  // status and count of channel 2
  EQUAL(m.inb(0x42), 0xb6);
  EQUAL(m.inb(0x42) | m.inb(0x42) << 8, 80);  // counts by two
  EXPECT(m.inb(0x61) & 0x20);
  m.advance(50 * 1000000000ull / 1193182);
  EXPECT(!(m.inb(0x61) & 0x20));
  m.outb(0x61, 2), EQUAL(m.inb(0x61) & 0x23, 0x22);  // gate low: OUT high
}

void pit_gate_and_one_shot() {
  Machine m;
  m.outb(0x43, 0xb0), m.outb(0x42, 0xe8), m.outb(0x42, 3);  // mode 0, gate low: waits
  m.advance(50000000), EXPECT(!(m.inb(0x61) & 0x20));
  m.outb(0x61, 1), m.advance(500000), m.outb(0x61, 0);
  m.advance(50000000), EXPECT(!(m.inb(0x61) & 0x20));
  m.outb(0x61, 1), m.advance(400000), EXPECT(m.inb(0x61) & 0x20);
  m.outb(0x61, 0);
  m.outb(0x43, 0xb2), m.outb(0x42, 0xe8), m.outb(0x42, 3);  // mode 1
  EXPECT(m.inb(0x61) & 0x20);
  m.outb(0x61, 1), EXPECT(!(m.inb(0x61) & 0x20));
  m.advance(900000), EXPECT(m.inb(0x61) & 0x20);
  m.outb(0x43, 0x91), m.outb(0x42, 0x50);  // BCD, low byte: 50
  m.advance(10 * 1000000000ull / 1193182 + 1);
  m.outb(0x43, 0x80), EQUAL(m.inb(0x42), 0x40);
}

}  // namespace

void pit_behaviour() {
  pit_mode2_interrupts(), pit_mode0(), pit_mode3_and_read_back(), pit_gate_and_one_shot();
}

}  // namespace colo::test
