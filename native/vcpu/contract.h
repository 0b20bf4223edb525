// The contract that both CPU backends satisfy. Its state types are those of <linux/kvm.h>, so that
// a checkpoint taken on one backend resumes on the other. Nothing here knows JavaScript.
#pragma once
#include <linux/kvm.h>

#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/types.h"
#include "memory/ram.h"
#include "vcpu/doorbells.h"

namespace colo::vcpu {

/// Guest time. Real mode: guest ns = host CLOCK_MONOTONIC + offset. Stepped mode: moves only by
/// advance(). Never runs backwards within one VM. Thread-safe.
class Clock {
 public:
  virtual ~Clock() = default;
  virtual u64 now_ns() const = 0;
};

/// Where a vCPU's port and memory-mapped accesses go when no in-backend chip answers. Called on the
/// vCPU's thread; returns when the access is complete (so a stopped vCPU never has half an access
/// behind it).
struct Bus {
  virtual ~Bus() = default;
  virtual u32 pio_read(u16 port, u8 size) = 0;
  virtual void pio_write(u16 port, u8 size, u32 value) = 0;
  virtual u64 mmio_read(u64 gpa, u8 size) = 0;
  virtual void mmio_write(u64 gpa, u8 size, u64 value) = 0;
};

/// As many as the tests and the state images vouch for; APIC ids then need one byte whatever the
/// topology.
constexpr u32 kMaxCpus = 8;

/// One for each vCPU.
using Buses = std::vector<Bus*>;

enum class RunResult : u8 {
  Kicked,         // kick() was called
  Budget,         // the instruction budget is used up (stepped mode)
  Halted,         // HLT with no interrupt pending (the chip's next deadline tells how long)
  Shutdown,       // triple fault
  InternalError,  // the backend cannot go on: error() says why, with RIP and bytes
};

/// kvm_xsave without its flexible tail, which C++ allows only at the end of a struct, and which
/// some headers count as four bytes there.
struct XsaveArea {
  u32 region[1024];
};
static_assert(sizeof(XsaveArea) == 4096);

/// Complete state of one vCPU at an instruction boundary (SOFT/KVM images; see the kernel's KVM API
/// document for each struct).
struct VcpuState {
  kvm_regs regs{};
  kvm_sregs sregs{};
  kvm_debugregs debugregs{};
  XsaveArea xsave{};
  kvm_xcrs xcrs{};
  kvm_vcpu_events events{};
  kvm_mp_state mp_state{};
  kvm_lapic_state lapic{};
  std::vector<kvm_msr_entry> msrs;
};

/// State of the in-backend chips and the guest clock.
struct ChipState {
  kvm_irqchip pic_master{}, pic_slave{}, ioapic{};
  kvm_pit_state2 pit{};
  kvm_clock_data clock{};  // clock = guest ns at save time
};

class Vcpu {
 public:
  virtual ~Vcpu() = default;
  /// Runs on the caller's thread until one of RunResult's reasons. budget: instructions, ~0 =
  /// unbounded.
  virtual RunResult run(u64 budget) = 0;
  /// Makes a running run() return Kicked soon (now, or the next one if none runs). Any thread.
  virtual void kick() = 0;
  /// Instructions retired so far; a repeated string instruction counts once, when it is complete.
  virtual u64 icount() const = 0;
  virtual std::string error() const = 0;
  virtual void save(VcpuState& out) const = 0;
  /// Empty string if load() of this state would succeed, else a sentence that names the offending
  /// part.
  virtual std::string check(const VcpuState& in) const = 0;
  virtual void load(const VcpuState& in) = 0;
  virtual void reset() = 0;
};

class Vm {
 public:
  virtual ~Vm() = default;
  virtual Vcpu& vcpu(size_t index) = 0;
  virtual size_t vcpu_count() const = 0;
  /// Interrupt inputs, any thread. gsi 0..23: IOAPIC pins (0..15 also i8259).
  virtual void set_irq(u32 gsi, bool level) = 0;
  virtual void signal_msi(u64 address, u32 data) = 0;
  /// Guest ns of the next chip timer, ~0 if none; run_timers fires those that are due. Any thread.
  virtual u64 next_deadline_ns() const = 0;
  virtual void run_timers() = 0;
  /// As next_deadline_ns(), of the timers that this vCPU's thread is to wake for: each timer is one
  /// vCPU's.
  virtual u64 deadline_of(size_t cpu) const { return (void)cpu, next_deadline_ns(); }
  /// What to call when an interrupt became deliverable to a vCPU or its deadline moved, so that it
  /// looks again if it is halted, and its timer is set anew. Called on any thread, perhaps with a
  /// chip's lock held: it stores and signals, no more. Set while no vCPU runs. A backend whose
  /// kernel wakes and times by itself has nothing to call.
  virtual void set_wake(size_t cpu, std::function<void()> wake) { (void)cpu, (void)wake; }
  /// Doorbells that the backend's kernel hears by itself: a guest's ring then does not even leave
  /// guest code. False: the bus sees the write. On the main side, as is all of this group.
  virtual bool watch(const Doorbell& bell) { return (void)bell, false; }
  virtual void unwatch(u32 id) { (void)id; }
  /// Readable while a watched doorbell has rung and take_rung() has not told; -1: this backend
  /// watches none.
  virtual int rung_fd() const { return -1; }
  virtual void take_rung(const std::function<void(u32 id)>& rung) { (void)rung; }
  /// The chips' timers need no thread of ours.
  virtual bool times_itself() const { return false; }
  /// All vCPUs stand still and are about to run.
  virtual void before_run() {}
  virtual void save(ChipState& out) const = 0;
  virtual std::string check(const ChipState& in) const = 0;
  virtual void load(const ChipState& in) = 0;
  virtual void reset() = 0;
  /// The vCPUs stand still, and the guest will see that time has passed: tells those that keep time
  /// by kvmclock, so that their watchdogs do not take the pause for a lockup. Writes to guest RAM
  /// (and marks it).
  virtual void guest_stopped() = 0;
};

}  // namespace colo::vcpu
