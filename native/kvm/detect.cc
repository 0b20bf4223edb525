#include "kvm/detect.h"

#include <sys/mman.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <thread>

#include "kvm/device.h"
#include "kvm/kick.h"

namespace colo::kvm {

namespace {

constexpr u64 kRamSize = 1 << 20, kTables = 0x10000, kCode = 0x1000;
constexpr double kFullMips =
    10;  // interpreters reach 2; a real one that was nested and starved still reached 50
constexpr int kRounds = 4;
constexpr int kSignalsMax =
    1000;  // of others, as a profiler sends them: the guest goes on after each
constexpr auto kRound = std::chrono::milliseconds(50);

/// movd xmm5, eax; paddd xmm5, xmm0; hlt. Interpreters of kernel code do not have SSE arithmetic,
/// for no kernel uses it there.
constexpr u8 kPaddd[] = {0x66, 0x0f, 0x6e, 0xe8, 0x66, 0x0f, 0xfe, 0xe8, 0xf4};
/// inc rcx; jmp back
constexpr u8 kLoop[] = {0x48, 0xff, 0xc1, 0xeb, 0xfb};

/// Time that this thread had the processor: guest code counts, other processes do not.
u64 thread_ns() {
  timespec t;
  clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
  return static_cast<u64>(t.tv_sec) * 1'000'000'000ull + static_cast<u64>(t.tv_nsec);
}

/// Goes also when what comes after it in a constructor throws.
class Pages {
 public:
  Pages()
      : at_(mmap(nullptr, kRamSize, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)) {
    if (at_ == MAP_FAILED) throw Error::of_errno("mmap");
  }
  ~Pages() { munmap(at_, kRamSize); }
  Pages(const Pages&) = delete;
  Pages& operator=(const Pages&) = delete;
  u8* bytes() const { return static_cast<u8*>(at_); }

 private:
  void* at_;
};

/// A VM of one vCPU in long mode at ring 0, without chips (so that HLT ends the run).
class Probe {
 public:
  explicit Probe(const Source& source)
      : device_(source),
        vm_(device_.create_vm()),
        cpu_(make_cpu()),
        run_(cpu_, device_.run_page_size()),
        kicker_(*run_) {
    write_tables();
  }

  /// Enters the code from its start; returns the exit reason, or -errno.
  template <size_t N>
  int run(const u8 (&code)[N]) {
    memcpy(ram_.bytes() + kCode, code, N);
    enter_long_mode();
    kicker_.enter();
    int result = go_on();
    for (int tries = 0; result == -EINTR && !kicker_.wanted() && tries < kSignalsMax; tries++)
      result = go_on();
    kicker_.leave();
    kicker_.take();
    return result;
  }

  double mips() {
    std::jthread alarm([this] {  // joined also when the run throws
      std::this_thread::sleep_for(kRound);
      kicker_.kick();
    });
    const u64 from = thread_ns();
    const int result = run(kLoop);
    const u64 took = thread_ns() - from;
    alarm.join();
    kicker_.take();
    if (result != -EINTR || took == 0) return 0;
    kvm_regs regs{};
    cpu_.call("KVM_GET_REGS", KVM_GET_REGS, &regs);
    return static_cast<double>(regs.rcx) * 2e3 / static_cast<double>(took);
  }

  u32 suberror() const { return run_->internal.suberror; }

 private:
  int go_on() {
    return cpu_.try_ioctl(KVM_RUN, 0) < 0 ? -errno : static_cast<int>(run_->exit_reason);
  }

  Fd make_cpu() {
    u64 identity = 0xfffbc000;
    vm_.call("KVM_SET_IDENTITY_MAP_ADDR", KVM_SET_IDENTITY_MAP_ADDR, &identity);
    vm_.call("KVM_SET_TSS_ADDR", KVM_SET_TSS_ADDR, 0xfffbd000ul);
    kvm_userspace_memory_region region{};
    region.memory_size = kRamSize;
    region.userspace_addr = reinterpret_cast<u64>(ram_.bytes());
    vm_.call("KVM_SET_USER_MEMORY_REGION", KVM_SET_USER_MEMORY_REGION, &region);
    return Fd(vm_.call("KVM_CREATE_VCPU", KVM_CREATE_VCPU, 0));
  }

  /// The first 2 MiB, mapped to themselves.
  void write_tables() {
    const u64 entries[3] = {kTables + 0x1003, kTables + 0x2003, 0x83};
    for (int level = 0; level < 3; level++)
      memcpy(ram_.bytes() + kTables + 0x1000 * level, &entries[level], 8);
  }

  void enter_long_mode() {
    kvm_sregs s{};
    cpu_.call("KVM_GET_SREGS", KVM_GET_SREGS, &s);
    s.cr3 = kTables;
    s.cr4 = 0x620;  // PAE, OSFXSR, OSXMMEXCPT
    s.cr0 = 0x80000031;
    s.efer = 0x500;
    kvm_segment code{};
    code.limit = ~0u, code.selector = 8, code.present = 1, code.type = 11, code.s = 1, code.l = 1,
    code.g = 1;
    kvm_segment data = code;
    data.selector = 16, data.type = 3, data.l = 0, data.db = 1;
    s.cs = code;
    s.ds = s.es = s.fs = s.gs = s.ss = data;
    cpu_.call("KVM_SET_SREGS", KVM_SET_SREGS, &s);
    kvm_regs r{};
    r.rip = kCode, r.rsp = 0x8000, r.rflags = 2;
    cpu_.call("KVM_SET_REGS", KVM_SET_REGS, &r);
  }

  Device device_;
  Pages ram_;
  Fd vm_;
  Fd cpu_;
  RunPage run_;
  Kicker kicker_;
};

Finding judge(Probe& probe) {
  const int first = probe.run(kPaddd);
  if (first == KVM_EXIT_INTERNAL_ERROR && probe.suberror() == KVM_INTERNAL_ERROR_EMULATION)
    return {Kind::Interpreted,
            "it interprets kernel code and does not know all instructions (it refused a PADDD at "
            "ring 0)"};
  if (first != KVM_EXIT_HLT)
    return {Kind::Interpreted, "a test program at ring 0 did not come to its end (exit " +
                                   std::to_string(first) + ")"};
  double best = 0;
  for (int i = 0; i < kRounds && best < kFullMips; i++) best = std::max(best, probe.mips());
  char text[96];
  if (best >= kFullMips) {
    snprintf(text, sizeof text, "it runs kernel code at %.0f million instructions a second", best);
    return {Kind::Full, text};
  }
  snprintf(text, sizeof text,
           "it runs kernel code at %.1f million instructions a second only, so it interprets it",
           best);
  return {Kind::Interpreted, text};
}

}  // namespace

Finding detect(const Source& source) {
  try {
    Probe probe(source);
    return judge(probe);
  } catch (const Error& e) {
    return {Kind::None, e.what()};
  }
}

}  // namespace colo::kvm
