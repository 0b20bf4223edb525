// A vCPU in 64-bit mode over 2 MB of identity-mapped RAM with a GDT, an IDT, a TSS and stacks at
// fixed places, and a way to run one system function at a time.
#pragma once
#include <cstring>
#include <vector>

#include "soft/system/system.h"
#include "test/expect.h"

namespace colo::test {

using namespace soft;

struct EngineCalls {
  int full_flushes = 0, flushes = 0, mode_changes = 0;
  u64 flushed_page = 0;
};
inline EngineCalls engine;

struct TestClock final : vcpu::Clock {
  u64 ns = 5000;
  u64 now_ns() const override { return ns; }
};

struct TestBus final : vcpu::Bus {
  struct Access {
    u16 port;
    u8 size;
    u32 value;
  };
  std::vector<Access> writes;
  u32 next_read = 0;
  int reads = 0;
  u32 pio_read(u16, u8) override { return reads++, next_read; }
  void pio_write(u16 port, u8 size, u32 value) override { writes.push_back({port, size, value}); }
  u64 mmio_read(u64, u8) override { return 0; }
  void mmio_write(u64, u8, u64) override {}
};

namespace at {
constexpr u64 GDT = 0x1000, IDT = 0x2000, TSS = 0x3000, RSP0 = 0x6000, IST1 = 0x8000,
              STACK = 0x9ff8, DATA = 0xa000, HANDLERS = 0x20000, CODE = 0x30000, PML4 = 0x10000,
              PT = 0x13000;
}
namespace sel {  // of the fixture's GDT
constexpr u16 KERNEL_CODE = 0x08, KERNEL_DATA = 0x10, USER32 = 0x18, USER_DATA = 0x20,
              USER_CODE = 0x28, TSS = 0x30, LDT = 0x40, ABSENT = 0x50, CONFORMING = 0x58,
              KERNEL32 = 0x60, NO_WRITE = 0x68;
}

/// What an operation looks like to a Slow function.
struct Form {
  u8 modrm = 0xc0;
  u8 size = 8;
  u8 prefix = 0;
  u8 rex = 0;
  i64 imm = 0;
  u64 address = at::DATA;  // when modrm says memory
};

struct SystemFixture {
  memory::GuestRam ram{4 << 20};
  TestClock clock;
  int wakes = 0;
  Irqchip chip{clock, {0}, [this](u32) { wakes++; }};
  TestBus bus;
  std::unique_ptr<Cpu> owner = std::make_unique<Cpu>();
  Cpu& c = *owner;

  SystemFixture() {
    engine = {};
    c.ram = &ram, c.map = ram.map();
    c.clock = &clock;
    c.chip = &chip.port(0);
    c.bus = &bus;
    reset_state(c);
    build_tables();
    enter_long_mode();
  }

  void poke64(u64 gpa, u64 value) { memcpy(ram.hva(gpa, 8), &value, 8); }
  u64 peek64(u64 gpa) {
    u64 v;
    memcpy(&v, ram.hva(gpa, 8), 8);
    return v;
  }
  u32 peek32(u64 gpa) { return static_cast<u32>(peek64(gpa)); }

  void map(u64 va, u64 bits) { poke64(at::PT + (va >> 12) * 8, (va & ~0xfffull) | bits); }
  void unmap(u64 va) { poke64(at::PT + (va >> 12) * 8, 0); }
  void descriptor(u16 selector, u64 value) { poke64(at::GDT + selector, value); }
  void gate(u8 vector, u64 target, u16 selector = sel::KERNEL_CODE, u8 type = 14, u8 dpl = 0,
            u8 ist = 0) {
    const u64 low = (target & 0xffff) | u64(selector) << 16 | u64(ist) << 32 |
                    u64(0x80 | dpl << 5 | type) << 40 | (target >> 16 & 0xffff) << 48;
    poke64(at::IDT + vector * 16, low);
    poke64(at::IDT + vector * 16 + 8, target >> 32);
  }

