#include "addon/slirp_thread.h"

#ifdef COLO_HAS_SLIRP
#include <arpa/inet.h>
#include <fcntl.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <stdexcept>
#include <system_error>
#include <utility>

#include "addon/guest_frame.h"
#include "base/time.h"
#include "vcpu/timer.h"

namespace colo::addon {

namespace {

constexpr size_t kLargestFrame = 65536 + 18;
constexpr size_t kFromGuestBytes = 1 << 20;
/// Half of it is for what one turn of the stack may say: 64 KiB, TCP's window without scaling, for
/// each of 32 connections. What does not fit is lost as on a wire, and TCP says it again.
constexpr size_t kToGuestBytes = 4 << 20;
constexpr size_t kRoomToGoOn = kToGuestBytes / 2;
constexpr int kFramesPerTurn = 64;
/// Each may hold 256 KiB of TCP's buffers.
constexpr int kSocketsMost = 2048;
/// The stack keeps each for 30 s.
constexpr int kFragmentsPerSecond = 256;
constexpr u64 kNsPerMs = 1'000'000, kNsPerSecond = 1'000'000'000;

/// The lowest descriptor that is free: so many are open at least.
int lowest_free(int fd) {
  const int lowest = fcntl(fd, F_DUPFD_CLOEXEC, 0);
  if (lowest >= 0) ::close(lowest);
  return lowest;
}

/// At most half of what this process may open: the other half is for its disks, monitors and peer.
int socket_limit(int fd) {
  rlimit files{};
  getrlimit(RLIMIT_NOFILE, &files);
  const u64 most = static_cast<u64>(lowest_free(fd)) + kSocketsMost;
  return static_cast<int>(std::min<u64>(most, files.rlim_cur / 2));
}

short to_poll(int events) {
  return static_cast<short>((events & SLIRP_POLL_IN ? POLLIN : 0) |
                            (events & SLIRP_POLL_OUT ? POLLOUT : 0) |
                            (events & SLIRP_POLL_PRI ? POLLPRI : 0));
}

int from_poll(short events) {
  return (events & POLLIN ? SLIRP_POLL_IN : 0) | (events & POLLOUT ? SLIRP_POLL_OUT : 0) |
         (events & POLLPRI ? SLIRP_POLL_PRI : 0) | (events & POLLERR ? SLIRP_POLL_ERR : 0) |
         (events & POLLHUP ? SLIRP_POLL_HUP : 0);
}

bool listens(int fd) {
  int listening = 0;
  socklen_t length = sizeof listening;
  return getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &length) == 0 && listening;
}

}  // namespace

SlirpThread::SlirpThread(const SlirpLibrary& library, const Options& options,
                         std::function<void()> bell)
    : library_(library),
      bell_(std::move(bell)),
      from_guest_(kFromGuestBytes),
      to_guest_(kToGuestBytes),
      frame_(kLargestFrame),
      stands_since_ns_(host_now_ns()),
      wake_fd_(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC)) {
  if (wake_fd_ < 0) throw std::system_error(errno, std::generic_category(), "eventfd");
  polled_.push_back({wake_fd_, POLLIN, 0});
  socket_limit_ = socket_limit(wake_fd_);
  const SlirpConfig config = config_of(options);
  slirp_ = library_.create(&config, &callbacks(), this);
  try {
    if (!slirp_) throw std::runtime_error("libslirp does not take this network");
    thread_ = std::thread([this] { loop(); });
  } catch (...) {
    if (slirp_) library_.destroy(slirp_);
    ::close(wake_fd_);
    throw;
  }
}

SlirpThread::~SlirpThread() {
  ended_.store(true);
  wake();
  thread_.join();
  library_.destroy(slirp_);
  ::close(wake_fd_);
}

SlirpConfig SlirpThread::config_of(const Options& o) {
  SlirpConfig config{};
  config.version = 1;
  config.restricted = o.restricted;
  config.in_enabled = o.ipv4;
  config.vnetwork = o.net;
  config.vnetmask = o.mask;
  config.vhost = o.host;
  config.vdhcp_start = o.dhcp_start;
  config.vnameserver = o.dns;
  config.in6_enabled = o.ipv6;
  config.vprefix_len = 64;
  inet_pton(AF_INET6, "fec0::", &config.vprefix_addr6);
  inet_pton(AF_INET6, "fec0::2", &config.vhost6);
  inet_pton(AF_INET6, "fec0::3", &config.vnameserver6);
  if (!o.hostname.empty()) config.vhostname = o.hostname.c_str();
  return config;
}

