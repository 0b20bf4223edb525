// Which CPU backends this build has.
#pragma once
#include <napi.h>

#include <memory>
#include <string>

#include "vcpu/clock.h"
#include "vcpu/contract.h"
#include "vcpu/model.h"

namespace colo::addon {

struct BackendOptions {
  vcpu::CpuModel model;
  bool dirty_ring = false;  // KVM: its dirty ring, where the kernel has one
  bool in_turns = false;    // soft: one thread runs all vCPUs
};

/// Throws std::runtime_error with a sentence if there is no backend of that name.
std::unique_ptr<vcpu::Vm> make_backend(const std::string& name, memory::GuestRam& ram,
                                       const vcpu::Buses& buses, vcpu::SettableClock& clock,
                                       const BackendOptions& options);

/// cpuModel(backend) -> {name, vendor, signature, brand, features}: the most that the backend can
/// give here.
Napi::Value cpu_model(const Napi::CallbackInfo& info);

/// detectKvm() -> {kind: 'none' | 'interpreted' | 'full', reason}; see native/kvm/detect.h.
Napi::Value detect_kvm(const Napi::CallbackInfo& info);

}  // namespace colo::addon
