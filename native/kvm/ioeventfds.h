// Doorbells that the kernel hears: a write to one signals an eventfd and the vCPU goes on at once,
// without an exit.
#pragma once
#include <functional>
#include <map>

#include "kvm/device.h"
#include "vcpu/doorbells.h"

namespace colo::kvm {

class Ioeventfds {
 public:
  Ioeventfds(const Device& device, const Fd& vm);

  /// False: the kernel does not take it (another has the address, or it wants a value of any size);
  /// the write comes as an exit.
  bool add(const vcpu::Doorbell& bell);
  void remove(u32 id);
  /// Readable while one of them has rung.
  int fd() const { return epoll_.get(); }
  /// Calls rung(id) for each that has rung since the last call.
  void take(const std::function<void(u32)>& rung);

 private:
  struct Wire {
    Fd event;
    kvm_ioeventfd request;
  };
  bool signal_on(kvm_ioeventfd request, u32 id);

  const Fd& vm_;
  bool any_length_;
  Fd epoll_;
  std::multimap<u32, Wire> wires_;  // several may share an id
};

}  // namespace colo::kvm
