#include "addon/heartbeat.h"

#include <arpa/inet.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "addon/args.h"
#include "addon/system_error.h"

namespace colo::addon {

namespace {

constexpr int kReceiveBytes = 16 * 1024;

struct SocketAddress {
  sockaddr_storage storage{};
  socklen_t length = 0;
  const sockaddr* get() const { return reinterpret_cast<const sockaddr*>(&storage); }
};

/// A numeric address of either family; its zone is the interface of a link-local one.
SocketAddress to_address(Napi::Env env, const std::string& host, u32 port, u32 zone) {
  SocketAddress a;
  auto* v4 = reinterpret_cast<sockaddr_in*>(&a.storage);
  auto* v6 = reinterpret_cast<sockaddr_in6*>(&a.storage);
  if (inet_pton(AF_INET, host.c_str(), &v4->sin_addr) == 1) {
    v4->sin_family = AF_INET;
    v4->sin_port = htons(static_cast<u16>(port));
    a.length = sizeof *v4;
  } else if (inet_pton(AF_INET6, host.c_str(), &v6->sin6_addr) == 1) {
    v6->sin6_family = AF_INET6;
    v6->sin6_port = htons(static_cast<u16>(port));
    v6->sin6_scope_id = zone;
    a.length = sizeof *v6;
  } else {
    throw Napi::TypeError::New(env, "host must be a numeric address");
  }
  return a;
}

int open_socket(Napi::Env env, const std::string& host, u32 port, u32 zone) {
  const SocketAddress at = to_address(env, host, port, zone);
  const int fd = socket(at.storage.ss_family, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  if (fd < 0) throw system_error(env, errno, "socket");
  setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &kReceiveBytes, sizeof kReceiveBytes);
  if (bind(fd, at.get(), at.length) < 0) {
    const int error = errno;
    ::close(fd);
    throw system_error(env, error, "bind", host);
  }
  return fd;
}

u32 port_of(int fd) {
  sockaddr_storage a{};
  socklen_t length = sizeof a;
  if (getsockname(fd, reinterpret_cast<sockaddr*>(&a), &length) < 0) return 0;
  return ntohs(a.ss_family == AF_INET ? reinterpret_cast<sockaddr_in*>(&a)->sin_port
                                      : reinterpret_cast<sockaddr_in6*>(&a)->sin6_port);
}

SipKey to_key(const Napi::Value& v) {
  const auto bytes = to_bytes(v);
  SipKey key;
  if (bytes.size() != sizeof key) throw Napi::TypeError::New(v.Env(), "a key has 16 bytes");
  memcpy(key.data(), bytes.data(), sizeof key);
  return key;
}

}  // namespace

Napi::Function HeartbeatWrap::define(Napi::Env env) {
  using W = HeartbeatWrap;
  return DefineClass(
      env, "Heartbeat",
      {InstanceMethod<&W::port>("port"), InstanceMethod<&W::aim>("aim"),
       InstanceMethod<&W::turned>("turned"), InstanceMethod<&W::set_interval>("setInterval"),
       InstanceMethod<&W::silent_ms>("silentMs"), InstanceMethod<&W::close>("close")});
}

/// new Heartbeat(host, zone, port, key, side, intervalMs, loopLimitMs). port 0: any.
HeartbeatWrap::HeartbeatWrap(const Napi::CallbackInfo& info) : ObjectWrap(info) {
  const HeartbeatThread::Options options{to_key(info[3]), to_u32(info[4], "side"),
                                         to_u32(info[5], "intervalMs"),
                                         to_u32(info[6], "loopLimitMs")};
  const int fd = open_socket(info.Env(), to_string(info[0], "host"), to_u32(info[2], "port"),
                             to_u32(info[1], "zone"));
  port_ = port_of(fd);
  thread_ = std::make_unique<HeartbeatThread>(fd, options);
}

/// aim(host, zone, port)
void HeartbeatWrap::aim(Info info) {
  const SocketAddress to = to_address(info.Env(), to_string(info[0], "host"),
                                      to_u32(info[2], "port"), to_u32(info[1], "zone"));
  if (thread_ && !thread_->aim(to.get(), to.length))
    throw system_error(info.Env(), errno, "connect", to_string(info[0], "host"));
}

void HeartbeatWrap::turned(Info info) {
  if (thread_) thread_->turned(to_u32(info[0], "busyMs"));
}

void HeartbeatWrap::set_interval(Info info) {
  if (thread_) thread_->set_interval(to_u32(info[0], "intervalMs"));
}

/// undefined: never heard.
Napi::Value HeartbeatWrap::silent_ms(Info info) {
  const auto silent = thread_ ? thread_->silent_ms() : std::nullopt;
  return silent ? Napi::Number::New(info.Env(), *silent) : info.Env().Undefined();
}

}  // namespace colo::addon
