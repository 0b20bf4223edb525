// CPU model soft-v1 on KVM: what CPUID shows is the model's, and every instruction of it must be one that this host can give.
#pragma once
#include <vector>

#include "kvm/device.h"
#include "vcpu/model.h"

namespace colo::kvm {

/// Throws Error that names the feature which this host does not have.
void set_cpuid(const Fd& vcpu, const std::vector<kvm_cpuid_entry2>& supported);

}  // namespace colo::kvm
