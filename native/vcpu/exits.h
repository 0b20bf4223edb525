// Exits: port and memory-mapped accesses that a device outside of the backend answers. The access
// is described in a page shared with that side, much as kvm_run is; no exit allocates.
#pragma once
#include <atomic>
#include <functional>

#include "base/types.h"
#include "vcpu/contract.h"
#include "vcpu/doorbells.h"
#include "vcpu/patience.h"
#include "vcpu/signal.h"

namespace colo::vcpu {

enum class ExitKind : u32 { None, PioRead, PioWrite, MmioRead, MmioWrite };

/// One access. The layout is known to the JavaScript side (exitLayout in src/accel/exit-page.ts).
struct ExitPage {
  ExitKind kind = ExitKind::None;  // offset 0
  u32 size = 0;                    // offset 4: 1, 2, 4, 8
  double address = 0;  // offset 8: exact, for physical addresses end at 2^52; a double, for
                       // JavaScript has it without BigInt
  u64 data = 0;        // offset 16: written value, or where the answer goes
};
static_assert(sizeof(ExitPage) == 24 && offsetof(ExitPage, address) == 8 &&
              offsetof(ExitPage, data) == 16);

/// The part that both buses share: doorbells first, then one exchange with the device side.
class ExitBus : public Bus {
 public:
  explicit ExitBus(Doorbells& bells) : bells_(bells) {}
  u32 pio_read(u16 port, u8 size) final {
    return static_cast<u32>(exchange(ExitKind::PioRead, port, size, 0));
  }
  void pio_write(u16 port, u8 size, u32 value) final {
    if (!bells_.ring(Space::Pio, port, size, value))
      exchange(ExitKind::PioWrite, port, size, value);
  }
  u64 mmio_read(u64 gpa, u8 size) final { return exchange(ExitKind::MmioRead, gpa, size, 0); }
  void mmio_write(u64 gpa, u8 size, u64 value) final {
    if (!bells_.ring(Space::Mmio, gpa, size, value))
      exchange(ExitKind::MmioWrite, gpa, size, value);
  }
  ExitPage& page() { return page_; }

 protected:
  /// Describes the access in the page, has it answered, returns the data (reads: cut to size).
  u64 exchange(ExitKind kind, u64 address, u8 size, u64 data);
  /// Returns when page_ holds the answer. False: nobody will ever answer.
  virtual bool answer() = 0;

 private:
  Doorbells& bells_;
  ExitPage page_;
};

/// The vCPU's thread posts and sleeps, the main thread answers.
class PostedBus final : public ExitBus {
 public:
  /// post: tells the main thread that there is something to answer; must not wait.
  PostedBus(Doorbells& bells, std::function<void()> post)
      : ExitBus(bells), post_(std::move(post)) {}
  /// Main side: is there an access to answer? Then fill page().data and complete().
  bool pending() const { return state_.load(std::memory_order_acquire) == State::Posted; }
  void complete();
  /// No answer will come any more: accesses under way and later ones read as all ones, so that the
  /// vCPU's thread can be joined.
  void abandon();

 private:
  enum class State : u32 { Idle, Posted };
  bool answer() override;
  bool settled() const {
    return state_.load(std::memory_order_acquire) == State::Idle ||
           abandoned_.load(std::memory_order_acquire);
  }
  /// How long a vCPU looks for its answer at most. Measured with 2 idle cores (round trip of an
  /// exit, median): accesses 5 us apart 1.3 us instead of 60, 100 us apart 27 instead of 65. Beyond
  /// this the main thread is busy with something else.
  static constexpr u64 kLookNs = 50'000;
  std::function<void()> post_;
  Patience patience_{kLookNs};
  std::atomic<State> state_{State::Idle};
  std::atomic<bool> abandoned_{false};
  Signal answered_;
};

/// For a vCPU that runs on the main thread itself: the access is a plain call.
class DirectBus final : public ExitBus {
 public:
  DirectBus(Doorbells& bells, std::function<bool()> call)
      : ExitBus(bells), call_(std::move(call)) {}

 private:
  bool answer() override { return call_(); }
  std::function<bool()> call_;
};

}  // namespace colo::vcpu
