// fuzz TARGET SECONDS [SEED]: cases from SEED on (default: the time) for so long. fuzz TARGET
// --case SEED: that one. fuzz --corpus FILE: every "TARGET SEED" of the file. Exit code 1 and the
// seed if a case fails.
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <mutex>
#include <thread>

#include "base/time.h"
#include "test/fuzz/fuzz.h"

namespace colo::fuzz {
namespace {

constexpr Target kTargets[] = {{"cpu-code", run_code}, {"cpu-state", run_state}};
constexpr u64 kKickAfterNs = 5'000'000'000, kDeafAfterNs = 25'000'000'000;

const Target* current;
u64 current_seed;

std::mutex guarded_lock;
void (*guarded_kick)(void*);
void* guarded_self;
u64 guarded_since;

/// A vCPU that no kick ends is what this is for: the host's time does not decide anything else.
void watch() {
  for (;;) {
    usleep(100'000);
    std::lock_guard lock(guarded_lock);
    if (!guarded_self || host_now_ns() - guarded_since < kKickAfterNs) continue;
    guarded_kick(guarded_self);
    if (host_now_ns() - guarded_since > kDeafAfterNs) fail("the vCPU does not hear a kick");
  }
}

void on_signal(int signal_number) {
  char text[128];
  const int n = snprintf(text, sizeof text, "signal %d: fuzz %s --case %llu\n", signal_number,
                         current->name, static_cast<unsigned long long>(current_seed));
  if (write(STDERR_FILENO, text, static_cast<size_t>(n)) < 0) _exit(3);
  signal(signal_number, SIG_DFL);
  raise(signal_number);
}

void run_case(const Target& target, u64 seed) {
  current = &target, current_seed = seed;
  target.run(seed);
}

const Target* find(const char* name) {
  for (const Target& t : kTargets)
    if (!strcmp(t.name, name)) return &t;
  return nullptr;
}

int corpus(const char* path) {
  FILE* file = fopen(path, "r");
  if (!file) return perror(path), 2;
  char name[32];
  unsigned long long seed;
  int cases = 0;
  for (; fscanf(file, "%31s %llu", name, &seed) == 2; cases++) {
    const Target* target = find(name);
    if (!target) return fprintf(stderr, "%s: there is no target '%s'\n", path, name), 2;
    run_case(*target, seed);
  }
  fclose(file);
  printf("corpus: %d cases, none failed\n", cases);
  return 0;
}

int run_for(const Target& target, double seconds, u64 first) {
  const u64 end = host_now_ns() + static_cast<u64>(seconds * 1e9);
  u64 seed = first;
  for (; host_now_ns() < end; seed++) run_case(target, seed);
  printf("%s: %llu cases from %llu on, none failed\n", target.name,
         static_cast<unsigned long long>(seed - first), static_cast<unsigned long long>(first));
  return 0;
}

int usage() {
  fprintf(
      stderr,
      "usage: fuzz TARGET SECONDS [SEED] | fuzz TARGET --case SEED | fuzz --corpus FILE; targets:");
  for (const Target& t : kTargets) fprintf(stderr, " %s", t.name);
  fprintf(stderr, "\n");
  return 2;
}

int main(int argc, char** argv) {
  setvbuf(stdout, nullptr, _IOLBF, 0);
  for (const int s : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGABRT}) signal(s, on_signal);
  std::thread(watch).detach();
  if (argc == 3 && !strcmp(argv[1], "--corpus")) return corpus(argv[2]);
  const Target* target = argc > 2 ? find(argv[1]) : nullptr;
  if (!target) return usage();
  if (!strcmp(argv[2], "--case")) {
    if (argc != 4) return usage();
    run_case(*target, strtoull(argv[3], nullptr, 0));
    return printf("%s: case %s passed\n", target->name, argv[3]), 0;
  }
  const u64 seed =
      argc > 3 ? strtoull(argv[3], nullptr, 0) : static_cast<u64>(time(nullptr)) * 1'000'000;
  return run_for(*target, atof(argv[2]), seed);
}

}  // namespace

void fail(const std::string& what) {
  fprintf(stderr, "FAILED: %s: fuzz %s --case %llu\n", what.c_str(), current->name,
          static_cast<unsigned long long>(current_seed));
  _exit(1);
}

Guarded::Guarded(void (*kick)(void*), void* self) {
  std::lock_guard lock(guarded_lock);
  guarded_kick = kick, guarded_self = self, guarded_since = host_now_ns();
}
Guarded::~Guarded() {
  std::lock_guard lock(guarded_lock);
  guarded_self = nullptr;
}

}  // namespace colo::fuzz

int main(int argc, char** argv) { return colo::fuzz::main(argc, argv); }
