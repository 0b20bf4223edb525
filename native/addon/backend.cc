#include "addon/backend.h"

#include <stdexcept>

#include "addon/args.h"
#include "kvm/cpuid.h"
#include "kvm/detect.h"
#include "kvm/vm.h"
#include "soft/vm.h"

namespace colo::addon {

std::unique_ptr<vcpu::Vm> make_backend(const std::string& name, memory::GuestRam& ram,
                                       const vcpu::Buses& buses, vcpu::SettableClock& clock,
                                       const BackendOptions& options) {
  if (name == "soft")
    return std::make_unique<soft::SoftVm>(ram, buses, clock, options.model, options.in_turns);
  if (name == "kvm")
    return std::make_unique<kvm::KvmVm>(ram, buses, clock, options.model, options.dirty_ring);
  throw std::runtime_error("no CPU backend named '" + name + "'");
}

namespace {

/// (path = /dev/kvm, without = []); see kvm::Source.
kvm::Source to_source(const Napi::CallbackInfo& info) {
  kvm::Source source;
  if (!info[0].IsUndefined()) source.path = to_string(info[0], "path");
  if (!info[1].IsArray()) return source;
  const Napi::Array names = info[1].As<Napi::Array>();
  for (u32 i = 0; i < names.Length(); i++)
    source.without.push_back(to_string(names.Get(i), "without"));
  return source;
}

}  // namespace

Napi::Value detect_kvm(const Napi::CallbackInfo& info) {
  static constexpr const char* kKinds[] = {"none", "interpreted", "full"};
  kvm::Finding found = kvm::detect(to_source(info));
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("kind", kKinds[static_cast<int>(found.kind)]);
  out.Set("reason", found.reason);
  return out;
}

static Napi::Array to_array(Napi::Env env, const vcpu::Features& f) {
  Napi::Array words = Napi::Array::New(env);
  u32 at = 0;
  for (u32 word : {f.ecx1, f.edx1, f.ebx7, f.ecx7, f.ecx81, f.edx81, f.kvm, f.xsave1})
    words.Set(at++, word);
  return words;
}

Napi::Value cpu_model(const Napi::CallbackInfo& info) {
  const std::string backend = to_string(info[0], "backend");
  const vcpu::CpuModel m = backend == "kvm" ? kvm::host_model(kvm::Device()) : vcpu::soft_v1();
  Napi::Object out = Napi::Object::New(info.Env());
  out.Set("name", m.name);
  out.Set("vendor", m.vendor);
  out.Set("signature", m.signature);
  out.Set("brand", m.brand);
  out.Set("features", to_array(info.Env(), m.features));
  if (backend != "kvm") out.Set("most", to_array(info.Env(), vcpu::soft_features()));
  return out;
}

}  // namespace colo::addon
