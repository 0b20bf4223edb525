#include "soft/fpu/code_arena.h"

#include <sys/mman.h>
#include <unistd.h>

#include <cstring>

namespace colo::soft {
namespace {

u8* map(int fd, size_t size, int protection) {
  void* at = mmap(nullptr, size, protection, MAP_SHARED, fd, 0);
  COLO_ASSERT(at != MAP_FAILED);
  return static_cast<u8*>(at);
}

}  // namespace

CodeArena::CodeArena(size_t capacity) : capacity_(capacity) {
  const int fd = memfd_create("colo-code", MFD_CLOEXEC);
  COLO_ASSERT(fd >= 0);
  COLO_ASSERT(ftruncate(fd, static_cast<off_t>(capacity)) == 0);
  write_ = map(fd, capacity, PROT_READ | PROT_WRITE);
  exec_ = map(fd, capacity, PROT_READ | PROT_EXEC);
  close(fd);
}

CodeArena::~CodeArena() {
  munmap(write_, capacity_);
  munmap(exec_, capacity_);
}

const void* CodeArena::add(std::span<const u8> code) {
  if (code.size() > capacity_ - used_) return nullptr;
  std::memcpy(write_ + used_, code.data(), code.size());
  const void* at = exec_ + used_;
  used_ = (used_ + code.size() + 15) & ~size_t{15};
  if (used_ > capacity_) used_ = capacity_;
  return at;
}

}  // namespace colo::soft
