// The end of the road for a broken invariant.
#include <cstdio>
#include <cstdlib>

#include "base/types.h"

namespace colo {

void fail_assert(const char* what, const char* file, int line) {
  fprintf(stderr, "colo: assertion failed: %s (%s:%d)\n", what, file, line);
  abort();
}

}  // namespace colo
