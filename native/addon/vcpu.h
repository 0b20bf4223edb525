// JS face of one vCPU.
#pragma once
#include <napi.h>

#include <memory>

#include "addon/vm.h"
#include "vcpu/runner.h"

namespace colo::addon {

class VcpuWrap final : public Napi::ObjectWrap<VcpuWrap> {
 public:
  static Napi::Function define(Napi::Env env);
  explicit VcpuWrap(const Napi::CallbackInfo& info);

 private:
  using Info = const Napi::CallbackInfo&;
  /// Stepped: makes run_for() return.
  void stop(Info info);
  Napi::Value run_for(Info info);
  Napi::Value icount(Info info);
  Napi::Value error(Info info);
  Napi::Value save_state(Info info);
  Napi::Value check_state(Info info);
  void load_state(Info info);
  vcpu::Vcpu& cpu() const { return runner_->cpu(index_); }
  void require_stopped(Napi::Env env, const char* what) const;

  Napi::ObjectReference vm_object_;  // keeps the VM as long as its vCPU
  VmWrap* vm_;
  size_t index_;
  std::shared_ptr<vcpu::Runner> runner_;
};

}  // namespace colo::addon
