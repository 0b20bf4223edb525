// Copying and comparing ranges of files on a thread: the bytes never come to JavaScript.
#pragma once
#include <napi.h>

namespace colo::addon {

/// Adds copyUnits and differenceAt to the module.
void add_file_copy(Napi::Env env, Napi::Object module);

}  // namespace colo::addon
