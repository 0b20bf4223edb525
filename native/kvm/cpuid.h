// A CPU model on KVM: what CPUID shows is the model's. Whether this host can give it is asked
// before there is a VM (src/accel/cpu-model.ts).
#pragma once
#include <vector>

#include "kvm/device.h"
#include "vcpu/model.h"

namespace colo::kvm {

void set_cpuid(const Fd& vcpu, const vcpu::CpuModel& model, u32 apic_id);

/// The processor that this host's KVM can give at most, with the host's own name.
vcpu::CpuModel host_model(const Device& device);

}  // namespace colo::kvm
