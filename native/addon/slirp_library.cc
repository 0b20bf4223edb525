#include "addon/slirp_library.h"

#ifdef COLO_HAS_SLIRP
#include <dlfcn.h>

#include <optional>

namespace colo::addon {

namespace {

template <class F>
bool find(void* library, const char* name, F& function) {
  function = reinterpret_cast<F>(dlsym(library, name));
  return function != nullptr;
}

std::optional<SlirpLibrary> load() {
  void* library = dlopen("libslirp.so.0", RTLD_NOW | RTLD_LOCAL);
  SlirpLibrary s{};
  const bool whole =
      library && find(library, "slirp_new", s.create) &&
      find(library, "slirp_cleanup", s.destroy) && find(library, "slirp_pollfds_fill", s.fill) &&
      find(library, "slirp_pollfds_poll", s.serve) && find(library, "slirp_input", s.input) &&
      find(library, "slirp_add_hostfwd", s.add_forward) &&
      find(library, "slirp_remove_hostfwd", s.remove_forward) &&
      find(library, "slirp_connection_info", s.connections);
  return whole ? std::optional(s) : std::nullopt;
}

}  // namespace

/// Once for the process, and for good: its code does not change from one environment to another.
const SlirpLibrary* slirp_library() {
  static const std::optional<SlirpLibrary> library = load();
  return library ? &*library : nullptr;
}

}  // namespace colo::addon
#endif
