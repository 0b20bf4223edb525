// Goal: a slot that the kernel refuses is not taken for one that it has. Method: the kernel is this
// program's own ioctl(), which every call of the backend reaches first.
#include "kvm/slots.h"

#include <cerrno>
#include <cstdarg>

#include "test/check.h"

namespace {
bool refuses = false;
unsigned added = 0, removed = 0;

int kernel(unsigned long request, void* argument) {
  if (request == KVM_GET_API_VERSION) return 12;
  if (request == KVM_CHECK_EXTENSION) return 1;
  if (request != KVM_SET_USER_MEMORY_REGION) return 0;
  const auto& region = *static_cast<const kvm_userspace_memory_region*>(argument);
  if (refuses && region.memory_size) return errno = ENOMEM, -1;
  (region.memory_size ? added : removed)++;
  return 0;
}
}  // namespace

extern "C" int ioctl(int, unsigned long request, ...) noexcept {
  va_list list;
  va_start(list, request);
  void* const argument = va_arg(list, void*);
  va_end(list);
  return kernel(request, argument);
}

namespace {
using namespace colo;

constexpr u64 kRam = 16 * kPageSize;
const memory::Slot whole{.gpa = 0, .size = kRam, .offset = 0};
const memory::Slot half{.gpa = 0, .size = kRam / 2, .offset = 0};

bool refused(memory::GuestRam& ram, const memory::Slot& slot) {
  refuses = true;
  bool threw = false;
  try {
    (void)ram.set_map({slot});
  } catch (const kvm::Error&) {
    threw = true;
  }
  refuses = false;
  return threw;
}

void a_refused_slot_is_asked_for_again_and_not_removed() {
  added = removed = 0;
  memory::GuestRam ram(kRam);
  const kvm::Device device({.path = "/dev/null", .without = {}});
  const kvm::Fd vm;
  kvm::Slots slots(device, vm, ram, nullptr);
  CHECK(added == 1);
  CHECK(ram.set_map({}).empty() && removed == 1);
  CHECK(refused(ram, half));
  CHECK(ram.set_map({}).empty() && removed == 1);  // there was nothing to remove
  CHECK(refused(ram, whole));
  CHECK(ram.set_map({half}).empty() && removed == 1 && added == 2);
}

/// The same map again is not taken for there already; and behind a map that was left but for a
/// refused one, it is not there any more.
void a_refused_map_may_be_asked_for_again() {
  added = removed = 0;
  memory::GuestRam ram(kRam);
  const kvm::Device device({.path = "/dev/null", .without = {}});
  const kvm::Fd vm;
  kvm::Slots slots(device, vm, ram, nullptr);
  CHECK(ram.set_map({}).empty());
  CHECK(refused(ram, half) && ram.map().slots.empty());
  CHECK(ram.set_map({half}).empty() && added == 2 && removed == 1);
  CHECK(refused(ram, whole) && removed == 2);
  CHECK(ram.set_map({half}).empty() && added == 3 && removed == 2);
}

}  // namespace

int main() {
  a_refused_slot_is_asked_for_again_and_not_removed();
  a_refused_map_may_be_asked_for_again();
  return test::finish();
}
