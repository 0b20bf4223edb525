// Stand-in for the floating-point unit: claims nothing.
#include "soft/fpu.h"

namespace colo::soft {
struct ThunkCache::Impl {};
ThunkCache::ThunkCache() : impl_(nullptr) {}
ThunkCache::~ThunkCache() = default;
bool ThunkCache::claims(u8, u8, u8) { return false; }
bool ThunkCache::plan(const FpInsn&, FpPlan&) { return false; }
int ThunkCache::execute(const FpPlan&, FxState&, void*, u64*, u64&) { return 0; }
void fx_reset(FxState& fx) { fx = {}; }
}  // namespace colo::soft
