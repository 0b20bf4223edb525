// Developer's tool: boots a Linux kernel on a stepped clock with the dirty log on and proves, epoch
// by epoch, that every page whose bytes changed is in the log. Also says how many logged pages did
// not change (A and D bits that were set again, equal bytes).
//   dirty KERNEL [-i INITRD] [-n EPOCHS] [-s INSTRUCTIONS PER EPOCH]
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <memory>

#include "soft/vm.h"
#include "test/linux_boot.h"
#include "vcpu/clock.h"

namespace {
using namespace colo;

/// A transmitter that is always empty.
struct Console final : vcpu::Bus {
  std::string text;
  u32 pio_read(u16 port, u8 size) override {
    return port == 0x3fd ? 0x60 : size == 1 ? 0xff : size == 2 ? 0xffff : ~0u;
  }
  void pio_write(u16 port, u8, u32 value) override {
    if (port == 0x3f8) text += static_cast<char>(value);
  }
  u64 mmio_read(u64, u8) override { return ~0ull; }
  void mmio_write(u64, u8, u64) override {}
};

vcpu::RunResult epoch(soft::SoftVm& vm, vcpu::SteppedClock& clock, u64 instructions) {
  vcpu::RunResult why = vcpu::RunResult::Budget;
  for (u64 done = 0; done < instructions;) {
    vm.run_timers();
    const u64 before = vm.vcpu(0).icount();
    why = vm.vcpu(0).run(10'000);
    const u64 ran = vm.vcpu(0).icount() - before;
    done += ran + 1;
    clock.advance(ran);
    if (why == vcpu::RunResult::Shutdown || why == vcpu::RunResult::InternalError) return why;
    if (why == vcpu::RunResult::Halted && ~vm.next_deadline_ns() &&
        vm.next_deadline_ns() > clock.now_ns())
      clock.continue_from(vm.next_deadline_ns());
    if (why == vcpu::RunResult::Halted && !~vm.next_deadline_ns()) break;
  }
  return why;
}
}  // namespace

int main(int argc, char** argv) {
  std::string initrd;
  int epochs = 100;
  u64 instructions = 7'000'000;
  for (int o; (o = getopt(argc, argv, "i:n:s:")) != -1;) {
    if (o == 'i') initrd = optarg;
    else if (o == 'n') epochs = atoi(optarg);
    else if (o == 's') instructions = strtoull(optarg, nullptr, 0);
    else return 2;
  }
  if (optind >= argc)
    return fprintf(stderr, "usage: dirty KERNEL [-i initrd] [-n epochs] [-s instructions]\n"), 2;
  memory::GuestRam ram(128u << 20);
  Console console;
  vcpu::SteppedClock clock;
  soft::SoftVm vm(ram, {&console}, clock);
  test::linux_boot::load(
      ram, vm.vcpu(0), argv[optind], initrd,
      "console=ttyS0 cryptomgr.notests mitigations=off random.trust_cpu=on panic=-1");
  auto before = std::make_unique<u8[]>(ram.size());
  memcpy(before.get(), ram.hva(0, ram.size()), ram.size());
  ram.start_dirty_log();
  u64 logged = 0, changed = 0, missed = 0;
  for (int e = 0; e < epochs; e++) {
    const vcpu::RunResult why = epoch(vm, clock, instructions);
    std::vector<bool> in_log(ram.page_count());
    for (u32 page : ram.take_dirty()) in_log[page] = true, logged++;
    for (u64 page = 0; page < ram.page_count(); page++) {
      const u8* now = ram.hva(page << kPageShift, kPageSize);
      u8* old = before.get() + (page << kPageShift);
      if (!memcmp(now, old, kPageSize)) continue;
      changed++;
      if (!in_log[page] && missed++ < 10)
        printf("epoch %d: page %llx changed and is not in the log\n", e,
               static_cast<unsigned long long>(page));
      memcpy(old, now, kPageSize);
    }
    if (why == vcpu::RunResult::Shutdown || why == vcpu::RunResult::InternalError) {
      printf("stopped: %s\n", vm.vcpu(0).error().c_str());
      break;
    }
  }
  const size_t tail = console.text.size() < 300 ? 0 : console.text.size() - 300;
  printf("%s\n[%llu M instructions: %llu pages changed, %llu logged, %llu missed]\n",
         console.text.c_str() + tail,
         static_cast<unsigned long long>(vm.vcpu(0).icount() / 1000000),
         static_cast<unsigned long long>(changed), static_cast<unsigned long long>(logged),
         static_cast<unsigned long long>(missed));
  return missed != 0;
}
