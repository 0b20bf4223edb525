// libslirp, the TCP/IP stack of QEMU's user network, if this host has it. It is looked up when it
// is first wanted: a build without its header, and a host without the library, lack the user
// network and nothing else.
#pragma once

#if __has_include(<slirp/libslirp.h>)
#define COLO_HAS_SLIRP 1
#include <slirp/libslirp.h>

namespace colo::addon {

#pragma GCC diagnostic push
// Newer versions have wider forms of some of these, and keep the old ones.
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
struct SlirpLibrary {
  decltype(&::slirp_new) create;
  decltype(&::slirp_cleanup) destroy;
  decltype(&::slirp_pollfds_fill) fill;
  decltype(&::slirp_pollfds_poll) serve;
  decltype(&::slirp_input) input;
  decltype(&::slirp_add_hostfwd) add_forward;
  decltype(&::slirp_remove_hostfwd) remove_forward;
  decltype(&::slirp_connection_info) connections;
};
#pragma GCC diagnostic pop

/// null: this host has none.
const SlirpLibrary* slirp_library();

}  // namespace colo::addon
#endif
