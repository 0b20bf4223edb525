// zstd, which Node 20 lacks.
#pragma once
#include <napi.h>

namespace colo::addon {

/// Adds zstdDecompress and zstdCompress to the module.
void add_zstd(Napi::Env env, Napi::Object module);

}  // namespace colo::addon
