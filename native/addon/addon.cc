// The addon: module `vm` (memory and CPUs) and module `host` (what Node lacks: files, taps,
// heartbeats, datagrams, user networks, zstd).
#include <napi.h>

#include "addon/addon_data.h"
#include "addon/backend.h"
#include "addon/clock.h"
#include "addon/datagram.h"
#include "addon/file_copy.h"
#include "addon/files.h"
#include "addon/guest_ram.h"
#include "addon/heartbeat.h"
#include "addon/page_codec.h"
#include "addon/slirp.h"
#include "addon/tap.h"
#include "addon/vcpu.h"
#include "addon/vm.h"
#include "addon/xattr.h"
#include "addon/zstd.h"

namespace colo::addon {

Napi::Object vm_module(Napi::Env env) {
  Napi::Object module = Napi::Object::New(env);
  module.Set("GuestRam", GuestRamWrap::define(env));
  module.Set("PageCodec", PageCodecWrap::define(env));
  module.Set("Vm", VmWrap::define(env));
  module.Set("Vcpu", VcpuWrap::define(env));
  module.Set("detectKvm", Napi::Function::New<detect_kvm>(env, "detectKvm"));
  module.Set("cpuModel", Napi::Function::New<cpu_model>(env, "cpuModel"));
  return module;
}

Napi::Object host_module(Napi::Env env) {
  Napi::Object module = Napi::Object::New(env);
  module.Set("Tap", TapWrap::define(env));
  module.Set("Heartbeat", HeartbeatWrap::define(env));
  add_clock(env, module);
  add_datagram(env, module);
  add_files(env, module);
  add_file_copy(env, module);
  add_slirp(env, module);
  add_xattr(env, module);
  add_zstd(env, module);
  return module;
}

namespace {

Napi::Object init(Napi::Env env, Napi::Object exports) {
  exports.Set("vm", vm_module(env));
  exports.Set("host", host_module(env));
  return exports;
}

}  // namespace

NODE_API_MODULE(NODE_GYP_MODULE_NAME, init)

}  // namespace colo::addon
