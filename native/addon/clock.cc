#include "addon/clock.h"

#include <time.h>

namespace colo::addon {

namespace {

/// bootMs() -> number; asked before each packet that leaves.
Napi::Value boot_ms(const Napi::CallbackInfo& info) {
  timespec now{};
  clock_gettime(CLOCK_BOOTTIME, &now);  // cannot fail on Linux
  return Napi::Number::New(
      info.Env(), static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6);
}

}  // namespace

void add_clock(Napi::Env env, Napi::Object module) {
  module.Set("bootMs", Napi::Function::New<boot_ms>(env, "bootMs"));
}

}  // namespace colo::addon