const SlirpCb& SlirpThread::callbacks() {
  static const SlirpCb table = [] {
    SlirpCb c{};
    c.send_packet = [](const void* frame, size_t length, void* self) -> ssize_t {
      auto& t = *static_cast<SlirpThread*>(self);
      t.rings_ = true;
      if (!t.to_guest_.push({static_cast<const u8*>(frame), length})) t.dropped_++;
      return static_cast<ssize_t>(length);
    };
    // A guest that speaks badly is answered as by a network: with nothing.
    c.guest_error = [](const char*, void*) {};
    c.clock_get_ns = [](void* self) {
      return static_cast<int64_t>(static_cast<SlirpThread*>(self)->stack_ns());
    };
    c.timer_new = [](SlirpTimerCb fire, void* opaque, void* self) -> void* {
      auto& timers = static_cast<SlirpThread*>(self)->timers_;
      timers.push_back(std::make_unique<Timer>(fire, opaque, INT64_MAX));
      return timers.back().get();
    };
    c.timer_free = [](void* timer, void* self) {
      std::erase_if(static_cast<SlirpThread*>(self)->timers_,
                    [timer](const auto& t) { return t.get() == timer; });
    };
    c.timer_mod = [](void* timer, int64_t due_ms, void*) {
      static_cast<Timer*>(timer)->due_ms = due_ms;
    };
    c.register_poll_fd = c.unregister_poll_fd = [](int, void*) {};
    c.notify = [](void*) {};
    return c;
  }();
  return table;
}

bool SlirpThread::send(std::span<const u8> frame) {
  if (frame.empty() || frame.size() > kLargestFrame) return true;
  if (!from_guest_.push(frame)) return false;
  wake();
  return true;
}

size_t SlirpThread::receive(std::span<u8> batch, int most) {
  const size_t filled = to_guest_.drain(batch, most);
  if (stands_still_.load()) wake();
  return filled;
}

void SlirpThread::set_reading(bool on) {
  if (reading_.exchange(on) != on) wake();
}

int SlirpThread::add_forward(const Forward& f) {
  int error = 0;
  ask([&] {
    errno = 0;
    if (library_.add_forward(slirp_, f.udp, f.host, f.host_port, f.guest, f.guest_port) < 0)
      error = errno ? errno : EINVAL;
  });
  return error;
}

bool SlirpThread::remove_forward(const Forward& f) {
  bool found = false;
  ask([&] { found = library_.remove_forward(slirp_, f.udp, f.host, f.host_port) == 0; });
  return found;
}

std::string SlirpThread::connections() {
  std::string text;
  ask([&] {
    char* lines = library_.connections(slirp_);
    if (lines) text = lines;
    free(lines);  // glib's allocator is the host's
  });
  return text;
}

/// Has the thread call it, and waits.
void SlirpThread::ask(const std::function<void()>& question) {
  std::unique_lock lock(mutex_);
  question_ = &question;
  asked_.store(true);
  wake();
  answered_.wait(lock, [this] { return question_ == nullptr; });
}

void SlirpThread::answer() {
  if (!asked_.exchange(false)) return;
  std::lock_guard lock(mutex_);
  (*question_)();
  question_ = nullptr;
  answered_.notify_one();
}

/// What has changed before it is seen by the thread, or the thread is woken.
void SlirpThread::wake() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  if (!asleep_.exchange(false)) return;
  const u64 one = 1;
  (void)!::write(wake_fd_, &one, sizeof one);
}

void SlirpThread::loop() {
  vcpu::enter_native_thread("slirp");
  while (!ended_.load()) {
    answer();
    const bool flowed = flows();
    stand_still(!flowed);
    // What it has said may let go of what waits in the stack, which looks when it is served.
    const bool heard = hear_guest();
    const int timeout_ms = flowed ? collect() : -1;
    sleep(flowed && heard ? 0 : timeout_ms, flowed);
    if (flowed) {
      serve();
      fire_timers();
    }
    polled_.resize(1);
    if (std::exchange(rings_, false)) bell_();
  }
}

