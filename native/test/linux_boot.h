// Puts a bzImage into guest RAM by the 64-bit boot protocol (Documentation/x86/boot.rst) and sets
// the vCPU's registers for its entry.
#pragma once
#include <cstdio>
#include <cstring>
#include <string>
#include <vector>

#include "memory/ram.h"
#include "test/acpi.h"
#include "vcpu/contract.h"

namespace colo::test {

inline std::vector<u8> read_file(const std::string& path) {
  std::vector<u8> bytes;
  FILE* f = fopen(path.c_str(), "rb");
  if (!f) return perror(path.c_str()), exit(2), bytes;
  u8 buffer[65536];
  for (size_t n; (n = fread(buffer, 1, sizeof buffer, f)) > 0;)
    bytes.insert(bytes.end(), buffer, buffer + n);
  fclose(f);
  return bytes;
}

namespace linux_boot {
constexpr u64 kGdt = 0x1000, kBootParams = 0x10000, kCmdline = 0x20000, kTables = 0x30000,
              kKernel = 0x1000000;

template <class T>
void put(memory::GuestRam& ram, u64 gpa, T v) {
  memcpy(ram.hva(gpa, sizeof v), &v, sizeof v);
}

inline void e820(memory::GuestRam& ram) {
  u64 entry = kBootParams + 0x2d0;
  u8 count = 0;
  auto add = [&](u64 from, u64 to, u32 type) {
    put<u64>(ram, entry, from), put<u64>(ram, entry + 8, to - from),
        put<u32>(ram, entry + 16, type);
    entry += 20, count++;
  };
  add(0, 0x9fc00, 1);
  add(0x9fc00, 0x100000, 2);
  add(0x100000, ram.slots()[0].size, 1);
  for (size_t i = 1; i < ram.slots().size(); i++)
    add(ram.slots()[i].gpa, ram.slots()[i].gpa + ram.slots()[i].size, 1);
  put<u8>(ram, kBootParams + 0x1e8, count);
}

inline void identity_map(memory::GuestRam& ram) {
  put<u64>(ram, kTables, (kTables + 0x1000) | 3);
  for (u64 gb = 0; gb < 4; gb++) {
    put<u64>(ram, kTables + 0x1000 + gb * 8, (kTables + 0x2000 + gb * 0x1000) | 3);
    for (u64 i = 0; i < 512; i++)
      put<u64>(ram, kTables + 0x2000 + gb * 0x1000 + i * 8, (gb << 30 | i << 21) | 0x83);
  }
}

inline kvm_segment flat(u16 selector, bool code) {
  kvm_segment s{};
  s.limit = 0xffffffff, s.selector = selector, s.type = code ? 11 : 3, s.present = 1, s.s = 1,
  s.g = 1, s.l = code, s.db = !code;
  return s;
}

inline void load(memory::GuestRam& ram, vcpu::Vcpu& cpu, const std::string& kernel,
                 const std::string& initrd, const std::string& cmdline) {
  const std::vector<u8> image = read_file(kernel);
  const u32 setup = ((image[0x1f1] ? image[0x1f1] : 4) + 1) * 512u;
  memcpy(ram.hva(kBootParams + 0x1f1, 0x80), &image[0x1f1], 0x202 + image[0x201] - 0x1f1);
  memcpy(ram.hva(kKernel, image.size() - setup), &image[setup], image.size() - setup);
  put<u8>(ram, kBootParams + 0x210, 0xff);  // loader type
  memcpy(ram.hva(kCmdline, cmdline.size() + 1), cmdline.c_str(), cmdline.size() + 1);
  put<u32>(ram, kBootParams + 0x228, static_cast<u32>(kCmdline));
  if (!initrd.empty()) {
    const std::vector<u8> cpio = read_file(initrd);
    const u64 at = (ram.slots()[0].size - cpio.size()) & ~0xfffull;
    memcpy(ram.hva(at, cpio.size()), cpio.data(), cpio.size());
    put<u32>(ram, kBootParams + 0x218, static_cast<u32>(at));
    put<u32>(ram, kBootParams + 0x21c, static_cast<u32>(cpio.size()));
  }
  e820(ram);
  put<u64>(ram, kBootParams + 0x70, acpi::write(ram));
  identity_map(ram);
  const u64 gdt[] = {0, 0, 0x00af9b000000ffff, 0x00cf93000000ffff};
  memcpy(ram.hva(kGdt, sizeof gdt), gdt, sizeof gdt);

  vcpu::VcpuState s;
  cpu.save(s);
  s.regs = {};
  s.regs.rip = kKernel + 0x200, s.regs.rsi = kBootParams, s.regs.rflags = 2;
  s.sregs.cr0 = 0x80050033, s.sregs.cr4 = 0x20, s.sregs.cr3 = kTables, s.sregs.efer = 0x500;
  s.sregs.cs = flat(0x10, true);
  s.sregs.ds = s.sregs.es = s.sregs.fs = s.sregs.gs = s.sregs.ss = flat(0x18, false);
  s.sregs.gdt.base = kGdt, s.sregs.gdt.limit = 31;
  s.sregs.idt.base = 0, s.sregs.idt.limit = 0;
  s.mp_state.mp_state = KVM_MP_STATE_RUNNABLE;
  for (kvm_msr_entry& m : s.msrs)
    if (m.index == 0xc0000080) m.data = 0x500;
  const std::string why = cpu.check(s);
  if (!why.empty()) fprintf(stderr, "boot state refused: %s\n", why.c_str()), exit(2);
  cpu.load(s);
}
}  // namespace linux_boot

}  // namespace colo::test
