// The run loop: what KVM_RUN comes back for.
#include "kvm/vcpu.h"

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstring>

#include "kvm/cpuid.h"
#include "kvm/vm.h"

namespace colo::kvm {

using vcpu::RunResult;

KvmVcpu::KvmVcpu(const KvmVm& vm, const Device& device, Fd fd, const vcpu::CpuModel& model,
                 u32 apic_id, const memory::GuestRam& ram, vcpu::Bus& bus)
    : vm_(vm),
      model_(model),
      apic_id_(apic_id),
      ram_(ram),
      bus_(bus),
      fd_(std::move(fd)),
      run_(fd_, device.run_page_size()),
      kicker_(*run_),
      has_xcrs_(device.capability(KVM_CAP_XCRS) > 0),
      msrs_(fd_) {
  set_cpuid(fd_, model, apic_id);
  msrs_.look(device.msr_indices());
  save(power_on_);
  power_on_.regs.rdx = model.signature;
}

// A kick makes the next entry come back at once, after it has completed the access that the last
// exit was for. So whenever this returns Kicked, nothing of the guest is half done.
RunResult KvmVcpu::run(u64) {
  kicker_.enter();
  Next next = Next::Enter;
  bool kicked = false;
  while (next == Next::Enter && !kicked) {
    if (kicker_.wanted()) __atomic_store_n(&run_->immediate_exit, 1, __ATOMIC_SEQ_CST);
    const int result = fd_.try_ioctl(KVM_RUN, 0);
    if (result >= 0) next = handle_exit();
    else if (errno == EINTR || errno == EAGAIN) kicked = kicker_.take();
    else next = give_up(std::string("KVM_RUN: ") + strerror(errno));
  }
  kicker_.leave();
  if (kicked) return RunResult::Kicked;
  return next == Next::Shutdown ? RunResult::Shutdown : RunResult::InternalError;
}

/// A request that the kernel refuses in the middle of it ends the guest, with what it was, and not
/// the process.
KvmVcpu::Next KvmVcpu::handle_exit() {
  try {
    return exit();
  } catch (const Error& e) {
    return give_up(e.what());
  }
}

KvmVcpu::Next KvmVcpu::exit() {
  switch (run_->exit_reason) {
    case KVM_EXIT_IO:
      return port_access(), Next::Enter;
    case KVM_EXIT_MMIO:
      return memory_access(), Next::Enter;
    case KVM_EXIT_INTR:
    case KVM_EXIT_IRQ_WINDOW_OPEN:
      return Next::Enter;
    case KVM_EXIT_SHUTDOWN:
      return Next::Shutdown;
    case KVM_EXIT_INTERNAL_ERROR:
      return internal_error();
    case KVM_EXIT_DIRTY_RING_FULL:
      return ring_full();
    case KVM_EXIT_FAIL_ENTRY:
      return give_up("the processor refused to enter the guest, reason " +
                     std::to_string(run_->fail_entry.hardware_entry_failure_reason));
    default:
      return give_up("KVM exit " + std::to_string(run_->exit_reason));
  }
}

void KvmVcpu::port_access() {
  const auto& io = run_->io;
  u8* data = run_.bytes() + io.data_offset;
  for (u32 i = 0; i < io.count; i++, data += io.size) {
    u32 value = 0;
    if (io.direction == KVM_EXIT_IO_OUT) {
      memcpy(&value, data, io.size);
      bus_.pio_write(io.port, io.size, value);
    } else {
      value = bus_.pio_read(io.port, io.size);
      memcpy(data, &value, io.size);
    }
  }
}

/// An access may have any length up to eight bytes, the bus has sizes 1, 2, 4, 8.
void KvmVcpu::memory_access() {
  auto& mmio = run_->mmio;
  for (u32 done = 0; done < mmio.len;) {
    const u32 left = mmio.len - done;
    const u8 size = left >= 8 ? 8 : left >= 4 ? 4 : left >= 2 ? 2 : 1;
    u64 value = 0;
    if (mmio.is_write) {
      memcpy(&value, mmio.data + done, size);
      bus_.mmio_write(mmio.phys_addr + done, size, value);
    } else {
      value = bus_.mmio_read(mmio.phys_addr + done, size);
      memcpy(mmio.data + done, &value, size);
    }
    done += size;
  }
}

KvmVcpu::Next KvmVcpu::give_up(const std::string& what) {
  error_ = what + where();
  return Next::Error;
}

// KVM cannot fetch from a device. What an empty bus floats to, FF FF, is no instruction: a
// processor would raise #UD there, and that is what KVM has queued with this exit, for whoever goes
// on.
KvmVcpu::Next KvmVcpu::internal_error() {
  const u32 code = run_->internal.suberror;
  if (code != KVM_INTERNAL_ERROR_EMULATION)
    return give_up("KVM internal error " + std::to_string(code));
  if (!at_device()) return give_up("KVM cannot emulate the guest's instruction");
  constexpr u8 kUndefined = 6;
  kvm_vcpu_events events;
  get("KVM_GET_VCPU_EVENTS", KVM_GET_VCPU_EVENTS, events);
  if (events.exception.injected && events.exception.nr == kUndefined) return Next::Enter;
  return give_up("the guest executes device memory, and this KVM does not give it the exception");
}

bool KvmVcpu::at_device() const {
  kvm_regs r;
  kvm_sregs s;
  get("KVM_GET_REGS", KVM_GET_REGS, r);
  get("KVM_GET_SREGS", KVM_GET_SREGS, s);
  kvm_translation at{};
  at.linear_address = s.cs.base + r.rip;
  return fd_.try_ioctl(KVM_TRANSLATE, &at) >= 0 && at.valid &&
         !ram_.map().slot_of(at.physical_address);
}

/// One that stays full though it was emptied is a defect of the kernel's KVM: pages may be missing
/// from the log.
KvmVcpu::Next KvmVcpu::ring_full() {
  constexpr int kPatience = 100;
  stuck_ = vm_.relieve_ring() ? 0 : stuck_ + 1;
  return stuck_ < kPatience
             ? Next::Enter
             : give_up("KVM says that its ring of dirty pages is full, and it is empty");
}

/// Registers, and the bytes at RIP where they can be read.
std::string KvmVcpu::where() const {
  kvm_regs r{};
  kvm_sregs s{};
  if (fd_.try_ioctl(KVM_GET_REGS, &r) < 0 || fd_.try_ioctl(KVM_GET_SREGS, &s) < 0) return "";
  char text[640];
  int n = snprintf(text, sizeof text,
                   " at RIP 0x%llx, RFLAGS 0x%llx, CS 0x%x, CR0 0x%llx, CR3 0x%llx, CR4 0x%llx, "
                   "EFER 0x%llx, RAX %llx RBX %llx RCX %llx RDX %llx "
                   "RSI %llx RDI %llx RSP %llx RBP %llx; bytes:",
                   r.rip, r.rflags, s.cs.selector, s.cr0, s.cr3, s.cr4, s.efer, r.rax, r.rbx, r.rcx,
                   r.rdx, r.rsi, r.rdi, r.rsp, r.rbp);
  kvm_translation at{};
  at.linear_address = s.cs.base + r.rip;
  const bool mapped = fd_.try_ioctl(KVM_TRANSLATE, &at) >= 0 && at.valid;
  const u8* bytes = mapped ? ram_.map().hva(at.physical_address, 1) : nullptr;
  if (!bytes) return std::string(text) + " not in RAM";
  const u64 in_page = std::min<u64>(15, kPageSize - (at.physical_address & ~kPageMask));
  for (u64 i = 0; i < in_page; i++)
    n += snprintf(text + n, sizeof text - static_cast<size_t>(n), " %02x", bytes[i]);
  return text;
}

}  // namespace colo::kvm
