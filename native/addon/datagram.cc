#include "addon/datagram.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string>

#include "addon/args.h"
#include "addon/system_error.h"

namespace colo::addon {

namespace {

/// 0, or errno. It never waits: a receiver that does not read must not stop the sender's loop.
int send_to(const std::string& name, const std::string& text) {
  sockaddr_un to{};
  to.sun_family = AF_UNIX;
  if (name.empty()) return EINVAL;
  if (name.size() >= sizeof to.sun_path) return ENAMETOOLONG;
  std::memcpy(to.sun_path, name.data(), name.size());
  // The length ends an abstract name, which may hold anything.
  if (name[0] == '@') to.sun_path[0] = '\0';
  auto length = static_cast<socklen_t>(offsetof(sockaddr_un, sun_path) + name.size());
  int fd = ::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return errno;
  ssize_t n = ::sendto(fd, text.data(), text.size(), MSG_DONTWAIT | MSG_NOSIGNAL,
                       reinterpret_cast<const sockaddr*>(&to), length);
  int error = n < 0 ? errno : 0;
  ::close(fd);
  return error;
}

/// sendDatagram(name, text); a name that begins with @ is an abstract one.
void send_datagram(const Napi::CallbackInfo& info) {
  std::string name = to_string(info[0], "name");
  int error = send_to(name, to_string(info[1], "text"));
  if (error != 0) throw system_error(info.Env(), error, "sendto", name);
}

}  // namespace

void add_datagram(Napi::Env env, Napi::Object module) {
  module.Set("sendDatagram", Napi::Function::New<send_datagram>(env, "sendDatagram"));
}

}  // namespace colo::addon
