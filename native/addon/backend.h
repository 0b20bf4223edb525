// Which CPU backends this build has.
#pragma once
#include <napi.h>

#include <memory>
#include <string>

#include "vcpu/clock.h"
#include "vcpu/contract.h"

namespace colo::addon {

/// Throws std::runtime_error with a sentence if there is no backend of that name.
std::unique_ptr<vcpu::Vm> make_backend(const std::string& name, memory::GuestRam& ram, vcpu::Bus& bus, vcpu::SettableClock& clock);

/// detectKvm() -> {kind: 'none' | 'interpreted' | 'full', reason}; see native/kvm/detect.h.
Napi::Value detect_kvm(const Napi::CallbackInfo& info);

}  // namespace colo::addon
