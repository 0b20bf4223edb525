// Goal: signs of life keep their pace and their books: a new interval holds at once, silence is
// counted as it was, and a host without a thread to give loses nothing. Method: two of them over
// loopback, without Node.
#include <arpa/inet.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <sys/socket.h>

#include <system_error>

#include "addon/heartbeat_thread.h"
#include "base/time.h"
#include "test/check.h"

namespace {
using namespace colo;
using addon::HeartbeatThread;

constexpr SipKey kKey{1, 2};
constexpr u32 kNever = 3'600'000;

int open_socket() {
  const int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
  sockaddr_in at{};
  at.sin_family = AF_INET, at.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  CHECK(fd >= 0 && bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) == 0);
  return fd;
}

struct End {
  End(u32 side, u32 interval_ms) : End(open_socket(), side, interval_ms) {}
  End(int fd, u32 side, u32 interval_ms) : beats(fd, {kKey, side, interval_ms, kNever}) {
    socklen_t length = sizeof at;
    getsockname(fd, reinterpret_cast<sockaddr*>(&at), &length);
  }
  void aim(const End& to) { beats.aim(reinterpret_cast<const sockaddr*>(&to.at), sizeof to.at); }
  sockaddr_in at{};
  HeartbeatThread beats;
};

bool within(u64 ms, auto&& done) {
  for (const u64 end = host_now_ns() + ms * 1'000'000; host_now_ns() < end;) {
    if (done()) return true;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  return done();
}

void a_new_interval_holds_at_once() {
  End here(1, 10), there(2, kNever);
  std::this_thread::sleep_for(std::chrono::milliseconds(20));  // it has begun to wait
  there.aim(here);
  there.beats.set_interval(10);
  CHECK(within(5000, [&] { return here.beats.silent_ms().has_value(); }));
}

/// Neither by a new interval that is longer than what has passed, nor by an old one.
void silence_is_counted_as_it_was() {
  End here(1, 10);
  {
    End there(2, 10);
    there.aim(here);
    CHECK(within(5000, [&] { return here.beats.silent_ms() == 0u; }));
  }
  CHECK(within(5000, [&] { return here.beats.silent_ms().value_or(0) > 50; }));
  const u64 began = host_now_ns();
  here.beats.set_interval(kNever);
  std::this_thread::sleep_for(std::chrono::milliseconds(100));
  CHECK(here.beats.silent_ms() < 10'000u);
  here.beats.set_interval(kNever / 2);  // ends the turn of an hour early
  CHECK(within(5000, [&] { return here.beats.silent_ms() > 100u; }));
  CHECK(*here.beats.silent_ms() < 10'000 + (host_now_ns() - began) / 1'000'000);
}

/// No address space holds a stack of that size.
void no_thread_to_be_had() {
  pthread_attr_t before, huge;
  pthread_getattr_default_np(&before);
  pthread_attr_init(&huge);
  CHECK(pthread_attr_setstacksize(&huge, size_t{1} << 50) == 0);
  sigset_t mask_before, mask_after;
  pthread_sigmask(SIG_SETMASK, nullptr, &mask_before);
  const int fd = open_socket();
  CHECK(pthread_setattr_default_np(&huge) == 0);
  bool refused = false;
  try {
    HeartbeatThread beats(fd, {kKey, 1, 10, kNever});
  } catch (const std::system_error&) {
    refused = true;
  }
  pthread_setattr_default_np(&before);
  CHECK(refused);
  pthread_sigmask(SIG_SETMASK, nullptr, &mask_after);
  for (int n = 1; n < SIGRTMAX; n++)
    CHECK(sigismember(&mask_before, n) == sigismember(&mask_after, n));
  CHECK(fcntl(fd, F_GETFD) < 0);  // closed
}

}  // namespace

int main() {
  a_new_interval_holds_at_once();
  silence_is_counted_as_it_was();
  no_thread_to_be_had();
  return test::finish();
}
