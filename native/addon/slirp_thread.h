// A guest's network made of this process's own sockets, by libslirp, on a thread of its own: the
// main loop neither waits for these sockets nor looks at them.
//
// All of libslirp is touched by this thread alone. Frames go in and out through rings of bytes.
// While the guest takes nothing, or the ring towards it is half full, no socket is read and the
// stack's time stands still: the world's senders wait, as they would for a slow machine, and no
// connection ends because a guest was stopped.
#pragma once
#include <netinet/in.h>
#include <poll.h>

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <thread>
#include <vector>

#include "addon/slirp_library.h"
#include "base/frame_ring.h"
#include "base/types.h"

#ifdef COLO_HAS_SLIRP
namespace colo::addon {

struct Forward {
  bool udp;
  in_addr host;
  int host_port;
  in_addr guest;
  int guest_port;
};

class SlirpThread {
 public:
  struct Options {
    bool ipv4, ipv6, restricted;
    in_addr net, mask, host, dns, dhcp_start;
    std::string hostname;  // empty: none
  };

  /// bell: called on the thread when frames wait for the guest. Throws std::system_error, and
  /// std::runtime_error where libslirp does not take the options.
  SlirpThread(const SlirpLibrary& library, const Options& options, std::function<void()> bell);
  ~SlirpThread();
  SlirpThread(const SlirpThread&) = delete;
  SlirpThread& operator=(const SlirpThread&) = delete;

  // All of these are the main thread's.

  /// A frame of the guest. False: no room now.
  bool send(std::span<const u8> frame);
  /// Frames for the guest, each behind its length (FrameRing); the bytes that they take.
  size_t receive(std::span<u8> batch, int most);
  bool waits() const { return !to_guest_.empty(); }
  /// Whether the guest takes frames. Off at first.
  void set_reading(bool on);
  /// 0, or errno: the host's port cannot be listened at.
  int add_forward(const Forward& forward);
  /// False: there is none.
  bool remove_forward(const Forward& forward);
  /// As people read it.
  std::string connections();
  /// Frames of either direction that found no room, or cost too much.
  u64 dropped() const { return dropped_.load(std::memory_order_relaxed); }

 private:
  struct Timer {
    SlirpTimerCb fire;
    void* opaque;
    i64 due_ms;
  };

  void loop();
  void answer();
  bool hear_guest();
  bool admits(std::span<const u8> frame);
  bool sockets_full() const;
  /// Of the stack; at most that far until the next turn, -1: for as long as nothing happens.
  int collect();
  bool pending(bool flowed) const;
  void sleep(int timeout_ms, bool flowed);
  void serve();
  void fire_timers();
  /// What the stack is told of a socket.
  int events_of(const pollfd& p) const;
  bool flows() const;
  u64 stack_ns() const;
  void stand_still(bool still);
  void wake();
  void ask(const std::function<void()>& question);

  static SlirpConfig config_of(const Options& options);
  static const SlirpCb& callbacks();

  const SlirpLibrary& library_;
  const std::function<void()> bell_;
  FrameRing from_guest_, to_guest_;
  std::atomic<u64> dropped_{0};
  std::atomic<bool> reading_{false};
  std::atomic<bool> asleep_{false};
  std::atomic<bool> stands_still_{true};
  std::atomic<bool> ended_{false};

  // The thread's.
  Slirp* slirp_ = nullptr;
  std::vector<std::unique_ptr<Timer>> timers_;
  std::vector<pollfd> polled_;  // [0] is wake_fd_
  std::vector<u8> frame_;
  bool rings_ = false;
  u64 stood_ns_ = 0;         // for so long its time has stood still
  u64 stands_since_ns_ = 0;  // host time
  u64 fragment_second_ = 0;
  int fragments_ = 0;
  int socket_limit_ = 0;
  int wake_fd_ = -1;

  std::mutex mutex_;
  std::condition_variable answered_;
  const std::function<void()>* question_ = nullptr;  // under mutex_
  std::atomic<bool> asked_{false};
  std::thread thread_;
};

}  // namespace colo::addon
#endif
