// A bare 64-bit machine around the software CPU for tests: identity-style page tables built by
// hand, an IDT whose gates point at HLT instructions, so that an exception ends a run in Halted
// with RIP telling the vector.
#pragma once
#include <functional>

#include "soft/blocks/block_cache.h"
#include "soft/memory/mmu.h"
#include "soft/vm.h"
#include "test/test_ram.h"

namespace colo::test {

/// Stands at `ns`, or goes as another one.
struct TestClock final : vcpu::Clock {
  u64 ns = 1000;
  const vcpu::Clock* other = nullptr;
  u64 now_ns() const override { return other ? other->now_ns() : ns; }
};

struct TestBus final : vcpu::Bus {
  std::function<u64(u64, u8)> read = [](u64, u8) { return ~0ull; };
  std::function<void(u64, u8, u64)> write = [](u64, u8, u64) {};
  u32 pio_read(u16, u8) override { return ~0u; }
  void pio_write(u16, u8, u32) override {}
  u64 mmio_read(u64 gpa, u8 size) override { return read(gpa, size); }
  void mmio_write(u64 gpa, u8 size, u64 value) override { write(gpa, size, value); }
};

class Machine : public TestRam {
 public:
  // Guest-physical layout: page tables from 1 MiB, system tables below 64 KiB, the rest free for
  // tests.
  static constexpr u64 kGdt = 0x1000, kTss = 0x2000, kIdt = 0x3000, kHandlers = 0x4000,
                       kFaultStack = 0x6000, kTables = 0x100000;
  static constexpr u64 P = 1, W = 2, U = 4, G = 0x100, NX = 1ull << 63;

  explicit Machine(u64 ram_size = 32u << 20, const vcpu::CpuModel& model = vcpu::soft_v1(),
                   bool in_turns = false)
      : TestRam(ram_size),
        vm(ram, vcpu::Buses(model.topology.cpus(), &bus), clock, model, in_turns),
        c(vm.soft_vcpu().cpu()) {
    put<u64>(kTables, 0);
    for (u64 at = 0; at < 0x10000; at += kPageSize) map(at, at, W);
    for (int v = 0; v < 32; v++) {
      const u64 handler = kHandlers + 16 * static_cast<u64>(v);
      put<u8>(handler, 0xf4);  // HLT
      put<u64>(kIdt + 16 * v, (handler & 0xffff) | 0x08ull << 16 | 0x8e01ull << 32 |
                                  (handler >> 16 & 0xffff) << 48);  // interrupt gate, IST1
      put<u64>(kIdt + 16 * v + 8, handler >> 32);
    }
    const u64 gdt[] = {0,
                       0x00af9b000000ffff,
                       0x00cf93000000ffff,
                       0x00affb000000ffff,
                       0x00cff3000000ffff,
                       0x00008b0020000067,
                       0};
    memcpy(at(kGdt, sizeof gdt), gdt, sizeof gdt);
    put<u64>(kTss + 36, kFaultStack);  // IST1
    put<u64>(kTss + 4, kFaultStack);   // RSP0
    long_mode();
  }

  /// CPL 0 (or 3), paging on, everything else as after a boot loader.
  void long_mode(bool user = false) { long_mode_of(c, user); }
  void long_mode_of(soft::Cpu& c, bool user = false) {
    c.cr0 = cr0_on,
    c.cr4 = soft::cr4::PAE | soft::cr4::PGE | soft::cr4::OSFXSR | soft::cr4::OSXMMEXCPT;
    c.efer = soft::efer::LME | soft::efer::LMA | soft::efer::NXE | soft::efer::SCE;
    c.cr3 = kTables;
    const u8 dpl = user ? 3 : 0;
    for (kvm_segment& s : c.seg) s = segment(user ? 0x23 : 0x10, 3, dpl, false);
    c.seg[soft::CS] = segment(user ? 0x1b : 0x08, 11, dpl, true);
    c.tr = segment(0x28, 11, 0, false);
    c.tr.base = kTss, c.tr.limit = 0x67, c.tr.s = 0, c.tr.g = c.tr.db = 0;
    c.gdt.base = kGdt, c.gdt.limit = 0x37;
    c.idt.base = kIdt, c.idt.limit = 0x1ff;
    c.cpl = dpl;
    c.rflags = 2, c.halted = false, c.shadow = false, c.pending = {};
    c.tlb_flush(true);
    c.mode_changed();
  }

  void map(u64 va, u64 gpa, u64 flags) {
    u64 table = kTables;
    for (int level = 3; level > 0; level--) {
      u64 entry = get<u64>(table + index(va, level) * 8);
      if (!(entry & P)) {
        entry = (next_table_ += kPageSize) | P | W | U;
        memset(this->at(entry & soft_mask, kPageSize), 0, kPageSize);
        put<u64>(table + index(va, level) * 8, entry);
      }
      table = entry & soft_mask;
    }
    put<u64>(table + index(va, 0) * 8, gpa | flags | P);
  }
  void unmap(u64 va) { put<u64>(pte(va), 0); }
  /// Physical address of the page-table entry of va (its tables exist).
  u64 pte(u64 va) {
    u64 table = kTables;
    for (int level = 3; level > 0; level--)
      table = get<u64>(table + index(va, level) * 8) & soft_mask;
    return table + index(va, 0) * 8;
  }

  vcpu::RunResult run(u64 budget = ~0ull) { return vm.vcpu(0).run(budget); }
  /// Vector of the exception that stopped the last run, or -1.
  int vector() const {
    return c.halted && c.rip > kHandlers && c.rip < kHandlers + 512
               ? static_cast<int>((c.rip - 1 - kHandlers) / 16)
               : -1;
  }
  /// RIP and error code that the exception pushed.
  u64 fault_rip() { return get<u64>(kFaultStack - 40); }
  u64 fault_error() { return get<u64>(kFaultStack - 48); }
  u64 fault_rip_with_error() { return get<u64>(kFaultStack - 40); }
  /// After a fault: on with the test.
  void revive() { c.halted = false, c.rflags = 2, c.pending = {}; }

  TestBus bus;
  TestClock clock;
  const soft::BlockCache& blocks() { return vm.soft_vcpu().blocks(); }

  soft::SoftVm vm;
  soft::Cpu& c;

 private:
  static constexpr u64 soft_mask = ((1ull << 40) - 1) & kPageMask;
  static constexpr u64 cr0_on =
      soft::cr0::PE | soft::cr0::PG | soft::cr0::WP | soft::cr0::NE | soft::cr0::ET;
  static u64 index(u64 va, int level) { return va >> (12 + 9 * level) & 511; }
  static kvm_segment segment(u16 selector, u8 type, u8 dpl, bool code) {
    kvm_segment s{};
    s.limit = 0xffffffff, s.selector = selector, s.type = type, s.present = 1, s.dpl = dpl, s.s = 1,
    s.g = 1;
    s.l = code, s.db = !code;
    return s;
  }
  u64 next_table_ = kTables;
};

/// All that the software CPU can have on this host.
inline vcpu::CpuModel most_of_soft() {
  vcpu::CpuModel m = vcpu::soft_v1();
  m.name = "max", m.features = vcpu::soft_features();
  return m;
}

}  // namespace colo::test
