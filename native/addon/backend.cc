#include "addon/backend.h"

#include <stdexcept>

namespace colo::addon {

std::unique_ptr<vcpu::Vm> make_backend(const std::string& name, memory::GuestRam&, vcpu::Bus&, vcpu::Clock&) {
  throw std::runtime_error("no CPU backend named '" + name + "'");
}

}  // namespace colo::addon
