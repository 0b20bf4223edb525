// File operations that Node lacks.
#pragma once
#include <napi.h>

namespace colo::addon {

/// Adds flock, ofdLock and fallocate to the module.
void add_files(Napi::Env env, Napi::Object module);

}  // namespace colo::addon
