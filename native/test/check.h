// Smallest possible test harness: CHECK prints and counts, main returns the count.
#pragma once
#include <cstdio>

namespace colo::test {

inline int failures = 0;
inline int checks = 0;

inline void check(bool ok, const char* what, const char* file, int line) {
  checks++;
  if (ok) return;
  failures++;
  fprintf(stderr, "%s:%d: failed: %s\n", file, line, what);
}

inline int finish() {
  printf("%d passed, %d failed\n", checks - failures, failures);
  return failures ? 1 : 0;
}

}  // namespace colo::test

#define CHECK(x) ::colo::test::check(!!(x), #x, __FILE__, __LINE__)
