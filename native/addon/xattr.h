// Extended attributes of open files, which Node lacks.
#pragma once
#include <napi.h>

namespace colo::addon {

/// Adds getXattr and setXattr to the module.
void add_xattr(Napi::Env env, Napi::Object module);

}  // namespace colo::addon
