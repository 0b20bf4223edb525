// Delivery through the IDT and the ways back: interrupts, exceptions, double faults, INT n, IRET,
// far transfers.
#include "test/system_fixture.h"

namespace colo::test {

namespace {

using F = SystemFixture;

void interrupt_in_ring0() {
  F m;
  Cpu& c = m.c;
  c.r[RSP] = 0x9ff3;  // delivery aligns
  c.set_flags(flag::IF | flag::CF | flag::TF | flag::NT);
  c.halted = true;
  EXPECT(deliver_interrupt(c, 0x40));
  EQUAL(c.rip, at::HANDLERS + 0x400);
  EQUAL(c.r[RSP], 0x9ff0 - 40);
  EQUAL(m.peek64(0x9fe8), sel::KERNEL_DATA);
  EQUAL(m.peek64(0x9fe0), 0x9ff3);
  EQUAL(m.peek64(0x9fd8), flag::IF | flag::CF | flag::TF | flag::NT | 2);
  EQUAL(m.peek64(0x9fd0), sel::KERNEL_CODE);
  EQUAL(m.peek64(0x9fc8), at::CODE);
  EQUAL(c.flags(), flag::CF | 2);
  EQUAL(c.seg[SS].selector, sel::KERNEL_DATA);
  EXPECT(!c.halted);
  EQUAL(engine.mode_changes, 1);  // only the reset's
}

void interrupt_from_ring3() {
  F m;
  Cpu& c = m.c;
  m.ring(3);
  c.rflags |= flag::IF;
  EXPECT(deliver_interrupt(c, 0x40));
  EQUAL(c.r[RSP], at::RSP0 - 40);
  EQUAL(m.peek64(at::RSP0 - 8), sel::USER_DATA | 3);
  EQUAL(m.peek64(at::RSP0 - 16), at::STACK);
  EQUAL(m.peek64(at::RSP0 - 32), sel::USER_CODE | 3);
  EQUAL(c.cpl, 0);
  EQUAL(c.seg[CS].selector, sel::KERNEL_CODE);
  EQUAL(c.seg[SS].selector, 0);
  EXPECT(c.seg[SS].unusable);
  EQUAL(c.seg[SS].dpl, 0);
  EXPECT(engine.mode_changes == 2);
}

void trap_gate_keeps_if_and_ist_switches() {
  F m;
  Cpu& c = m.c;
  m.gate(0x41, 0xffff800000001230, sel::KERNEL_CODE, 15, 0, 1);
  c.rflags |= flag::IF;
  EXPECT(deliver_interrupt(c, 0x41));
  EQUAL(c.rip, 0xffff800000001230);
  EXPECT(c.rflags & flag::IF);
  EQUAL(c.r[RSP], at::IST1 - 40);
  EQUAL(m.peek64(at::IST1 - 16), at::STACK);
}

void page_fault_has_cr2_error_and_rf() {
  F m;
  Cpu& c = m.c;
  c.fault_page(0x123456, 6);
  EXPECT(deliver_exception(c));
  EQUAL(c.cr2, 0x123456);
  EQUAL(m.peek64(c.r[RSP]), 6);
  EXPECT(m.peek64(c.r[RSP] + 24) & flag::RF);
  EXPECT(!(c.flags() & flag::RF));
  EXPECT(!c.pending.set);
}

void nested_faults() {
  {
    F m;  // contributory in contributory: double fault, error code 0
    m.gate(GP, at::HANDLERS, 0);
    m.c.raise(GP, 0x18);
    EXPECT(deliver_exception(m.c));
    EQUAL(m.c.rip, at::HANDLERS + 8 * 16);
    EQUAL(m.peek64(m.c.r[RSP]), 0);
  }
  {
    F m;  // page fault while a #GP is delivered: just a page fault
    m.gate(GP, at::HANDLERS, sel::KERNEL_CODE, 14, 0, 1);
    m.unmap(0x7000);
    m.c.raise(GP, 0x18);
    EXPECT(deliver_exception(m.c));
    EQUAL(m.c.rip, at::HANDLERS + 14 * 16);
    EQUAL(m.c.cr2, at::IST1 - 8);
    EQUAL(m.peek64(m.c.r[RSP]), 2);
  }
  {
    F m;  // page fault in page fault: double fault, CR2 of the second
    m.gate(PF, at::HANDLERS, sel::KERNEL_CODE, 14, 0, 1);
    m.unmap(0x7000);
    m.c.fault_page(0x1234, 0);
    EXPECT(deliver_exception(m.c));
    EQUAL(m.c.rip, at::HANDLERS + 8 * 16);
    EQUAL(m.c.cr2, at::IST1 - 8);
  }
  {
    F m;  // nothing to deliver a double fault with: shutdown
    m.c.idt.limit = 0;
    m.c.raise(UD);
    EXPECT(!deliver_exception(m.c));
    EXPECT(m.c.exit_reason == vcpu::RunResult::Shutdown);
    EXPECT(!m.c.pending.set);
  }
  {
    F m;  // a benign exception that meets a fault is replaced by it, marked external
    m.gate(UD, at::HANDLERS, sel::ABSENT);
    m.c.raise(UD);
    EXPECT(deliver_exception(m.c));
    EQUAL(m.c.rip, at::HANDLERS + 13 * 16);
    EQUAL(m.peek64(m.c.r[RSP]), sel::ABSENT | 1);
  }
}

void delivery_checks() {
  auto interrupt_faults = [](F& m, u8 vector, u32 error) {
    EXPECT(deliver_interrupt(m.c, 0x40));
    EQUAL(m.c.rip, at::HANDLERS + vector * 16);
    EQUAL(m.peek64(m.c.r[RSP]), error);
  };
  F limit, kind, absent, conforming32, ring3, rip, tss, rsp0;
  limit.c.idt.limit = 0x3ff;
  interrupt_faults(limit, GP, 0x40 * 8 + 3);
  kind.gate(0x40, 0, sel::KERNEL_CODE, 12);
  interrupt_faults(kind, GP, 0x40 * 8 + 3);
  absent.gate(0x40, 0);
  absent.poke64(at::IDT + 0x400, absent.peek64(at::IDT + 0x400) & ~(1ull << 47));
  interrupt_faults(absent, NP, 0x40 * 8 + 3);
  conforming32.gate(0x40, 0, sel::KERNEL32);
  interrupt_faults(conforming32, GP, sel::KERNEL32 | 1);
  ring3.gate(0x40, 0, sel::USER_CODE);
  interrupt_faults(ring3, GP, sel::USER_CODE | 1);
  rip.gate(0x40, 0x8000'0000'0000);
  interrupt_faults(rip, GP, 1);
  tss.ring(3), tss.c.tr.limit = 10,
               tss.gate(TS, at::HANDLERS + TS * 16, sel::KERNEL_CODE, 14, 0, 0);
  EXPECT(
      !deliver_interrupt(tss.c, 0x40));  // no TSS, no way into ring 0: #TS, double fault, shutdown
  rsp0.ring(3), rsp0.poke64(at::TSS + 4, 0x8000'0000'0000);
  EXPECT(!deliver_interrupt(rsp0.c, 0x40));
  EXPECT(rsp0.c.exit_reason == vcpu::RunResult::Shutdown);
}

void software_interrupts() {
  F m;
  Cpu& c = m.c;
  m.gate(BP, 0x20030, sel::KERNEL_CODE, 15, 3);
  m.ring(3);
  EXPECT(m.faults(m.run(0, 0xcd, {.imm = 0x40}), GP, 0x40 * 8 + 2));
  EQUAL(c.cpl, 3);
  EXPECT(m.run(0, 0xcc) == Step::Jump);
  EQUAL(m.peek64(at::RSP0 - 40), at::CODE + 4);
  EXPECT(!(m.peek64(at::RSP0 - 24) & flag::RF));
  m.ring(3);
  EXPECT(m.run(0, 0xf1) == Step::Jump);  // INT1 ignores DPL
  EQUAL(c.rip, at::HANDLERS + 16);
  EQUAL(m.peek64(at::RSP0 - 40), at::CODE + 4);
}

void push_iret_frame(F& m, u64 rip, u64 cs, u64 flags, u64 rsp, u64 ss) {
  const u64 frame[] = {rip, cs, flags, rsp, ss};
  for (int i = 0; i < 5; i++) m.poke64(at::DATA + i * 8, frame[i]);
  m.c.r[RSP] = at::DATA;
}

void iret_to_ring3_and_back() {
  F m;
  Cpu& c = m.c;
  c.seg[DS] = sys::flat_data(sel::KERNEL_DATA, 0);
  c.seg[ES] = sys::flat_data(sel::USER_DATA | 3, 3);
  c.seg[GS] = sys::flat_data(sel::KERNEL_DATA, 0);
  c.seg[GS].base = 0xffff888000001000;
  push_iret_frame(m, 0x401000, sel::USER_CODE | 3, flag::IF | flag::ZF | flag::RF | 2, 0x7ff0,
                  sel::USER_DATA | 3);
  EXPECT(m.run(0, 0xcf, {.rex = 0x48}) == Step::Jump);
  EQUAL(c.rip, 0x401000);
  EQUAL(c.cpl, 3);
  EQUAL(c.r[RSP], 0x7ff0);
  EQUAL(c.flags(), flag::IF | flag::ZF | 2);
  EXPECT(c.seg[DS].unusable && !c.seg[ES].unusable);
  EXPECT(c.seg[GS].unusable && c.seg[GS].base == 0xffff888000001000);
  // ring 3 may neither change IF nor IOPL
  push_iret_frame(m, 0x402000, sel::USER_CODE | 3, flag::IOPL | flag::CF | 2, 0x7fe0,
                  sel::USER_DATA | 3);
  EXPECT(m.run(0, 0xcf, {.rex = 0x48}) == Step::Jump);
  EQUAL(c.flags(), flag::IF | flag::CF | 2);
}

void iret_checks() {
  auto refused = [](auto prepare, u8 vector, u32 error) {
    F m;
    push_iret_frame(m, 0x1000, sel::KERNEL_CODE, 2, 0x9000, 0);
    prepare(m);
    const u64 rsp = m.c.r[RSP];
    EXPECT(m.faults(m.run(0, 0xcf, {.rex = 0x48}), vector, error));
    EQUAL(m.c.r[RSP], rsp);
    EQUAL(m.c.rip, at::CODE);
  };
  auto word = [](int i, u64 v) { return [=](F& m) { m.poke64(at::DATA + i * 8, v); }; };
  refused([](F& m) { m.c.rflags |= flag::NT; }, GP, 0);
  refused(word(1, 0), GP, 0);
  refused(word(1, 0x78 | 0x100), GP, 0x178);
  refused(word(1, sel::KERNEL_DATA), GP, sel::KERNEL_DATA);
  refused(word(1, sel::USER_CODE), GP, sel::USER_CODE);
  refused(word(0, 0x8000'0000'0000), GP, 0);
  refused(word(4, 3), GP, 0);
  refused(word(4, sel::USER_DATA | 3), GP, sel::USER_DATA);
  refused(word(4, sel::ABSENT), SS_, sel::ABSENT);
  refused([](F& m) { m.ring(3), m.c.r[RSP] = at::DATA; }, GP, sel::KERNEL_CODE);  // inward
  refused([](F& m) { m.poke64(at::DATA + 8, sel::USER_CODE | 3), m.poke64(at::DATA + 32, 3); }, GP,
          0);                              // NULL SS for ring 3
  refused(word(1, sel::KERNEL32), GP, 0);  // NULL SS for 32-bit code
  refused(word(1, sel::USER32 | 3), GP, 0);
  F ok;  // NULL SS for ring 0 is fine
  push_iret_frame(ok, 0x1000, sel::KERNEL_CODE, 2, 0x9000, 0);
  EXPECT(ok.run(0, 0xcf, {.rex = 0x48}) == Step::Jump);
  EXPECT(ok.c.seg[SS].unusable);
}

void far_transfers() {
  F m;
  Cpu& c = m.c;
  m.poke64(at::DATA, 0x5000), m.poke64(at::DATA + 8, sel::KERNEL_CODE);
  c.r[RSP] = at::DATA;
  EXPECT(m.run(0, 0xcb, {.rex = 0x48}) == Step::Jump);  // LRETQ
  EQUAL(c.rip, 0x5000);
  EQUAL(c.r[RSP], at::DATA + 16);
  const u64 outer[] = {0x5000, sel::USER_CODE | 3, 0xdead, 0x7000, sel::USER_DATA | 3};
  for (int i = 0; i < 5; i++) m.poke64(at::DATA + i * 8, outer[i]);
  c.r[RSP] = at::DATA;
  EXPECT(m.run(0, 0xca, {.rex = 0x48, .imm = 8}) == Step::Jump);
  EQUAL(c.cpl, 3);
  EQUAL(c.r[RSP], 0x7008);
  m.ring(0);
  m.poke64(at::DATA, 0x1234 | u64(sel::CONFORMING) << 32);
  EXPECT(m.run(0, 0xff, {.modrm = 0x1c, .size = 4}) == Step::Jump);  // CALL m16:32
  EQUAL(c.rip, 0x1234);
  EQUAL(m.peek64(at::STACK - 8), (at::CODE + 4) | u64(sel::KERNEL_CODE) << 32);
  EXPECT(m.faults(m.run(0, 0xff, {.modrm = 0x2c, .size = 4, .address = at::GDT}), GP, 0));
  m.poke64(at::DATA, 0x1234 | u64(sel::TSS) << 32);
  EXPECT(m.faults(m.run(0, 0xff, {.modrm = 0x2c, .size = 4}), GP, sel::TSS));
}

}  // namespace

void deliver_tests() {
  interrupt_in_ring0(), interrupt_from_ring3(), trap_gate_keeps_if_and_ist_switches(),
      page_fault_has_cr2_error_and_rf();
  nested_faults(), delivery_checks(), software_interrupts(), iret_to_ring3_and_back(),
      iret_checks(), far_transfers();
}

}  // namespace colo::test
