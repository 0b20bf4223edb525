// /dev/kvm: the file descriptors, and what this kernel's KVM can do (the kernel's KVM API
// document).
#pragma once
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <stdexcept>
#include <string>
#include <vector>

#include "base/types.h"

namespace colo::kvm {

/// A sentence for people: which call was refused, and why.
class Error : public std::runtime_error {
 public:
  using std::runtime_error::runtime_error;
  /// what: the call. Adds the text of errno.
  static Error of_errno(const std::string& what);
};

/// A file descriptor that its owner closes.
class Fd {
 public:
  Fd() = default;
  explicit Fd(int fd) : fd_(fd) {}
  Fd(Fd&& other) noexcept : fd_(other.fd_) { other.fd_ = -1; }
  Fd& operator=(Fd&& other) noexcept;
  ~Fd();
  int get() const { return fd_; }

  /// The raw ioctl: its result, or -1 with errno.
  template <class Argument>
  int try_ioctl(unsigned long request, Argument argument) const {
    return ::ioctl(fd_, request, argument);
  }
  /// Throws Error, named `what`, if the kernel refuses.
  template <class Argument>
  int call(const char* what, unsigned long request, Argument argument) const {
    int result = try_ioctl(request, argument);
    if (result < 0) throw Error::of_errno(what);
    return result;
  }

 private:
  int fd_ = -1;
};

/// The shared page of one vCPU.
class RunPage {
 public:
  RunPage(const Fd& vcpu, size_t size);
  ~RunPage();
  RunPage(const RunPage&) = delete;
  RunPage& operator=(const RunPage&) = delete;
  kvm_run* operator->() const { return run_; }
  kvm_run& operator*() const { return *run_; }
  u8* bytes() const { return reinterpret_cast<u8*>(run_); }

 private:
  kvm_run* run_;
  size_t size_;
};

/// Where KVM is found. Tests name another device, and capabilities to be taken for absent.
struct Source {
  std::string path = "/dev/kvm";
  std::vector<std::string> without;  // "KVM_CAP_IRQCHIP"
};

class Device {
 public:
  /// Opens the device and looks for all that this backend needs; throws a sentence that says what
  /// is missing and what to do.
  explicit Device(Source source = {});
  Fd create_vm() const;
  int capability(long which) const { return fd_.try_ioctl(KVM_CHECK_EXTENSION, which); }
  size_t run_page_size() const;
  std::vector<kvm_cpuid_entry2> supported_cpuid() const;
  std::vector<u32> msr_indices() const;

 private:
  Fd fd_;
};

}  // namespace colo::kvm
