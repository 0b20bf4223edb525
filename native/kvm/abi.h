// The requests whose argument ends in a flexible array. C++ counts such a tail as one to four
// bytes, and both the size that is part of the request's number and the place of the entries come
// out wrong: they are written down here as the kernel has them.
#pragma once
#include <linux/kvm.h>
#include <sys/ioctl.h>

#include <cstring>
#include <vector>

#include "base/types.h"
#include "vcpu/contract.h"

namespace colo::kvm {

constexpr unsigned long kGetMsrIndexList = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x02, 4);
constexpr unsigned long kGetSupportedCpuid = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x05, 8);
constexpr unsigned long kGetMsrs = _IOC(_IOC_READ | _IOC_WRITE, KVMIO, 0x88, 8);
constexpr unsigned long kSetMsrs = _IOC(_IOC_WRITE, KVMIO, 0x89, 8);
constexpr unsigned long kSetCpuid2 = _IOC(_IOC_WRITE, KVMIO, 0x90, 8);
constexpr unsigned long kGetXsave = _IOC(_IOC_READ, KVMIO, 0xa4, sizeof(vcpu::XsaveArea));
constexpr unsigned long kSetXsave = _IOC(_IOC_WRITE, KVMIO, 0xa5, sizeof(vcpu::XsaveArea));

/// A count, padding up to `header` bytes, then entries.
template <class Entry, size_t header>
class Counted {
 public:
  explicit Counted(size_t room) : bytes_(header + room * sizeof(Entry)) {
    set_count(static_cast<u32>(room));
  }
  explicit Counted(const std::vector<Entry>& entries) : Counted(entries.size()) {
    if (!entries.empty())
      memcpy(bytes_.data() + header, entries.data(), entries.size() * sizeof(Entry));
  }
  void* data() { return bytes_.data(); }
  u32 count() const {
    u32 n;
    memcpy(&n, bytes_.data(), sizeof n);
    return n;
  }
  /// The first n.
  std::vector<Entry> entries(size_t n) const {
    std::vector<Entry> out(n);
    if (n) memcpy(out.data(), bytes_.data() + header, n * sizeof(Entry));
    return out;
  }

 private:
  void set_count(u32 n) { memcpy(bytes_.data(), &n, sizeof n); }
  std::vector<u8> bytes_;
};

using CpuidList = Counted<kvm_cpuid_entry2, 8>;
using MsrList = Counted<kvm_msr_entry, 8>;
using IndexList = Counted<u32, 4>;
static_assert(sizeof(kvm_cpuid_entry2) == 40 && sizeof(kvm_msr_entry) == 16);

}  // namespace colo::kvm
