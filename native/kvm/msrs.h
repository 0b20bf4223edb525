// The model-specific registers of a state image on KVM: which of the model's this host has, and
// which of the host's own a guest has changed.
#pragma once
#include <string>
#include <vector>

#include "kvm/device.h"

namespace colo::kvm {

namespace msr {
constexpr u32 TSC = 0x10, TSC_ADJUST = 0x3b, TSC_DEADLINE = 0x6e0, WALL_CLOCK = 0x4b564d00,
              SYSTEM_TIME = 0x4b564d01;
}

class MsrTable {
 public:
  explicit MsrTable(const Fd& vcpu) : vcpu_(vcpu) {}
  /// Looks which registers there are, and notes what they hold at power-on. host:
  /// KVM_GET_MSR_INDEX_LIST.
  void look(const std::vector<u32>& host);
  /// The model's registers, and any other that no longer holds what it held at power-on: then the
  /// side that loads it can refuse it by name.
  std::vector<kvm_msr_entry> read() const;
  /// Empty, or the first register of the image that would be lost here.
  std::string check(const std::vector<kvm_msr_entry>& image) const;
  /// Precondition: check() found nothing.
  void write(const std::vector<kvm_msr_entry>& image) const;
  void write(u32 index, u64 value) const;
  bool has(u32 index) const;

 private:
  bool get(u32 index, u64& value) const;
  /// Values of `indices`, which are all there.
  std::vector<kvm_msr_entry> values(const std::vector<u32>& indices) const;

  const Fd& vcpu_;
  std::vector<u32> model_;               // of the model, and here
  std::vector<kvm_msr_entry> power_on_;  // the rest
};

}  // namespace colo::kvm
