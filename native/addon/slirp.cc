#include "addon/slirp.h"

#ifdef COLO_HAS_SLIRP
#include <arpa/inet.h>

#include <string>

#include "addon/args.h"
#include "addon/system_error.h"
#endif

namespace colo::addon {

#ifdef COLO_HAS_SLIRP
namespace {

/// Then the loop's other work gets its turn.
constexpr int kFramesPerBatch = 64;

in_addr to_ipv4(const Napi::Value& v, const char* name) {
  in_addr address{};
  if (inet_pton(AF_INET, to_string(v, name).c_str(), &address) != 1)
    throw Napi::TypeError::New(v.Env(), std::string(name) + " must be an IPv4 address");
  return address;
}

int to_port(const Napi::Value& v) { return static_cast<int>(to_u32(v, "port") & 0xffff); }

SlirpThread::Options to_options(const Napi::Value& v) {
  if (!v.IsObject()) throw Napi::TypeError::New(v.Env(), "options must be an object");
  const auto o = v.As<Napi::Object>();
  const auto flag = [&](const char* name) { return o.Get(name).ToBoolean().Value(); };
  const auto address = [&](const char* name) { return to_ipv4(o.Get(name), name); };
  return {.ipv4 = flag("ipv4"),
          .ipv6 = flag("ipv6"),
          .restricted = flag("restrict"),
          .net = address("net"),
          .mask = address("mask"),
          .host = address("host"),
          .dns = address("dns"),
          .dhcp_start = address("dhcpStart"),
          .hostname = to_string(o.Get("hostname"), "hostname")};
}

}  // namespace

Napi::Function SlirpWrap::define(Napi::Env env) {
  using W = SlirpWrap;
  return DefineClass(
      env, "Slirp",
      {InstanceMethod<&W::send>("send"), InstanceMethod<&W::receive>("receive"),
       InstanceMethod<&W::set_reading>("setReading"), InstanceMethod<&W::add_forward>("addForward"),
       InstanceMethod<&W::remove_forward>("removeForward"),
       InstanceMethod<&W::connections>("connections"), InstanceMethod<&W::dropped>("dropped"),
       InstanceMethod<&W::close>("close")});
}

/// new Slirp(options, onBell). onBell: frames wait, and reading is on. Reading is off at first.
SlirpWrap::SlirpWrap(const Napi::CallbackInfo& info)
    : ObjectWrap(info),
      context_(info.Env(), "colo:slirp"),
      loop_(info.Env(), [this] { called(); }, [this] { thread_.reset(); }) {
  const auto options = to_options(info[0]);
  on_bell_.set(to_function(info[1], "onBell"));
  thread_ = std::make_unique<SlirpThread>(*slirp_library(), options, [this] { loop_.ring(); });
  Ref();
}

void SlirpWrap::called() {
  if (!thread_ || !reading_) return;
  Napi::HandleScope scope(Env());
  [[maybe_unused]] Napi::Object self = Value();  // the callback may close us
  on_bell_.deliver(Env(), context_, {});
}

/// send(frame): false: no room, the frame was not taken.
Napi::Value SlirpWrap::send(Info info) {
  const auto frame = to_bytes(info[0]);
  return Napi::Boolean::New(info.Env(), thread_ && thread_->send(frame));
}

/// receive(batch): the bytes that are filled: frames, each behind its length. The bell rings again
/// for more.
Napi::Value SlirpWrap::receive(Info info) {
  const auto batch = to_bytes(info[0]);
  const size_t filled = thread_ ? thread_->receive(batch, kFramesPerBatch) : 0;
  if (thread_ && thread_->waits()) loop_.ring();
  return Napi::Number::New(info.Env(), static_cast<double>(filled));
}

void SlirpWrap::set_reading(Info info) {
  reading_ = info[0].ToBoolean();
  if (!thread_) return;
  thread_->set_reading(reading_);
  if (reading_) loop_.ring();
}

/// addForward(udp, host, hostPort, guest, guestPort)
void SlirpWrap::add_forward(Info info) {
  const Forward forward{info[0].ToBoolean(), to_ipv4(info[1], "host"), to_port(info[2]),
                        to_ipv4(info[3], "guest"), to_port(info[4])};
  const int error = thread_ ? thread_->add_forward(forward) : EBADF;
  if (error) throw system_error(info.Env(), error, "listen");
}

/// removeForward(udp, host, hostPort): false: there is none.
Napi::Value SlirpWrap::remove_forward(Info info) {
  const Forward forward{info[0].ToBoolean(), to_ipv4(info[1], "host"), to_port(info[2]), {}, 0};
  return Napi::Boolean::New(info.Env(), thread_ && thread_->remove_forward(forward));
}

Napi::Value SlirpWrap::connections(Info info) {
  return Napi::String::New(info.Env(), thread_ ? thread_->connections() : "");
}

Napi::Value SlirpWrap::dropped(Info info) {
  return Napi::Number::New(info.Env(), thread_ ? static_cast<double>(thread_->dropped()) : 0);
}

void SlirpWrap::shut() {
  if (!thread_) return;
  thread_.reset();
  loop_.close();
  on_bell_.clear();
  Unref();
}

void add_slirp(Napi::Env env, Napi::Object module) {
  module.Set("Slirp", slirp_library() ? Napi::Value(SlirpWrap::define(env)) : env.Null());
}
#else
void add_slirp(Napi::Env, Napi::Object) {}
#endif

}  // namespace colo::addon
