// Goal: a vCPU sees the map that it is given: it begins in a ROM below 4 GiB, a ROM is not written,
// two addresses show one page, and what was decoded before a change does not run after it. Method:
// a bare machine from its reset, with a ROM of one page and code by hand.
#include "test/check.h"
#include "test/machine.h"

using namespace colo;
using namespace colo::test;
using memory::Slot;
using vcpu::RunResult;

namespace {

constexpr u64 kRam = 4 << 20, kRom = kPageSize, kTop = 4ull << 30, kShadow = 0xff000;

struct RomMachine {
  memory::GuestRam ram{kRam, kRom};
  TestBus bus;
  TestClock clock;
  soft::SoftVm vm{ram, {&bus}, clock};
  soft::Cpu& c = vm.soft_vcpu().cpu();
  std::vector<u64> written;

  RomMachine() {
    bus.write = [this](u64 gpa, u8, u64) { written.push_back(gpa); };
    put(kRam + 0xff0, std::string("\xea\x00\xf0\x00\xf0", 5));  // jmp F000:F000
    put(kRam, "\xb0\x01\xf4");                                  // mov al, 1; hlt
    put(kShadow, "\xb0\x02\xf4");                               // the same in RAM: mov al, 2
    CHECK(show(kRam, true).empty());
  }
  void put(u64 offset, const std::string& bytes) {
    memcpy(ram.base() + offset, bytes.data(), bytes.size());
    ram.mark_offset_written(offset, bytes.size());
  }
  /// At kShadow is memory of this offset.
  std::string show(u64 offset, bool read_only) {
    return ram.set_map(
        {{.gpa = kShadow, .size = kPageSize, .offset = offset, .read_only = read_only},
         {.gpa = 0, .size = kShadow, .offset = 0},
         {.gpa = kTop - kRom, .size = kRom, .offset = kRam, .read_only = true}});
  }
  /// From the reset vector to a HLT; AL then.
  int go() {
    vm.reset();
    CHECK(vm.vcpu(0).run(1000) == RunResult::Halted);
    return static_cast<int>(c.r[soft::RAX] & 0xff);
  }
};

void what_is_shown_runs() {
  RomMachine m;
  CHECK(m.go() == 1);
  CHECK(m.show(kShadow, false).empty() && m.go() == 2);
  CHECK(m.show(kRam, true).empty() && m.go() == 1);
  m.put(kRam + 1, "\x03");  // seen at both addresses
  CHECK(m.go() == 3);
}

/// Without a reset in between, which would drop everything.
void a_change_is_seen_by_a_vcpu_that_runs() {
  RomMachine m;
  CHECK(m.go() == 1);
  m.show(kShadow, false);
  m.c.rip = 0xf000, m.c.halted = false;
  CHECK(m.vm.vcpu(0).run(1000) == RunResult::Halted && (m.c.r[soft::RAX] & 0xff) == 2);
}

void a_rom_is_not_written() {
  RomMachine m;
  // cs mov byte [f800], 77; cs lock inc byte [f801]; cs mov al, [f800]; hlt
  m.put(kRam,
        std::string("\x2e\xc6\x06\x00\xf8\x77\xf0\x2e\xfe\x06\x01\xf8\x2e\xa0\x00\xf8\xf4", 17));
  m.put(kRam + 0x800, "\x55");
  m.ram.start_dirty_log();
  CHECK(m.go() == 0x55);
  CHECK((m.written == std::vector<u64>{0xff800, 0xff801}));
  for (u32 page : m.ram.take_dirty()) CHECK(page != kRam >> kPageShift);
}

void a_write_through_any_address_is_logged_once() {
  RomMachine m;
  m.put(kRam, std::string("\x2e\xc6\x06\x00\xf8\x77\xf4", 7));
  m.put(kShadow, std::string("\x2e\xc6\x06\x00\xf8\x77\xf4", 7));
  m.show(kShadow, false);
  m.ram.start_dirty_log();
  m.go();
  CHECK((m.ram.take_dirty() == std::vector<u32>{kShadow >> kPageShift}));
  CHECK(m.ram.base()[kShadow + 0x800] == 0x77);
}

void a_map_that_cannot_be_changes_nothing() {
  RomMachine m;
  const auto before = m.ram.map().slots;
  auto refused = [&](const std::vector<Slot>& slots) {
    return !m.ram.set_map(slots).empty() && m.ram.map().slots == before;
  };
  CHECK(refused({{.gpa = 0, .size = 100, .offset = 0}}));
  CHECK(refused({{.gpa = 0, .size = kPageSize, .offset = kRam + kRom}}));
  CHECK(refused({{.gpa = 0, .size = ~kPageSize + 1, .offset = kPageSize}}));
  CHECK(refused({{.gpa = 0, .size = 0, .offset = 0}}));
  CHECK(refused({{.gpa = 0, .size = 2 * kPageSize, .offset = 0},
                 {.gpa = kPageSize, .size = kPageSize, .offset = 0}}));
  CHECK(refused(std::vector<Slot>(33)));
}

}  // namespace

int main() {
  what_is_shown_runs();
  a_change_is_seen_by_a_vcpu_that_runs();
  a_rom_is_not_written();
  a_write_through_any_address_is_logged_once();
  a_map_that_cannot_be_changes_nothing();
  return test::finish();
}
