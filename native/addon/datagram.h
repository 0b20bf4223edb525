// Datagrams to Unix sockets, which Node lacks.
#pragma once
#include <napi.h>

namespace colo::addon {

/// Adds sendDatagram to the module.
void add_datagram(Napi::Env env, Napi::Object module);

}  // namespace colo::addon