bool SlirpThread::flows() const { return reading_.load() && to_guest_.room() >= kRoomToGoOn; }

u64 SlirpThread::stack_ns() const {
  return (stands_still_.load() ? stands_since_ns_ : host_now_ns()) - stood_ns_;
}

void SlirpThread::stand_still(bool still) {
  if (stands_still_.load() == still) return;
  if (still) stands_since_ns_ = host_now_ns();
  else stood_ns_ += host_now_ns() - stands_since_ns_;
  stands_still_.store(still);
}

bool SlirpThread::hear_guest() {
  bool heard = false;
  for (int i = 0; i < kFramesPerTurn && to_guest_.room() >= kRoomToGoOn; i++) {
    const size_t length = from_guest_.pop(frame_);
    if (length == 0) break;
    heard = true;
    if (admits({frame_.data(), length}))
      library_.input(slirp_, frame_.data(), static_cast<int>(length));
    else dropped_++;
  }
  return heard;
}

bool SlirpThread::admits(std::span<const u8> frame) {
  switch (cost_of(frame)) {
    case FrameCost::kLittle:
      return true;
    case FrameCost::kMayOpenSocket:
      return !sockets_full();
    case FrameCost::kFragment:
      break;
  }
  const u64 second = stack_ns() / kNsPerSecond;
  if (std::exchange(fragment_second_, second) != second) fragments_ = 0;
  return fragments_++ < kFragmentsPerSecond;
}

bool SlirpThread::sockets_full() const {
  const int lowest = lowest_free(wake_fd_);
  return lowest < 0 || lowest >= socket_limit_;
}

int SlirpThread::collect() {
  u32 timeout_ms = 1000;
  library_.fill(
      slirp_, &timeout_ms,
      [](int fd, int events, void* self) {
        auto& polled = static_cast<SlirpThread*>(self)->polled_;
        polled.push_back({fd, to_poll(events), 0});
        return static_cast<int>(polled.size()) - 1;
      },
      this);
  i64 due_ms = timeout_ms;
  const i64 now_ms = static_cast<i64>(stack_ns() / kNsPerMs);
  for (const auto& timer : timers_) due_ms = std::min(due_ms, timer->due_ms - now_ms);
  return static_cast<int>(std::max<i64>(due_ms, 0));
}

/// There is something to do at once. flowed: as this turn began.
bool SlirpThread::pending(bool flowed) const {
  return ended_.load() || asked_.load() || flows() != flowed || rings_ ||
         (!from_guest_.empty() && to_guest_.room() >= kRoomToGoOn);
}

void SlirpThread::sleep(int timeout_ms, bool flowed) {
  asleep_.store(true);
  std::atomic_thread_fence(std::memory_order_seq_cst);
  const int ready = poll(polled_.data(), polled_.size(), pending(flowed) ? 0 : timeout_ms);
  asleep_.store(false);
  if (ready < 0)
    for (auto& p : polled_) p.revents = 0;
  u64 count;
  if (polled_[0].revents) (void)!::read(wake_fd_, &count, sizeof count);
}

void SlirpThread::serve() {
  library_.serve(
      slirp_, 0,
      [](int index, void* self) {
        const auto& t = *static_cast<SlirpThread*>(self);
        return index < 0 ? 0 : t.events_of(t.polled_[static_cast<size_t>(index)]);
      },
      this);
}

int SlirpThread::events_of(const pollfd& p) const {
  // A connection that comes when there is no socket for it waits in the kernel.
  if ((p.revents & POLLIN) && listens(p.fd) && sockets_full()) return 0;
  return from_poll(p.revents);
}

void SlirpThread::fire_timers() {
  const i64 now_ms = static_cast<i64>(stack_ns() / kNsPerMs);
  for (size_t i = 0; i < timers_.size(); i++) {
    Timer& timer = *timers_[i];
    if (timer.due_ms > now_ms) continue;
    timer.due_ms = INT64_MAX;
    timer.fire(timer.opaque);
  }
}

}  // namespace colo::addon
#endif
