// Signs of life between two processes, sent and heard by a thread of each, so that a main loop that
// collects garbage or copies RAM is not taken for a dead process, here or there.
//
// A beat is one datagram of 24 bytes: who sends it, its number, and SipHash of both under a key
// that the two agreed on over a connection that they trust. A stranger's datagram, an old one that
// is sent again, and one's own that comes back count for nothing.
#pragma once
#include <netinet/in.h>

#include <atomic>
#include <condition_variable>
#include <mutex>
#include <optional>
#include <thread>

#include "base/siphash.h"
#include "base/types.h"

namespace colo::addon {

class HeartbeatThread {
 public:
  struct Options {
    SipKey key;
    /// Of this end: 1 or 2, the other end has the other.
    u32 side;
    u32 interval_ms;
    /// Without a turn of the main loop for so long it is stuck, and nothing is sent any more.
    u32 loop_limit_ms;
  };

  /// fd: a bound UDP socket that does not block; owned from here on, also where this throws
  /// std::system_error, because there is no thread to be had.
  HeartbeatThread(int fd, const Options& options);
  ~HeartbeatThread();
  HeartbeatThread(const HeartbeatThread&) = delete;
  HeartbeatThread& operator=(const HeartbeatThread&) = delete;

  /// False: the system knows no way there. Without it the first true beat says where the peer is.
  bool aim(const sockaddr* peer, socklen_t length);
  /// The main loop has turned, and may be busy for so much longer than usual.
  void turned(u32 busy_ms);
  void set_interval(u32 ms);
  /// Not heard for so long, in time that this thread has been awake; empty: never heard at all.
  std::optional<u32> silent_ms() const;

 private:
  struct Socket {
    ~Socket();
    const int fd;
  };

  void loop();
  /// Hears, counts and beats. waited_ns: since the last turn, at most that turn's interval.
  void turn(u64 waited_ns);
  bool hear();
  void beat();

  const Socket socket_;
  const Options options_;
  std::atomic<u64> loop_deadline_ns_{0};
  std::atomic<bool> aimed_{false};
  std::atomic<bool> heard_{false};
  std::atomic<u64> silent_ns_{0};
  u64 sent_ = 0;
  u64 last_heard_ = 0;
  std::mutex mutex_;  // over the next three
  u32 interval_ms_;
  bool changed_ = false;  // the interval, in this turn
  bool ended_ = false;
  std::condition_variable wakes_;
  std::thread thread_;
};

}  // namespace colo::addon
