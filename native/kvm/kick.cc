#include "kvm/kick.h"

#include <pthread.h>
#include <signal.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <mutex>

namespace colo::kvm {

namespace {

/// A real-time signal: V8 has SIGPROF, Node SIGUSR1 and SIGCHLD, the C library the first two
/// real-time ones.
int kick_signal() { return SIGRTMIN + 6; }

/// The handler does nothing: that the signal was delivered ends KVM_RUN. SA_RESTART for whoever
/// else it may hit.
void install_handler() {
  static std::once_flag once;
  std::call_once(once, [] {
    struct sigaction action{};
    action.sa_handler = [](int) {};
    action.sa_flags = SA_RESTART;
    sigaction(kick_signal(), &action, nullptr);
  });
}

/// Native threads block every signal.
void unblock() {
  thread_local bool done = false;
  if (done) return;
  install_handler();
  sigset_t set;
  sigemptyset(&set);
  sigaddset(&set, kick_signal());
  pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
  done = true;
}

}  // namespace

void Kicker::enter() {
  unblock();
  thread_.store(static_cast<int>(syscall(SYS_gettid)), std::memory_order_seq_cst);
}

// immediate_exit is cleared before the wish is looked at: a kick in between is seen here, or leaves
// immediate_exit set for the next entry, which then comes back at once, finds no wish and goes in
// again.
bool Kicker::take() {
  __atomic_store_n(&run_.immediate_exit, 0, __ATOMIC_SEQ_CST);
  return wanted_.exchange(false, std::memory_order_seq_cst);
}

void Kicker::kick() {
  wanted_.store(true, std::memory_order_seq_cst);
  __atomic_store_n(&run_.immediate_exit, 1, __ATOMIC_SEQ_CST);
  if (int thread = thread_.load(std::memory_order_seq_cst))
    syscall(SYS_tgkill, getpid(), thread, kick_signal());
}

}  // namespace colo::kvm
