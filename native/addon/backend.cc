#include "addon/backend.h"

#include <stdexcept>

#include "kvm/detect.h"
#include "kvm/vm.h"
#include "soft/vm.h"

namespace colo::addon {

std::unique_ptr<vcpu::Vm> make_backend(const std::string& name, memory::GuestRam& ram, vcpu::Bus& bus, vcpu::SettableClock& clock) {
  if (name == "soft") return std::make_unique<soft::SoftVm>(ram, bus, clock);
  if (name == "kvm") return std::make_unique<kvm::KvmVm>(ram, bus, clock);
  throw std::runtime_error("no CPU backend named '" + name + "'");
}

Napi::Value detect_kvm(const Napi::CallbackInfo& info) {
  static constexpr const char* kKinds[] = {"none", "interpreted", "full"};
  kvm::Finding found = kvm::detect();
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("kind", kKinds[static_cast<int>(found.kind)]);
  out.Set("reason", found.reason);
  return out;
}

}  // namespace colo::addon
