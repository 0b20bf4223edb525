// Developer's tool: boots a Linux kernel twice on a stepped clock, once straight and once changing
// machines every few slices (save, check, load into the other), and compares RAM and CPU at the
// end. What a state image forgets shows as a difference.
//   hop KERNEL [-n SLICES] [-h SLICES BETWEEN HOPS] [-c CMDLINE]
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
    return size == 1 ? (port == 0x3fd             ? 0x60
                        : port == 0x3fa           ? 1
                        : port >> 3 == 0x3f8 >> 3 ? 0
                                                  : 0xff)
                     : ~0u;
  }
  void pio_write(u16 port, u8, u32 value) override {
    if (port == 0x3f8) text += static_cast<char>(value);
  }
  u64 mmio_read(u64, u8) override { return ~0ull; }
  void mmio_write(u64, u8, u64) override {}
};

constexpr u64 kSlice = 20'000;

struct Outcome {
  std::string console;
  vcpu::VcpuState cpu;
  vcpu::ChipState chips;
  u64 ram = 0;
};

struct Pair {
  memory::GuestRam ram{256ull << 20};
  Console console;
  vcpu::SteppedClock clock;
  soft::SoftVm a{ram, {&console}, clock}, b{ram, {&console}, clock};
  soft::SoftVm* now = &a;

  bool hop() {
    soft::SoftVm* next = now == &a ? &b : &a;
    vcpu::VcpuState cpu;
    vcpu::ChipState chips;
    now->save(chips);
    now->vcpu(0).save(cpu);
    for (const std::string& e : {next->check(chips), next->vcpu(0).check(cpu)})
      if (!e.empty()) return printf("refused: %s\n", e.c_str()), false;
    now->reset();
    next->vcpu(0).load(cpu);
    next->load(chips);
    now = next;
    return true;
  }

  vcpu::RunResult slice() {
    now->run_timers();
    const u64 before = now->vcpu(0).icount();
    const vcpu::RunResult why = now->vcpu(0).run(kSlice);
    clock.advance(now->vcpu(0).icount() - before);
    if (why == vcpu::RunResult::Halted && now->next_deadline_ns() > clock.now_ns() &&
        ~now->next_deadline_ns())
      clock.continue_from(now->next_deadline_ns());
    return why;
  }
};

bool boot(const char* kernel, const std::string& cmdline, int slices, int hop_every, Outcome& out) {
  auto p = std::make_unique<Pair>();
  test::linux_boot::load(p->ram, p->now->vcpu(0), kernel, "", cmdline);
  for (int i = 0; i < slices; i++) {
    const vcpu::RunResult why = p->slice();
    if (why == vcpu::RunResult::Shutdown || why == vcpu::RunResult::InternalError) {
      printf("stopped in slice %d: %s\n", i, p->now->vcpu(0).error().c_str());
      break;
    }
    if (hop_every && i % hop_every == 0 && !p->hop()) return false;
  }
  p->now->save(out.chips);
  p->now->vcpu(0).save(out.cpu);
  out.ram = p->ram.hash();
  out.console = p->console.text;
  return true;
}
}  // namespace

int main(int argc, char** argv) {
  std::string cmdline = "console=ttyS0 acpi=off cryptomgr.notests no-kvmclock panic=-1";
  int slices = 30'000, every = 5;
  for (int o; (o = getopt(argc, argv, "n:h:c:")) != -1;) {
    if (o == 'n') slices = atoi(optarg);
    else if (o == 'h') every = atoi(optarg);
    else if (o == 'c') cmdline = optarg;
    else return 2;
  }
  if (optind >= argc)
    return fprintf(stderr, "usage: hop KERNEL [-n slices] [-h slices between hops] [-c cmdline]\n"),
           2;
  Outcome straight, hopping;
  if (!boot(argv[optind], cmdline, slices, 0, straight) ||
      !boot(argv[optind], cmdline, slices, every, hopping))
    return 1;
  fputs(straight.console.substr(straight.console.size() < 600 ? 0 : straight.console.size() - 600)
            .c_str(),
        stdout);
  const bool console = straight.console == hopping.console, ram = straight.ram == hopping.ram;
  const bool regs = !memcmp(&straight.cpu.regs, &hopping.cpu.regs, sizeof straight.cpu.regs);
  const bool sregs = !memcmp(&straight.cpu.sregs, &hopping.cpu.sregs, sizeof straight.cpu.sregs);
  const bool lapic = !memcmp(&straight.cpu.lapic, &hopping.cpu.lapic, sizeof straight.cpu.lapic);
  const bool xsave = !memcmp(&straight.cpu.xsave, &hopping.cpu.xsave, sizeof straight.cpu.xsave);
  const bool pit = !memcmp(&straight.chips.pit, &hopping.chips.pit, sizeof straight.chips.pit);
  printf("\n[rip %llx; same: console %d ram %d regs %d sregs %d lapic %d xsave %d pit %d]\n",
         straight.cpu.regs.rip, console, ram, regs, sregs, lapic, xsave, pit);
  return console && ram && regs && sregs && lapic && xsave && pit ? 0 : 1;
}
