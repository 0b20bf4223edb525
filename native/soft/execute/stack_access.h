// Which segment an access went through, asked after it failed.
#pragma once
#include "soft/cpu/cpu.h"

namespace colo::soft {

/// Was it through the stack segment that the instruction at RIP reached va? No fast path knows.
bool is_stack_access(Cpu& c, u64 va);

}  // namespace colo::soft
