// The clock that counts suspend, which Node lacks.
#pragma once
#include <napi.h>

namespace colo::addon {

/// Adds bootMs to the module.
void add_clock(Napi::Env env, Napi::Object module);

}  // namespace colo::addon
