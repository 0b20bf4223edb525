#include "kvm/ioeventfds.h"

#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <utility>

namespace colo::kvm {

namespace {

constexpr int kBatch = 32;

}  // namespace

Ioeventfds::Ioeventfds(const Device& device, const Fd& vm)
    : vm_(vm),
      any_length_(device.capability(KVM_CAP_IOEVENTFD_ANY_LENGTH) > 0),
      epoll_(epoll_create1(EPOLL_CLOEXEC)) {
  if (epoll_.get() < 0) throw Error::of_errno("epoll_create1");
}

bool Ioeventfds::add(const vcpu::Doorbell& bell) {
  if (bell.size == 0 && (bell.datamatch || !any_length_)) return false;
  kvm_ioeventfd request{};
  request.addr = bell.address;
  request.len = bell.size;
  request.datamatch = bell.datamatch.value_or(0);
  request.flags = (bell.space == vcpu::Space::Pio ? KVM_IOEVENTFD_FLAG_PIO : 0u) |
                  (bell.datamatch ? KVM_IOEVENTFD_FLAG_DATAMATCH : 0u);
  return signal_on(request, bell.id);
}

bool Ioeventfds::signal_on(kvm_ioeventfd request, u32 id) {
  Fd event(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
  if (event.get() < 0) return false;
  request.fd = event.get();
  if (vm_.try_ioctl(KVM_IOEVENTFD, &request) < 0) return false;
  auto wire = wires_.emplace(id, Wire{std::move(event), request});
  epoll_event watch{};
  watch.events = EPOLLIN;
  watch.data.ptr = &*wire;
  if (epoll_ctl(epoll_.get(), EPOLL_CTL_ADD, request.fd, &watch) == 0) return true;
  remove(id);
  return false;
}

/// The kernel's own reference to the eventfd goes with the request, the epoll's with the
/// descriptor.
void Ioeventfds::remove(u32 id) {
  const auto [from, to] = wires_.equal_range(id);
  for (auto it = from; it != to; ++it) {
    it->second.request.flags |= KVM_IOEVENTFD_FLAG_DEASSIGN;
    vm_.try_ioctl(KVM_IOEVENTFD, &it->second.request);
  }
  wires_.erase(from, to);
}

void Ioeventfds::take(const std::function<void(u32)>& rung) {
  if (wires_.empty()) return;
  epoll_event ready[kBatch];
  for (int n = kBatch; n == kBatch;) {
    n = epoll_wait(epoll_.get(), ready, kBatch, 0);
    for (int i = 0; i < n; i++) {
      auto& [id, wire] = *static_cast<std::pair<const u32, Wire>*>(ready[i].data.ptr);
      u64 count;
      if (read(wire.event.get(), &count, sizeof count) == sizeof count) rung(id);
    }
  }
}

}  // namespace colo::kvm
