// The little that a native test needs: count, tell where, sum up. No framework.
#pragma once
#include <cstdio>
#include <cstdlib>

#include "base/types.h"

namespace colo {

/// Used unless the test links the real one.
[[noreturn, gnu::weak]] void fail_assert(const char* what, const char* file, int line) {
  std::fprintf(stderr, "%s:%d: assertion failed: %s\n", file, line, what);
  std::abort();
}

namespace test {

inline int passed = 0, failed = 0;

inline bool expect(bool ok, const char* what, const char* file, int line) {
  ok ? passed++ : failed++;
  if (!ok && failed <= 40) std::printf("%s:%d: not true: %s\n", file, line, what);
  return ok;
}

template <class A, class B>
bool expect_equal(const A& actual, const B& wanted, const char* what, const char* file, int line) {
  const bool ok = static_cast<i64>(actual) == static_cast<i64>(wanted);
  ok ? passed++ : failed++;
  if (!ok && failed <= 40)
    std::printf("%s:%d: %s is 0x%llx, not 0x%llx\n", file, line, what,
                static_cast<unsigned long long>(actual), static_cast<unsigned long long>(wanted));
  return ok;
}

inline int summary() {
  std::printf("%d passed, %d failed\n", passed, failed);
  return failed ? 1 : 0;
}

/// xorshift64*: the same cases on every machine for one seed.
struct Random {
  u64 state;
  u64 operator()() {
    state ^= state >> 12;
    state ^= state << 25;
    state ^= state >> 27;
    return state * 0x2545f4914f6cdd1dull;
  }
  u64 below(u64 n) { return (*this)() % n; }
};

}  // namespace test
}  // namespace colo

#define EXPECT(x) ::colo::test::expect(x, #x, __FILE__, __LINE__)
#define EQUAL(actual, wanted) \
  ::colo::test::expect_equal(actual, wanted, #actual, __FILE__, __LINE__)
