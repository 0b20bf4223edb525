// INIT, SIPI and NMI as a processor takes them (Intel SDM vol. 3, 9.4 and table 10-1).
#include "soft/system/system.h"

namespace colo::soft {

using namespace sys;

namespace {

/// As after RESET, but for what INIT leaves alone: FPU, SSE and AVX state, XCR0, MSRs, the TSC,
/// caching.
void init(Cpu& c) {
  const FxState fx = c.fx;
  const YmmHigh ymm_high = c.ymm_high;
  const Msrs msrs = c.msr;
  const u8 xcr0 = c.xcr0;
  const u64 caching = c.cr0 & (cr0::CD | cr0::NW);
  reset_registers(c);
  c.fx = fx;
  c.ymm_high = ymm_high;
  c.msr = msrs;
  c.xcr0 = xcr0;
  c.cr0 = cr0::ET | caching;
  c.chip->init();
}

void start_at(Cpu& c, u8 vector) {
  kvm_segment& cs = c.seg[CS];
  cs.selector = static_cast<u16>(vector << 8);
  cs.base = static_cast<u64>(vector) << 12;
  c.rip = 0;
  c.start = Start::Started;
}

}  // namespace

bool accept_signals(Cpu& c) {
  const u32 signals = c.chip->signals();
  if (COLO_LIKELY(!signals)) return false;
  if (signals & signal::INIT) {
    c.chip->take_signal(signal::INIT);
    init(c);
    c.start = c.index == 0 ? Start::Started : Start::InitReceived;
    drop_derived(c);
    return true;
  }
  if (signals & signal::SIPI) {
    const u8 vector = c.chip->take_signal(signal::SIPI);
    if (c.start != Start::InitReceived) return true;
    start_at(c, vector);
    drop_derived(c);
    return true;
  }
  if (c.start != Start::Started || c.nmi_masked || c.shadow) return false;
  c.chip->take_signal(signal::NMI);
  c.nmi_masked = true;
  c.raise(NMI);
  return true;
}

}  // namespace colo::soft