  void build_tables() {
    for (u64 level = 0; level < 3; level++)
      poke64(at::PML4 + level * 0x1000, (at::PML4 + (level + 1) * 0x1000) | 7);
    for (u64 page = 0; page < 512; page++) map(page << 12, 7);
    descriptor(sel::KERNEL_CODE, 0x00af9b000000ffff);
    descriptor(sel::KERNEL_DATA, 0x00cf93000000ffff);
    descriptor(sel::USER32, 0x00cffb000000ffff);
    descriptor(sel::USER_DATA, 0x00cff3000000ffff);
    descriptor(sel::USER_CODE, 0x00affb000000ffff);
    descriptor(sel::TSS, 0x0000890030000067 | 0x3000ull << 16);
    descriptor(sel::TSS + 8, 0);
    descriptor(sel::LDT, 0x000082004000000f | 0x4000ull << 16);
    descriptor(sel::LDT + 8, 0xffff8000);
    descriptor(sel::ABSENT, 0x00cf13000000ffff);
    descriptor(sel::CONFORMING, 0x00af9f000000ffff);
    descriptor(sel::KERNEL32, 0x00cf9b000000ffff);
    descriptor(sel::NO_WRITE, 0x00cff1000000ffff);
    poke64(at::TSS + 4, at::RSP0);
    poke64(at::TSS + 0x24, at::IST1);
    for (int v = 0; v < 256; v++) gate(v, at::HANDLERS + v * 16);
  }

  void enter_long_mode() {
    c.cr0 = cr0::PE | cr0::PG | cr0::WP | cr0::ET | cr0::NE;
    c.cr3 = at::PML4;
    c.cr4 = cr4::PAE | cr4::PGE | cr4::OSFXSR | cr4::OSXMMEXCPT;
    c.efer = efer::LME | efer::LMA | efer::SCE | efer::NXE;
    c.gdt.base = at::GDT, c.gdt.limit = 0x7f;
    c.idt.base = at::IDT, c.idt.limit = 0xfff;
    c.tr = {};
    c.tr.base = at::TSS, c.tr.limit = 0x67, c.tr.selector = sel::TSS, c.tr.type = 11,
    c.tr.present = 1;
    c.ldt = sys::null_segment(0, 0);
    ring(0);
    for (SegReg s : {ES, DS, FS, GS}) c.seg[s] = sys::null_segment(0, 0);
  }

  /// 64-bit code at this privilege, as after SYSRET or SYSCALL.
  void ring(u8 cpl) {
    c.seg[CS] = sys::flat_code(cpl ? sel::USER_CODE | 3 : sel::KERNEL_CODE, cpl, true);
    c.seg[SS] = sys::flat_data(cpl ? sel::USER_DATA | 3 : sel::KERNEL_DATA, cpl);
    c.cpl = cpl;
    c.mode = c.mode_bits();
    c.rip_mask = ~0ull;
    c.rip = at::CODE;
    c.r[RSP] = at::STACK;
    c.pending = {};
  }

  /// Runs one instruction of 4 bytes at c.rip. Without a Slow function it is #UD, as the decoder
  /// makes it.
  Step run(u8 map, u8 opcode, Form f = {}) {
    const SlowInsn insn = system_insn(map, opcode, f.modrm, f.prefix, f.rex);
    if (!insn.fn) return c.raise(UD);
    Op o = {};
    o.len = 4;
    o.d = ((f.modrm & 7) | (f.rex & 1) << 3) * 8;
    o.s = ((f.modrm >> 3 & 7) | (f.rex & 4) << 1) * 8;
    o.b = o.x = REG_ZERO * 8;
    o.disp = static_cast<i32>(f.address);
    o.imm = f.imm;
    if (map == 0 && opcode >= 0x6c && opcode <= 0x6f) o.scale = 8, o.disp = DS;
    o.extra = f.size | f.modrm << 8 | f.prefix << 16 | static_cast<u32>(f.rex) << 24;
    return insn.fn(c, o);
  }
  bool ok(Step s) { return s == Step::Next || s == Step::Jump; }
  bool faults(Step s, u8 vector, u32 error) {
    return s == Step::Fault && c.pending.set && c.pending.vector == vector && c.pending.has_error &&
           c.pending.error == error;
  }
  bool faults(Step s, u8 vector) {
    return s == Step::Fault && c.pending.set && c.pending.vector == vector && !c.pending.has_error;
  }
  Step wrmsr(u32 index, u64 value) {
    c.r[RCX] = index, c.r[RAX] = value & 0xffffffff, c.r[RDX] = value >> 32;
    return run(1, 0x30);
  }
  Step rdmsr(u32 index, u64& value) {
    c.r[RCX] = index;
    const Step s = run(1, 0x32);
    value = c.r[RDX] << 32 | c.r[RAX];
    return s;
  }
};

}  // namespace colo::test
