#include "addon/vcpu.h"

#include "addon/addon_data.h"
#include "addon/args.h"
#include "vcpu/image.h"

namespace colo::addon {

Napi::Function VcpuWrap::define(Napi::Env env) {
  using W = VcpuWrap;
  return DefineClass(
      env, "Vcpu",
      {InstanceMethod<&W::stop>("stop"), InstanceMethod<&W::run_for>("runFor"),
       InstanceMethod<&W::icount>("icount"), InstanceMethod<&W::error>("error"),
       InstanceMethod<&W::save_state>("saveState"), InstanceMethod<&W::check_state>("checkState"),
       InstanceMethod<&W::load_state>("loadState")});
}

VcpuWrap::VcpuWrap(const Napi::CallbackInfo& info)
    : ObjectWrap(info), vm_(unwrap<VmWrap>(info[0], kVmTag, "vm must be a Vm")) {
  vm_object_ = Napi::Persistent(info[0].As<Napi::Object>());
  runner_ = vm_->runner();
  index_ = to_u32(info[1], "index");
  if (index_ >= runner_->cpu_count()) throw Napi::RangeError::New(info.Env(), "no such vCPU");
}

void VcpuWrap::require_stopped(Napi::Env env, const char* what) const {
  if (runner_->running())
    throw Napi::Error::New(env, std::string(what) + " wants the vCPU stopped");
}

void VcpuWrap::stop(Info) { runner_->stop(); }

/// The number of vcpu::RunResult.
Napi::Value VcpuWrap::run_for(Info info) {
  if (!runner_->stepped())
    throw Napi::Error::New(info.Env(), "only a stepped vCPU runs on the caller's thread");
  vcpu::RunResult result = runner_->run_for(to_u64(info[0], "instructions"));
  if (auto thrown = vm_->take_thrown()) throw *thrown;
  return Napi::Number::New(info.Env(), static_cast<int>(result));
}

Napi::Value VcpuWrap::icount(Info info) {
  return Napi::BigInt::New(info.Env(), static_cast<uint64_t>(cpu().icount()));
}
Napi::Value VcpuWrap::error(Info info) { return Napi::String::New(info.Env(), cpu().error()); }

Napi::Value VcpuWrap::save_state(Info info) {
  require_stopped(info.Env(), "saving state");
  vcpu::VcpuState state;
  cpu().save(state);
  std::vector<u8> bytes = vcpu::encode(state);
  return Napi::Buffer<u8>::Copy(info.Env(), bytes.data(), bytes.size());
}

Napi::Value VcpuWrap::check_state(Info info) {
  vcpu::VcpuState state;
  std::string problem = vcpu::decode(to_bytes(info[0]), state);
  if (problem.empty()) problem = cpu().check(state);
  return problem.empty() ? info.Env().Undefined() : Napi::String::New(info.Env(), problem);
}

void VcpuWrap::load_state(Info info) {
  require_stopped(info.Env(), "loading state");
  vcpu::VcpuState state;
  std::string problem = vcpu::decode(to_bytes(info[0]), state);
  if (problem.empty()) problem = cpu().check(state);
  if (!problem.empty()) throw Napi::Error::New(info.Env(), problem);
  cpu().load(state);
}

}  // namespace colo::addon
