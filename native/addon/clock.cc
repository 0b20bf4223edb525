#include "addon/clock.h"

#include <time.h>

namespace colo::addon {

namespace {

double read_ms(clockid_t clock) {
  timespec now{};
  clock_gettime(clock, &now);  // cannot fail on Linux
  return static_cast<double>(now.tv_sec) * 1e3 + static_cast<double>(now.tv_nsec) / 1e6;
}

/// bootMs() -> number; asked before each packet that leaves.
Napi::Value boot_ms(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), read_ms(CLOCK_BOOTTIME));
}

/// wallMs() -> number, since 1970, with its microseconds.
Napi::Value wall_ms(const Napi::CallbackInfo& info) {
  return Napi::Number::New(info.Env(), read_ms(CLOCK_REALTIME));
}

}  // namespace

void add_clock(Napi::Env env, Napi::Object module) {
  module.Set("bootMs", Napi::Function::New<boot_ms>(env, "bootMs"));
  module.Set("wallMs", Napi::Function::New<wall_ms>(env, "wallMs"));
}

}  // namespace colo::addon
