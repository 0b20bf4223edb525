// The system half of the software CPU, function by function: fast system calls, flags, control
// registers, segments, ports. Each case sets up one situation from the manuals and looks at
// everything that the instruction may change.
#include "test/system_fixture.h"

namespace colo::test {

void deliver_tests();
void state_tests();
void xsave_tests();

namespace {

using F = SystemFixture;

void fast_calls() {
  F m;
  Cpu& c = m.c;
  c.msr.star = u64(sel::KERNEL_CODE) << 32 | u64(sel::USER32 | 3) << 48;
  c.msr.lstar = 0xffffffff81000000;
  c.msr.fmask = flag::IF | flag::TF | flag::AC;
  m.ring(3);
  c.set_flags(flag::IF | flag::AC | flag::CF | flag::RF);
  EXPECT(m.run(1, 0x05) == Step::Jump);
  EQUAL(c.rip, 0xffffffff81000000);
  EQUAL(c.r[RCX], at::CODE + 4);
  EQUAL(c.r[R11], flag::IF | flag::AC | flag::CF | 2);
  EQUAL(c.flags(), flag::CF | 2);
  EQUAL(c.cpl, 0);
  EQUAL(c.seg[CS].selector, sel::KERNEL_CODE);
  EQUAL(c.seg[SS].selector, sel::KERNEL_DATA);
  EQUAL(c.r[RSP], at::STACK);
  c.r[R11] |= flag::RF | flag::VM;
  EXPECT(m.run(1, 0x07, {.rex = 0x48}) == Step::Jump);
  EQUAL(c.rip, at::CODE + 4);
  EQUAL(c.flags(), flag::IF | flag::AC | flag::CF | 2);
  EQUAL(c.seg[CS].selector, sel::USER_CODE | 3);
  EQUAL(c.seg[SS].selector, sel::USER_DATA | 3);
  EXPECT(c.code64() && c.cpl == 3);
  EXPECT(m.faults(m.run(1, 0x07, {.rex = 0x48}), GP, 0));
  c.efer &= ~efer::SCE;
  EXPECT(m.faults(m.run(1, 0x05), UD));
  EXPECT(m.faults(m.run(1, 0x34), UD));
  EXPECT(m.faults(m.run(1, 0x01, {.modrm = 0xf8}), GP, 0));
  m.ring(0);
  c.seg[GS].base = 1, c.msr.kernel_gs_base = 2;
  EXPECT(m.run(1, 0x01, {.modrm = 0xf8}) == Step::Next);
  EXPECT(c.seg[GS].base == 2 && c.msr.kernel_gs_base == 1);
}

void interrupt_flag() {
  F m;
  Cpu& c = m.c;
  EXPECT(m.run(0, 0xfb) == Step::Jump);
  EXPECT(c.shadow && (c.rflags & flag::IF));
  c.shadow = false;
  m.run(0, 0xfb);
  EXPECT(!c.shadow);  // was open already
  EXPECT(m.run(0, 0x9c) == Step::Next);
  EQUAL(m.peek64(at::STACK - 8), flag::IF | 2);
  EXPECT(m.run(0, 0xfa) == Step::Next);
  EXPECT(!(c.rflags & flag::IF));
  c.rip = at::CODE;
  EXPECT(m.run(0, 0x9d) == Step::Jump);  // POPF opens: the block ends
  EQUAL(c.rip, at::CODE + 4);
  EQUAL(c.r[RSP], at::STACK);
  m.ring(3);
  m.poke64(at::DATA, flag::IOPL | flag::DF | flag::ID | flag::RF);
  c.r[RSP] = at::DATA;
  EXPECT(m.run(0, 0x9d) == Step::Next);  // silently keeps IF and IOPL
  EQUAL(c.flags(), flag::IF | flag::DF | flag::ID | 2);
  EXPECT(m.faults(m.run(0, 0xfa), GP, 0));
  EXPECT(m.faults(m.run(0, 0xfb), GP, 0));
  EXPECT(m.faults(m.run(0, 0xf4), GP, 0));
  c.rflags |= flag::IOPL;
  EXPECT(m.run(0, 0xfa) == Step::Next);
  m.ring(0);
  EXPECT(m.run(0, 0xf4) == Step::Exit);
  EXPECT(c.halted && c.exit_reason == vcpu::RunResult::Halted);
  EQUAL(c.rip, at::CODE + 4);
  c.r[RSP] = at::STACK;
  EXPECT(m.run(0, 0x9c, {.size = 2}) == Step::Next);
  EQUAL(c.r[RSP], at::STACK - 2);
}

Step mov_cr(F& m, u8 cr, u64 value) {
  m.c.r[RBX] = value;
  m.c.rip = at::CODE;
  return m.run(1, 0x22, {.modrm = u8(0xc3 | (cr & 7) << 3), .rex = u8(cr >= 8 ? 0x44 : 0)});
}

void control_registers() {
  F m;
  Cpu& c = m.c;
  const u64 cr0 = c.cr0, cr4 = c.cr4;
  engine = {};
  EXPECT(m.faults(mov_cr(m, 0, cr0 | 1ull << 32), GP, 0));
  EXPECT(m.faults(mov_cr(m, 0, cr0 & ~cr0::PE), GP, 0));
  EXPECT(m.faults(mov_cr(m, 0, cr0 | cr0::NW), GP, 0));
  EXPECT(m.faults(mov_cr(m, 0, cr0 & ~cr0::PG), GP, 0));  // in 64-bit code
  EXPECT(m.faults(mov_cr(m, 1, 0), UD));
  EXPECT(m.faults(mov_cr(m, 3, 1ull << 40), GP, 0));
  EXPECT(m.faults(mov_cr(m, 4, cr4 & ~cr4::PAE), GP, 0));
  EXPECT(m.faults(mov_cr(m, 4, cr4 | cr4::PCIDE), GP, 0));
  EXPECT(m.faults(mov_cr(m, 4, cr4 | cr4::OSXSAVE), GP, 0));
  EXPECT(m.faults(mov_cr(m, 8, 16), GP, 0));
  EXPECT(engine.full_flushes == 0 && engine.flushes == 0 && c.cr0 == cr0 && c.cr4 == cr4);
  EXPECT(m.ok(mov_cr(m, 3, at::PML4)));
  EXPECT(engine.flushes == 1 && engine.full_flushes == 0);
  EXPECT(m.ok(mov_cr(m, 4, cr4 ^ cr4::PGE)));
  EXPECT(m.ok(mov_cr(m, 0, cr0 ^ cr0::WP)));
  EQUAL(engine.full_flushes, 2);
  EXPECT(m.ok(mov_cr(m, 8, 5)));
  EXPECT(m.run(1, 0x20, {.modrm = 0xc0 | 2, .rex = 0x44}) == Step::Next);
  EQUAL(c.r[RDX], 5);
  m.ok(mov_cr(m, 0, cr0 | cr0::TS));
  EXPECT(m.ok(m.run(1, 0x06)));
  EXPECT(!(c.cr0 & cr0::TS));
  EXPECT(m.ok(m.run(1, 0x01, {.modrm = 0x3c, .address = 0x5123})));
  EQUAL(engine.flushed_page, 0x5123);
  m.ring(3);
  EXPECT(m.faults(mov_cr(m, 0, cr0), GP, 0));
  EXPECT(m.faults(m.run(1, 0x20), GP, 0));
  EXPECT(m.faults(m.run(1, 0x06), GP, 0));
  EXPECT(m.faults(m.run(1, 0x09), GP, 0));
  EXPECT(m.faults(m.run(1, 0x01, {.modrm = 0x3c}), GP, 0));
  EXPECT(m.run(1, 0x01, {.modrm = 0xe0, .size = 4}) == Step::Next);  // SMSW is for everyone
  EQUAL(c.r[RAX], u32(c.cr0));
}

/// CR4.PCIDE, bit 63 of CR3, and INVPCID: which calls drop what, and which are a #GP.
void process_contexts() {
  F m;
  Cpu& c = m.c;
  const auto invpcid = [&](u64 kind, u64 pcid, u64 va = 0x5000) {
    m.poke64(at::DATA, pcid), m.poke64(at::DATA + 8, va);
    c.r[RBX] = kind, c.rip = at::CODE;
    engine = {};
    return m.run(2, 0x82, {.modrm = 0x1c, .prefix = 0x66});
  };
  const auto drops = [&](u64 kind, u64 pcid, int all, int local, u64 page) {
    EXPECT(m.ok(invpcid(kind, pcid)) && c.rip == at::CODE + 4);
    EXPECT(engine.full_flushes == all && engine.flushes == local && engine.flushed_page == page);
  };
  constexpr u64 kNoFlush = 1ull << 63;
  EXPECT(m.faults(invpcid(2, 0), UD));
  vcpu::CpuModel tagged = vcpu::soft_v1();
  tagged.features.ecx1 |= vcpu::Features::PCID;
  tagged.features.ebx7 |= vcpu::Features::INVPCID;
  c.model = &tagged;
  drops(0, 0, 0, 0, 0x5000), drops(1, 0, 0, 1, 0), drops(2, 0, 1, 0, 0), drops(3, 0, 0, 1, 0);
  drops(2, 5, 1, 0, 0);
  for (const u64 kind : {0, 1}) EXPECT(m.faults(invpcid(kind, 5), GP, 0));
  EXPECT(m.faults(mov_cr(m, 3, at::PML4 | kNoFlush), GP, 0));
  EXPECT(m.ok(mov_cr(m, 3, at::PML4 | 5)));
  EXPECT(m.faults(mov_cr(m, 4, c.cr4 | cr4::PCIDE), GP, 0) && !(c.cr4 & cr4::PCIDE));
  EXPECT(m.ok(mov_cr(m, 3, at::PML4)) && m.ok(mov_cr(m, 4, c.cr4 | cr4::PCIDE)));
  engine = {};
  EXPECT(m.ok(mov_cr(m, 3, at::PML4 | 5 | kNoFlush)));
  EXPECT(c.cr3 == (at::PML4 | 5) && engine.flushes == 1);
  EXPECT(m.faults(mov_cr(m, 3, at::PML4 | 1ull << 62), GP, 0));
  drops(0, 5, 0, 0, 0x5000), drops(1, 5, 0, 1, 0), drops(0, 6, 0, 0, 0), drops(1, 6, 0, 0, 0);
  EXPECT(m.faults(invpcid(4, 5), GP, 0) && m.faults(invpcid(1ull << 32, 5), GP, 0));
  for (const u64 kind : {0, 1, 2, 3}) EXPECT(m.faults(invpcid(kind, 0x1005), GP, 0));
  EXPECT(m.faults(invpcid(0, 5, 1ull << 47), GP, 0) && m.ok(invpcid(1, 5, 1ull << 47)));
  c.r[RBX] = 2;
  EXPECT(m.faults(m.run(2, 0x82, {.modrm = 0x1c, .prefix = 0xf2}), UD));
  EXPECT(m.faults(m.run(2, 0x82, {.modrm = 0xd8, .prefix = 0x66}), UD));
  m.unmap(at::DATA);
  EXPECT(m.run(2, 0x82, {.modrm = 0x1c, .prefix = 0x66}) == Step::Fault && c.pending.vector == PF);
  c.seg[CS] = sys::flat_code(sel::KERNEL32, 0, false);
  EXPECT(m.faults(mov_cr(m, 0, c.cr0 & ~cr0::PG), GP, 0) && c.long_mode());
  engine = {};
  EXPECT(m.ok(mov_cr(m, 4, c.cr4 & ~cr4::PCIDE)) && engine.full_flushes == 1);
  EXPECT(m.ok(mov_cr(m, 3, at::PML4)) && m.ok(mov_cr(m, 0, c.cr0 & ~cr0::PG)));
  EXPECT(m.faults(mov_cr(m, 4, c.cr4 | cr4::PCIDE), GP, 0));  // not outside long mode
  m.ring(3);
  EXPECT(m.faults(m.run(2, 0x82, {.modrm = 0x1c, .prefix = 0x66}), GP, 0));
}

void into_long_mode() {
  F m;  // compatibility path of a 32-bit loader: PG with LME, PAE and a 32-bit CS switches LMA on
  Cpu& c = m.c;
  c.seg[CS] = sys::flat_code(sel::KERNEL32, 0, false);
  EXPECT(m.ok(mov_cr(m, 0, c.cr0 & ~cr0::PG)));
  EXPECT(!c.long_mode());
  c.cr4 &= ~cr4::PAE;
  EXPECT(m.faults(mov_cr(m, 0, c.cr0 | cr0::PG), GP, 0));
  c.cr4 |= cr4::PAE;
  EXPECT(m.ok(mov_cr(m, 0, c.cr0 | cr0::PG)));
  EXPECT(c.long_mode());
}

void debug_registers() {
  F m;
  Cpu& c = m.c;
  c.r[RBX] = 0xffffffff;
  EXPECT(m.ok(m.run(1, 0x23, {.modrm = 0xc3 | 7 << 3})));
  EQUAL(c.dr7, 0xffff27ff);
  EXPECT(m.faults(m.run(1, 0x21, {.modrm = 0xc3 | 6 << 3}), DB));  // GD
  EXPECT((c.dr6 & 0x2000) && !(c.dr7 & 0x2000));
  EXPECT(m.ok(m.run(1, 0x21, {.modrm = 0xc3 | 4 << 3})));  // DR4 = DR6 without CR4.DE
  EQUAL(c.r[RBX], c.dr6);
  c.cr4 |= cr4::DE;
  EXPECT(m.faults(m.run(1, 0x21, {.modrm = 0xc3 | 4 << 3}), UD));
  c.r[RBX] = 1ull << 32;
  EXPECT(m.faults(m.run(1, 0x23, {.modrm = 0xc3 | 6 << 3}), GP, 0));
  EXPECT(m.ok(m.run(1, 0x23, {.modrm = 0xc3 | 2 << 3})));
  EQUAL(c.dr[2], 1ull << 32);
}

Step mov_seg(F& m, SegReg which, u16 selector) {
  m.c.r[RAX] = selector;
  return m.run(0, 0x8e, {.modrm = u8(0xc0 | which << 3), .size = 4});
}

void segment_loads() {
  F m;
  Cpu& c = m.c;
  EXPECT(m.ok(mov_seg(m, DS, sel::USER_DATA | 3)));
  EXPECT(!c.seg[DS].unusable && c.seg[DS].limit == 0xffffffff);
  c.seg[GS].base = 77;
  EXPECT(m.ok(mov_seg(m, GS, 0)));
  EXPECT(c.seg[GS].unusable && c.seg[GS].base == 0);
  EXPECT(mov_seg(m, SS, 0) == Step::Jump && c.shadow);
  EXPECT(m.faults(mov_seg(m, SS, 3), GP, 0));
  EXPECT(m.faults(mov_seg(m, SS, sel::USER_DATA | 3), GP, sel::USER_DATA));
  EXPECT(m.faults(mov_seg(m, SS, sel::ABSENT), SS_, sel::ABSENT));
  EXPECT(m.faults(mov_seg(m, DS, sel::ABSENT), NP, sel::ABSENT));
  EXPECT(m.faults(mov_seg(m, DS, 0x80), GP, 0x80));
  EXPECT(m.faults(mov_seg(m, DS, sel::TSS), GP, sel::TSS));
  EXPECT(m.faults(mov_seg(m, CS, sel::KERNEL_CODE), UD));
  EXPECT(m.ok(mov_seg(m, ES, sel::NO_WRITE | 3)));
  EXPECT(m.faults(m.run(0, 0x8e, {.modrm = 0xf0}), UD));
  m.descriptor(sel::USER_DATA, 0x00cff2000000ffff);  // not accessed yet
  EXPECT(m.ok(mov_seg(m, DS, sel::USER_DATA | 3)));
  EQUAL(m.peek64(at::GDT + sel::USER_DATA), 0x00cff3000000ffff);
  c.r[RBX] = ~0ull;
  EXPECT(m.ok(m.run(0, 0x8c, {.modrm = 0xc0 | DS << 3 | RBX, .size = 4})));
  EQUAL(c.r[RBX], sel::USER_DATA | 3);
  m.ring(3);
  EXPECT(m.faults(mov_seg(m, DS, sel::KERNEL_DATA), GP, sel::KERNEL_DATA));
  EXPECT(m.faults(mov_seg(m, SS, 0), GP, 0));
  EXPECT(m.ok(m.run(1, 0xa0)));  // PUSH FS
  EQUAL(c.r[RSP], at::STACK - 8);
  EXPECT(m.ok(m.run(1, 0xa9)));  // POP GS
  EQUAL(c.r[RSP], at::STACK);
}

void system_segments() {
  F m;
  Cpu& c = m.c;
  c.r[RAX] = sel::TSS;
  EXPECT(m.ok(m.run(1, 0x00, {.modrm = 0xd8, .size = 4})));  // LTR
  EQUAL(m.peek64(at::GDT + sel::TSS) >> 40 & 15, 11);
  EQUAL(c.tr.base, at::TSS);
  EXPECT(m.faults(m.run(1, 0x00, {.modrm = 0xd8, .size = 4}), GP, sel::TSS));  // busy now
  c.r[RAX] = sel::LDT;
  EXPECT(m.ok(m.run(1, 0x00, {.modrm = 0xd0, .size = 4})));  // LLDT
  EQUAL(c.ldt.base, 0xffff800000004000);
  c.r[RBX] = ~0ull;
  EXPECT(m.ok(m.run(1, 0x00, {.modrm = 0xc3, .size = 4})));  // SLDT
  EQUAL(c.r[RBX], sel::LDT);
  c.r[RAX] = 0;
  EXPECT(m.ok(m.run(1, 0x00, {.modrm = 0xd0, .size = 4})));
  EXPECT(c.ldt.unusable);
  EXPECT(m.faults(m.run(1, 0x00, {.modrm = 0xd8, .size = 4}), GP, 0));
  EXPECT(m.faults(mov_seg(m, DS, 4), GP, 4));  // no LDT
  c.r[RAX] = sel::USER_CODE | 3;
  EXPECT(m.ok(m.run(1, 0x02, {.modrm = 0xd8, .size = 4})));  // LAR
  EQUAL(c.r[RBX], 0x00affb00 & 0x00f0ff00);
  EXPECT(c.flags() & flag::ZF);
  EXPECT(m.ok(m.run(1, 0x03, {.modrm = 0xd8, .size = 4})));  // LSL
  EQUAL(c.r[RBX], 0xffffffff);
  EXPECT(m.ok(m.run(1, 0x00, {.modrm = 0xe8, .size = 4})));  // VERW of code
  EXPECT(!(c.flags() & flag::ZF));
  EXPECT(m.ok(m.run(1, 0x00, {.modrm = 0xe0, .size = 4})));  // VERR
  EXPECT(c.flags() & flag::ZF);
  c.r[RAX] = 0x88;
  EXPECT(m.ok(m.run(1, 0x03, {.modrm = 0xd8, .size = 4})));
  EXPECT(!(c.flags() & flag::ZF) && !c.pending.set);
}

void table_registers() {
  F m;
  Cpu& c = m.c;
  const u8 image[10] = {0xff, 0x0f, 0, 0, 0, 0, 0, 0x80, 0xff, 0xff};
  memcpy(m.ram.hva(at::DATA, 10), image, 10);
  EXPECT(m.ok(m.run(1, 0x01, {.modrm = 0x1c})));  // LIDT
  EXPECT(c.idt.base == 0xffff800000000000 && c.idt.limit == 0xfff);
  EXPECT(m.ok(m.run(1, 0x01, {.modrm = 0x0c, .address = at::DATA + 32})));  // SIDT
  EXPECT(!memcmp(m.ram.hva(at::DATA + 32, 10), image, 10));
  m.ram.hva(at::DATA, 10)[9] = 0;
  EXPECT(m.faults(m.run(1, 0x01, {.modrm = 0x14}), GP, 0));
  m.ring(3);
  EXPECT(m.faults(m.run(1, 0x01, {.modrm = 0x14}), GP, 0));
}

void ports() {
  F m;
  Cpu& c = m.c;
  c.r[RAX] = 0x1122334455667788, c.r[RDX] = 0x501;
  EXPECT(m.ok(m.run(0, 0xee, {.size = 1})));
  EXPECT(m.ok(m.run(0, 0xef, {.size = 4})));
  EXPECT(m.ok(m.run(0, 0xe7, {.size = 2, .imm = i8(0xf4)})));
  EXPECT(m.bus.writes.size() == 3 && m.bus.writes[0].value == 0x88 &&
         m.bus.writes[1].value == 0x55667788);
  EXPECT(m.bus.writes[2].port == 0xf4 && m.bus.writes[2].size == 2 &&
         m.bus.writes[2].value == 0x7788);
  m.bus.next_read = 0xaabbccdd;
  EXPECT(m.ok(m.run(0, 0xec, {.size = 1})));
  EQUAL(c.r[RAX], 0x11223344556677dd);
  EXPECT(m.ok(m.run(0, 0xed, {.size = 4})));
  EQUAL(c.r[RAX], 0xaabbccdd);
  c.r[RDI] = at::DATA, c.r[RCX] = 3;
  EXPECT(m.ok(m.run(0, 0x6d, {.size = 2, .prefix = 0xf3})));
  EXPECT(c.r[RDI] == at::DATA + 6 && c.r[RCX] == 0);
  c.r[RCX] = 1000;
  c.rip = at::CODE;
  c.r[RSI] = at::DATA;
  EXPECT(m.run(0, 0x6e, {.size = 1, .prefix = 0xf3}) == Step::Jump);
  EXPECT(c.rip == at::CODE && c.r[RCX] == 1000 - 256);  // interruptible
  m.unmap(0xb000);
  const int reads = m.bus.reads;
  c.r[RDI] = 0xb000;
  EXPECT(m.run(0, 0x6c, {.size = 1}) == Step::Fault && c.pending.vector == PF);
  EQUAL(m.bus.reads, reads);
  m.ring(3);
  EXPECT(m.faults(m.run(0, 0xee, {.size = 1}), GP, 0));  // no bitmap
  c.tr.limit = 0x68 + 0x200;
  m.poke64(at::TSS + 0x60, u64(0x68) << 48);
  EXPECT(m.ok(m.run(0, 0xee, {.size = 1})));
  m.ram.hva(at::TSS, 1)[0x68 + 0x501 / 8] = 4;  // port 0x502
  EXPECT(m.ok(m.run(0, 0xee, {.size = 1})));
  EXPECT(m.faults(m.run(0, 0xef, {.size = 2}), GP, 0));
  c.r[RDX] = 0xffff;
  EXPECT(m.faults(m.run(0, 0xee, {.size = 1}), GP, 0));
}

void fpu_images() {
  F m;
  Cpu& c = m.c;
  for (int i = 0; i < 512; i++) c.fx.bytes[i] = u8(i * 7);
  const u32 mxcsr = 0x1f80, mask = 0xffff;
  memcpy(c.fx.bytes + 24, &mxcsr, 4);
  memcpy(c.fx.bytes + 28, &mask, 4);
  const FxState before = c.fx;
  memset(m.ram.hva(at::DATA, 512), 0xee, 512);
  EXPECT(m.ok(m.run(1, 0xae, {.modrm = 0x04, .rex = 0x48})));
  EXPECT(!memcmp(m.ram.hva(at::DATA, 416), before.bytes, 416));
  EQUAL(m.ram.hva(at::DATA, 512)[464], 0xee);  // the software's
  fx_reset(c.fx);
  EXPECT(m.ok(m.run(1, 0xae, {.modrm = 0x0c, .rex = 0x48})));
  EXPECT(!memcmp(c.fx.bytes, before.bytes, 416));
  EXPECT(m.faults(m.run(1, 0xae, {.modrm = 0x04, .address = at::DATA + 8}), GP, 0));
  m.poke64(at::DATA + 24, 0x10000);
  EXPECT(m.faults(m.run(1, 0xae, {.modrm = 0x0c}), GP, 0));
  EXPECT(m.faults(m.run(1, 0xae, {.modrm = 0x14, .address = at::DATA + 24}), GP, 0));
  c.cr0 |= cr0::TS;
  EXPECT(m.faults(m.run(1, 0xae, {.modrm = 0x04}), NM));
  EXPECT(m.faults(m.run(1, 0xae, {.modrm = 0x1c}), NM));
  c.cr4 &= ~cr4::OSFXSR;
  EXPECT(m.faults(m.run(1, 0xae, {.modrm = 0x1c}), UD));
  EXPECT(m.faults(m.run(1, 0xae, {.modrm = 0xc0, .prefix = 0xf3}), UD));  // RDFSBASE
  EXPECT(m.faults(m.run(1, 0xae, {.modrm = 0x24}), UD));                  // XSAVE
}

void refused_instructions() {
  F m;
  for (u8 modrm : {0xc8, 0xc9, 0xd0, 0xd1, 0xca, 0xcb, 0xd8, 0xdc})
    EXPECT(m.faults(m.run(1, 0x01, {.modrm = modrm}), UD));
  EXPECT(m.faults(m.run(1, 0x0b), UD));
  EXPECT(m.faults(m.run(1, 0x33), GP, 0));
  EXPECT(m.faults(m.run(0, 0xce), UD));
  EXPECT(m.ok(m.run(1, 0x01, {.modrm = 0xd9})));
  EQUAL(m.c.r[RAX], -1000);
}

}  // namespace
}  // namespace colo::test

int main() {
  using namespace colo::test;
  deliver_tests();
  fast_calls(), interrupt_flag(), control_registers(), process_contexts(), into_long_mode(),
      debug_registers(), segment_loads(), system_segments(), table_registers();
  ports(), fpu_images(), refused_instructions();
  state_tests();
  xsave_tests();
  return summary();
}
