#include "addon/tap.h"

#include <fcntl.h>
#include <linux/if.h>
#include <linux/if_tun.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "addon/addon_data.h"
#include "addon/args.h"
#include "addon/system_error.h"

namespace colo::addon {

namespace {

constexpr int kFramesPerTurn = 64;  // then the loop's other work gets its turn
constexpr size_t kLargestFrame = 65536 + 18;

}  // namespace

Napi::Function TapWrap::define(Napi::Env env) {
  using W = TapWrap;
  return DefineClass(
      env, "Tap",
      {InstanceMethod<&W::name>("name"), InstanceMethod<&W::write>("write"),
       InstanceMethod<&W::set_reading>("setReading"), InstanceMethod<&W::close>("close")});
}

/// new Tap(ifname, onFrame, onError). ifname: may hold %d, "" = the kernel's choice. Reading is off
/// at first.
TapWrap::TapWrap(const Napi::CallbackInfo& info)
    : ObjectWrap(info), context_(info.Env(), "colo:tap") {
  std::string ifname = to_string(info[0], "ifname");
  if (ifname.size() >= IFNAMSIZ) throw Napi::RangeError::New(info.Env(), "ifname is too long");
  on_frame_.set(to_function(info[1], "onFrame"));
  on_error_.set(to_function(info[2], "onError"));
  open(info.Env(), ifname);
}

void TapWrap::open(Napi::Env env, const std::string& ifname) {
  int fd = ::open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
  if (fd < 0) throw system_error(env, errno, "open", "/dev/net/tun");
  ifreq request{};
  request.ifr_flags = IFF_TAP | IFF_NO_PI;
  memcpy(request.ifr_name, ifname.data(), ifname.size());
  // A tap keeps the offloads that its last user had. Ours takes no frame without a checksum, and
  // none that is longer than the wire's.
  const char* step = "TUNSETIFF";
  int result = ioctl(fd, TUNSETIFF, &request);
  if (result == 0) result = ioctl(fd, TUNSETOFFLOAD, 0), step = "TUNSETOFFLOAD";
  if (result < 0) {
    int error = errno;
    ::close(fd);
    throw system_error(env, error, step, ifname);
  }
  name_ = request.ifr_name;
  uv_loop_t* loop = nullptr;
  napi_get_uv_event_loop(env, &loop);
  poll_ = new Poll;
  poll_->owner = this;
  poll_->fd = fd;
  poll_->poll.data = poll_;
  uv_poll_init(loop, &poll_->poll, fd);
  napi_add_async_cleanup_hook(env, on_teardown, poll_, &poll_->hook);
}

/// False: the kernel's queue is full; the frame was not taken.
Napi::Value TapWrap::write(Info info) {
  auto frame = to_bytes(info[0]);
  if (!poll_) return Napi::Boolean::New(info.Env(), false);
  ssize_t n;
  do n = ::write(poll_->fd, frame.data(), frame.size());
  while (n < 0 && errno == EINTR);
  if (n >= 0) return Napi::Boolean::New(info.Env(), true);
  // ENOBUFS and EIO (the interface is down) are a lost frame, as on a wire; a malformed frame
  // (EINVAL) is one, too.
  return Napi::Boolean::New(info.Env(), errno != EAGAIN);
}

void TapWrap::set_reading(Info info) {
  bool on = info[0].ToBoolean();
  if (!poll_ || on == reading_) return;
  reading_ = on;
  // A tap that is read is in use: neither the collector nor an idle loop ends it.
  if (on) {
    Ref();
    uv_poll_start(&poll_->poll, UV_READABLE, on_readable);
  } else {
    uv_poll_stop(&poll_->poll);
    Unref();
  }
}

void TapWrap::on_readable(uv_poll_t* poll, int status, int) {
  auto* p = static_cast<Poll*>(poll->data);
  if (!p->owner) return;
  Napi::HandleScope scope(p->owner->Env());
  [[maybe_unused]] Napi::Object self = p->owner->Value();  // the callback may close us
  if (status < 0) p->owner->fail(-status);
  else p->owner->read_batch();
}

void TapWrap::read_batch() {
  static thread_local u8 frame[kLargestFrame];
  for (int i = 0; i < kFramesPerTurn && poll_ && reading_; i++) {
    ssize_t n = ::read(poll_->fd, frame, sizeof frame);
    if (n < 0 && (errno == EAGAIN || errno == EINTR)) return;
    if (n < 0) return fail(errno);
    Napi::HandleScope scope(Env());
    on_frame_.deliver(Env(), context_,
                      {Napi::Buffer<u8>::Copy(Env(), frame, static_cast<size_t>(n))});
  }
}

/// The interface was deleted, or is down (EIO): level-triggered polling would spin, so reading ends
/// and the owner is told.
void TapWrap::fail(int error) {
  if (reading_) {
    reading_ = false;
    uv_poll_stop(&poll_->poll);
    Unref();
  }
  on_error_.deliver(Env(), context_, {system_error(Env(), error, "read", name_).Value()});
}

void TapWrap::shut() {
  if (!poll_) return;
  Poll* p = std::exchange(poll_, nullptr);
  p->owner = nullptr;
  uv_poll_stop(&p->poll);
  uv_close(reinterpret_cast<uv_handle_t*>(&p->poll), on_closed);
  if (std::exchange(reading_, false)) Unref();
  on_frame_.clear();
  on_error_.clear();
}

void TapWrap::on_teardown(napi_async_cleanup_hook_handle, void* data) {
  auto* p = static_cast<Poll*>(data);
  if (p->owner) p->owner->shut();
}

void TapWrap::on_closed(uv_handle_t* handle) {
  auto* p = static_cast<Poll*>(handle->data);
  ::close(p->fd);
  napi_remove_async_cleanup_hook(p->hook);
  delete p;
}

}  // namespace colo::addon
