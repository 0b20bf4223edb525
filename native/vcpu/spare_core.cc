#include "vcpu/spare_core.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

#include "base/time.h"

namespace colo::vcpu {

long running_tasks(const char* loadavg) {
  long running = -1;
  return std::sscanf(loadavg, "%*f %*f %*f %ld/", &running) == 1 ? running : -1;
}

SpareCore::SpareCore() : fd_(open("/proc/loadavg", O_RDONLY | O_CLOEXEC)) {}

SpareCore::~SpareCore() {
  if (fd_ >= 0) close(fd_);
}

bool SpareCore::there() {
  const u64 now = host_now_ns();
  if (asked_at_ == 0 || now - asked_at_ >= kGoodFor) {
    asked_at_ = now;
    there_ = ask();
  }
  return there_;
}

bool SpareCore::ask() const {
  static const long processors = std::thread::hardware_concurrency();
  char line[128];
  const ssize_t length = fd_ < 0 ? -1 : pread(fd_, line, sizeof line - 1, 0);
  if (length <= 0) return false;
  line[length] = 0;
  const long running = running_tasks(line);
  return running >= 0 && running <= processors;
}

}  // namespace colo::vcpu
