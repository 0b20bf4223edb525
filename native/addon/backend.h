// Which CPU backends this build has.
#pragma once
#include <memory>
#include <string>

#include "vcpu/contract.h"

namespace colo::addon {

/// Throws std::runtime_error with a sentence if there is no backend of that name.
std::unique_ptr<vcpu::Vm> make_backend(const std::string& name, memory::GuestRam& ram, vcpu::Bus& bus, vcpu::Clock& clock);

}  // namespace colo::addon
