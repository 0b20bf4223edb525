// The machine of the CPU fuzzers: everything mapped that an access can meet, and a copy of RAM that
// tells what changed.
#pragma once
#include <string>
#include <vector>

#include "test/fuzz/fuzz.h"
#include "test/machine.h"

namespace colo::fuzz {

constexpr u64 kRam = 3u << 20;
// Four pages of code under three addresses, eight of data in several kinds, devices and the end of
// RAM, a stack, the page tables.
constexpr u64 kCode = 0x10000000, kAlias = 0x18000000, kUpper = 0xffff900000000000,
              kData = 0x20000000, kDevices = 0x28000000, kStack = 0x30002000,
              kTablesAt = 0x38000000, kLast = 0xfffffffffffff000;
constexpr u64 kCodeGpa = 0x40000, kDataGpa = 0x50000, kStackGpa = 0x60000, kLastGpa = 0x70000;
constexpr u64 kCodeBytes = 4 * kPageSize;

/// All instructions, but what gives another answer when a case is run again.
inline vcpu::CpuModel repeatable_model() {
  vcpu::CpuModel m = test::most_of_soft();
  m.features.ecx1 &= ~vcpu::Features::RDRAND;
  return m;
}

class FuzzMachine : public test::Machine {
 public:
  explicit FuzzMachine(Random& random)
      : Machine(kRam, repeatable_model()), r_(random), shadow_(kRam) {
    map_code();
    map_data();
    map_devices();
    for (u64 i = 0; i < 16; i++) map(kTablesAt + i * kPageSize, kTables + i * kPageSize, W | U);
    bus.read = [this](u64, u8) {
      if (r_.one_in(16)) vm.vcpu(0).kick();
      return r_.next();
    };
    bus.write = [this](u64, u8, u64) {
      if (r_.one_in(16)) vm.signal_msi(0xfee00000, static_cast<u32>(0x40 + r_.below(8)));
    };
  }

  /// Was the guest stopped by a thing that the CPU says it does not do?
  bool refused() { return vm.vcpu(0).error().find("no hardware tasks") != std::string::npos; }

  /// From here on every change of RAM must be in the dirty log.
  void start_log() {
    memcpy(shadow_.data(), at(0, kRam), kRam);
    ram.start_dirty_log();
  }
  void check_log() {
    std::vector<bool> logged(ram.page_count());
    for (const u32 page : ram.take_dirty()) logged[page] = true;
    for (u64 page = 0; page < ram.page_count(); page++) {
      const u8* now = at(page << kPageShift, kPageSize);
      u8* before = shadow_.data() + (page << kPageShift);
      if (!memcmp(now, before, kPageSize)) continue;
      if (!logged[page])
        fail("page " + std::to_string(page) + " changed and is not in the dirty log");
      memcpy(before, now, kPageSize);
    }
  }

  vcpu::RunResult run_guarded(u64 budget) {
    const Guarded guarded([](void* self) { static_cast<FuzzMachine*>(self)->vm.vcpu(0).kick(); },
                          this);
    const vcpu::RunResult why = run(budget);
    if (c.mmu->window.open) fail("a window is open outside of its instruction");
    if (c.r[soft::REG_ZERO]) fail("the register that is always zero is not");
    if (blocks().held() > 2 * soft::kArenaSize) fail("decoded code has no bound");
    return why;
  }

  /// What was reached can be saved, and what is saved is accepted.
  void check_save(bool reload) {
    vcpu::VcpuState s;
    vcpu::ChipState k;
    vm.save(k);
    vm.vcpu(0).save(s);
    for (const std::string& problem : {vm.check(k), vm.vcpu(0).check(s)})
      if (!problem.empty()) fail("a saved state is refused: " + problem);
    if (reload) vm.vcpu(0).load(s), vm.load(k);
  }

  /// Time passes, lines change, messages come, devices write.
  void outside() {
    if (r_.one_in(10)) vm.set_irq(static_cast<u32>(r_.below(24)), r_.one_in(2));
    if (r_.one_in(10))
      vm.signal_msi(0xfee00000 | r_.below(0x1000), static_cast<u32>(r_.below(0x1000)));
    if (r_.one_in(10)) pass_time();
    if (r_.one_in(10)) ram.mark_written(kCodeGpa + r_.below(kCodeBytes - 64), 1 + r_.below(64));
    if (r_.one_in(20)) vm.vcpu(0).kick();
    if (r_.one_in(40)) vm.guest_stopped();
  }
  void pass_time() {
    clock.ns = std::min<u64>(clock.ns + (r_.next() >> (8 + r_.below(56))), 1ull << 60);
    (void)vm.next_deadline_ns();
    vm.run_timers();
  }

  void fill_code();
  void fill_data();
  void fill_registers();

 protected:
  Random& r_;

 private:
  void map_code() {
    for (u64 i = 0; i < kCodeBytes; i += kPageSize) {
      map(kCode + i, kCodeGpa + i, W | U), map(kAlias + i, kCodeGpa + i, W | U);
      map(kUpper + i, kCodeGpa + i, W | U | (r_.one_in(2) ? G : 0));
    }
  }
  void map_data() {
    const u64 kinds[8] = {W | U, W | U, W | U, U, W, NX | W | U, W | U, 0};
    for (u64 i = 0; i < 8; i++)
      map(kData + i * kPageSize, kDataGpa + (i ^ 1) * kPageSize, kinds[i]);
    unmap(kData + 7 * kPageSize);
    map(kStack - 2 * kPageSize, kStackGpa, W | U),
        map(kStack - kPageSize, kStackGpa + kPageSize, W | U);
    map(kLast, kLastGpa, W | U);
  }
  void map_devices() {
    const u64 gpas[] = {0xd0000000, 0xfee00000, kRam - kPageSize, kRam, 0xfec00000};
    for (u64 i = 0; i < 5; i++) map(kDevices + i * kPageSize, gpas[i], W | U);
  }
  u64 operand();
  u8 modrm();
  void instruction(std::string& to);
  void prefixes(std::string& to);
  void tail(std::string& to);
  std::vector<u8> shadow_;
};

}  // namespace colo::fuzz
