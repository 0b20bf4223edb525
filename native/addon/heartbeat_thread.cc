#include "addon/heartbeat_thread.h"

#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>

#include "base/time.h"
#include "vcpu/timer.h"

namespace colo::addon {

namespace {

struct Beat {
  u64 head;  // kMagic and the sender's side
  u64 number;
  u64 seal;
};
static_assert(sizeof(Beat) == 24);

constexpr u64 kMagic = 0x6c6f'6331'0000'0000;
/// What is taken of a flood at a time; the kernel drops the rest.
constexpr int kDatagramsPerTurn = 64;
constexpr u64 kNsPerMs = 1'000'000;

u64 seal_of(const SipKey& key, const Beat& beat) {
  return siphash24(key, std::array<u64, 2>{beat.head, beat.number});
}

}  // namespace

HeartbeatThread::Socket::~Socket() { ::close(fd); }

HeartbeatThread::HeartbeatThread(int fd, const Options& options)
    : socket_{fd}, options_(options), interval_ms_(options.interval_ms) {
  turned(0);
  thread_ = std::thread([this] { loop(); });
}

HeartbeatThread::~HeartbeatThread() {
  {
    std::lock_guard lock(mutex_);
    ended_ = true;
  }
  wakes_.notify_one();
  thread_.join();
}

bool HeartbeatThread::aim(const sockaddr* peer, socklen_t length) {
  if (connect(socket_.fd, peer, length) < 0) return false;
  aimed_.store(true, std::memory_order_release);
  return true;
}

void HeartbeatThread::turned(u32 busy_ms) {
  const u64 limit_ms = u64{options_.loop_limit_ms} + busy_ms;
  loop_deadline_ns_.store(host_now_ns() + limit_ms * kNsPerMs, std::memory_order_relaxed);
}

/// The turn that is under way ends at once, so that neither the next beat nor the count of silence
/// waits for an interval that no longer holds.
void HeartbeatThread::set_interval(u32 ms) {
  {
    std::lock_guard lock(mutex_);
    interval_ms_ = ms;
    changed_ = true;
  }
  wakes_.notify_one();
}

std::optional<u32> HeartbeatThread::silent_ms() const {
  if (!heard_.load(std::memory_order_acquire)) return std::nullopt;
  const u64 ms = silent_ns_.load(std::memory_order_relaxed) / kNsPerMs;
  return static_cast<u32>(std::min<u64>(ms, ~u32{0}));
}

/// Silence is counted in turns of this loop, each after a look into the socket: a process that was
/// stopped and goes on finds what came meanwhile before it counts, and a turn counts for no more
/// than it was meant to last.
void HeartbeatThread::loop() {
  vcpu::enter_native_thread("heartbeat");
  u64 waited_ns = 0;
  std::unique_lock lock(mutex_);
  while (!ended_) {
    const u64 interval_ns = u64{interval_ms_} * kNsPerMs;
    changed_ = false;
    lock.unlock();
    const u64 began_ns = host_now_ns();
    turn(waited_ns);
    lock.lock();
    wakes_.wait_for(lock, std::chrono::nanoseconds(interval_ns),
                    [this] { return ended_ || changed_; });
    waited_ns = std::min(host_now_ns() - began_ns, interval_ns);
  }
}

void HeartbeatThread::turn(u64 waited_ns) {
  if (hear()) {
    silent_ns_.store(0, std::memory_order_relaxed);
    heard_.store(true, std::memory_order_release);
  } else {
    silent_ns_.fetch_add(waited_ns, std::memory_order_relaxed);
  }
  if (host_now_ns() < loop_deadline_ns_.load(std::memory_order_relaxed)) beat();
}

/// True: the peer has said something new since the last look.
bool HeartbeatThread::hear() {
  bool news = false;
  for (int i = 0; i < kDatagramsPerTurn; i++) {
    Beat beat{};
    sockaddr_storage from{};
    socklen_t length = sizeof from;
    const ssize_t n = recvfrom(socket_.fd, &beat, sizeof beat, MSG_DONTWAIT | MSG_TRUNC,
                               reinterpret_cast<sockaddr*>(&from), &length);
    if (n < 0 && errno == EINTR) continue;
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return news;
    // What else fails here is a host's word about an earlier beat of ours.
    if (n != sizeof beat || beat.head != (kMagic | (3 - options_.side)) ||
        beat.number <= last_heard_ || beat.seal != seal_of(options_.key, beat))
      continue;
    last_heard_ = beat.number;
    news = true;
    if (!aimed_.load(std::memory_order_relaxed))
      aim(reinterpret_cast<const sockaddr*>(&from), length);
  }
  return news;
}

void HeartbeatThread::beat() {
  if (!aimed_.load(std::memory_order_acquire)) return;
  Beat beat{kMagic | options_.side, ++sent_, 0};
  beat.seal = seal_of(options_.key, beat);
  // A beat that does not leave is one that is lost on its way.
  (void)!send(socket_.fd, &beat, sizeof beat, MSG_DONTWAIT | MSG_NOSIGNAL);
}

}  // namespace colo::addon
