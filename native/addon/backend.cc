#include "addon/backend.h"

#include <stdexcept>

#include "soft/vm.h"

namespace colo::addon {

std::unique_ptr<vcpu::Vm> make_backend(const std::string& name, memory::GuestRam& ram, vcpu::Bus& bus, vcpu::Clock& clock) {
  if (name == "soft") return std::make_unique<soft::SoftVm>(ram, bus, clock);
  throw std::runtime_error("no CPU backend named '" + name + "'");
}

}  // namespace colo::addon
