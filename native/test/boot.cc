// Developer's tool: boots a Linux bzImage on the software CPU with a serial port and nothing else.
//   boot KERNEL [-i INITRD] [-c CMDLINE] [-m MIB] [-u TEXT: stop when the console shows it] [-t
//   SECONDS]
#include <sys/resource.h>
#include <unistd.h>

#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <thread>

#include "base/time.h"
#include "soft/blocks/block_cache.h"
#include "soft/vm.h"
#include "test/linux_boot.h"
#include "vcpu/clock.h"
#include "vcpu/thread.h"

namespace {
using namespace colo;

/// 16550A, transmit only, on COM1; everything else reads all-ones.
struct Board final : vcpu::Bus {
  soft::SoftVm* vm = nullptr;
  std::string until;
  std::string tail;
  std::atomic<bool> seen{false};
  u8 ier = 0, lcr = 0, mcr = 0, scratch = 0, divisor[2] = {};
  bool thre = false;

  void interrupt() { vm->set_irq(4, thre && ier & 2 && mcr & 8); }
  void transmit(u8 b) {
    putchar(b);
    if (b == '\n') fflush(stdout);
    tail += static_cast<char>(b);
    if (!until.empty() && tail.size() >= until.size() &&
        tail.compare(tail.size() - until.size(), until.size(), until) == 0) {
      seen = true;
      vm->vcpu(0).kick();
    }
    if (tail.size() > 4096) tail.erase(0, 2048);
    thre = true;
    interrupt();
  }
  u32 pio_read(u16 port, u8 size) override {
    if (static_cast<u16>(port - test::acpi::kPm1Event) < 4) return 0;
    if (port == test::acpi::kPm1Control) return 1;  // SCI_EN: ACPI mode is on
    if (size != 1 || port < 0x3f8 || port > 0x3ff)
      return size == 1 ? 0xff : size == 2 ? 0xffff : ~0u;
    switch (port & 7) {
      case 0:
        return lcr & 0x80 ? divisor[0] : 0;
      case 1:
        return lcr & 0x80 ? divisor[1] : ier;
      case 2: {
        const u32 id = thre && ier & 2 ? 2 : 1;
        thre = false;
        interrupt();
        return id;
      }
      case 3:
        return lcr;
      case 4:
        return mcr;
      case 5:
        return 0x60;
      case 6:
        return 0xb0;
      default:
        return scratch;
    }
  }
  void pio_write(u16 port, u8 size, u32 value) override {
    if (size != 1 || port < 0x3f8 || port > 0x3ff) return;
    const u8 v = static_cast<u8>(value);
    switch (port & 7) {
      case 0:
        lcr & 0x80 ? void(divisor[0] = v) : transmit(v);
        break;
      case 1:
        if (lcr & 0x80) {
          divisor[1] = v;
        } else {
          if (v & 2 && !(ier & 2)) thre = true;
          ier = v & 15;
          interrupt();
        }
        break;
      case 3:
        lcr = v;
        break;
      case 4:
        mcr = v, interrupt();
        break;
      case 7:
        scratch = v;
        break;
    }
  }
  u64 mmio_read(u64, u8 size) override { return size == 8 ? ~0ull : (1ull << (8 * size)) - 1; }
  void mmio_write(u64, u8, u64) override {}
};

double cpu_seconds() {
  rusage u;
  getrusage(RUSAGE_SELF, &u);
  return static_cast<double>(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         static_cast<double>(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

void report(soft::SoftVm& vm, double seconds, const char* why) {
  const soft::Cpu& c = vm.soft_vcpu().cpu();
  const double n = static_cast<double>(vm.vcpu(0).icount());
  const double cpu = cpu_seconds();
  printf(
      "\n[%s after %.2f s (%.2f s of CPU): %.1f M instructions, %.0f MIPS (%.0f per CPU second); "
      "RIP %llx; %llu blocks decoded, %llu killed, %llu flushes]\n",
      why, seconds, cpu, n / 1e6, n / seconds / 1e6, n / cpu / 1e6,
      static_cast<unsigned long long>(c.rip),
      static_cast<unsigned long long>(vm.soft_vcpu().blocks().decoded_blocks),
      static_cast<unsigned long long>(vm.soft_vcpu().blocks().killed_blocks),
      static_cast<unsigned long long>(vm.soft_vcpu().blocks().flushes));
  if (!c.error.empty()) printf("error: %s\n", c.error.c_str());
}

const char* name_of(vcpu::ParkReason why) {
  switch (why) {
    case vcpu::ParkReason::Shutdown:
      return "shutdown";
    case vcpu::ParkReason::InternalError:
      return "internal error";
    default:
      return "stopped";
  }
}
}  // namespace

int main(int argc, char** argv) {
  std::string initrd, cmdline =
                          "console=ttyS0 earlyprintk=serial,ttyS0 cryptomgr.notests "
                          "mitigations=off random.trust_cpu=on panic=-1";
  u64 mib = 256;
  double limit = 60;
  Board board;
  for (int o; (o = getopt(argc, argv, "i:c:m:u:t:")) != -1;) {
    if (o == 'i') initrd = optarg;
    else if (o == 'c') cmdline = optarg;
    else if (o == 'm') mib = strtoull(optarg, nullptr, 0);
    else if (o == 'u') board.until = optarg;
    else if (o == 't') limit = atof(optarg);
    else return 2;
  }
  if (optind >= argc)
    return fprintf(stderr,
                   "usage: boot KERNEL [-i initrd] [-c cmdline] [-m MiB] [-u text] [-t seconds]\n"),
           2;

  memory::GuestRam ram(mib << 20);
  vcpu::RealClock clock;
  soft::SoftVm vm(ram, {&board}, clock);
  board.vm = &vm;
  test::linux_boot::load(ram, vm.vcpu(0), argv[optind], initrd, cmdline);

  std::atomic<vcpu::ParkReason> parked{vcpu::ParkReason::None};
  vcpu::VcpuThread thread(vm, 0, clock, [&](vcpu::ParkReason why) { parked = why; });
  vm.set_wake(0, [&] { thread.wake(); });
  const u64 start = host_now_ns();
  auto elapsed = [&] { return static_cast<double>(host_now_ns() - start) / 1e9; };
  thread.start();
  while (parked.load() == vcpu::ParkReason::None && !board.seen && elapsed() < limit) usleep(1000);
  const double seconds = elapsed();
  const bool reached = board.seen;
  if (parked.load() == vcpu::ParkReason::None) thread.stop();
  while (parked.load() == vcpu::ParkReason::None) usleep(1000);
  report(vm, seconds,
         reached                                 ? "reached"
         : parked == vcpu::ParkReason::Requested ? "time is up"
                                                 : name_of(parked));
  return board.until.empty() || reached ? 0 : 1;
}
