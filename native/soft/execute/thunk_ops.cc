// The frame around thunked vector and x87 instructions: who may run them, where their memory
// operand is, what they raise.
#include "soft/execute/handlers.h"
#include "soft/execute/ops.h"

namespace colo::soft {
namespace {

constexpr u8 kNoFault = 0xff;

/// #UD and #NM come before anything else (Intel SDM vol. 3, 2.5 and 13.1).
u8 unit_fault(const Cpu& c, const FpPlan& plan, const Op& o) {
  const bool em = c.cr0 & cr0::EM, ts = c.cr0 & cr0::TS;
  if (plan.integer) return kNoFault;
  if (plan.x87) {
    const bool fwait = o.extra & kThunkFwait;
    if (fwait ? ts && c.cr0 & cr0::MP : em || ts) return NM;
    return kNoFault;
  }
  if (em || (!plan.mmx && !(c.cr4 & cr4::OSFXSR))) return UD;
  if (ts) return NM;
  return kNoFault;
}

const FpPlan& plan_of(const Op* o) { return *reinterpret_cast<const FpPlan*>(o->imm); }

/// Runs a thunk with the flags in c.res, c.aux. What execute() returned, or a positive number if
/// c.pending is set. Out of line, and given nothing of the handler's own frame: an address of a
/// local there would forbid its tail call.
COLO_NOINLINE int run_thunk(Cpu* c, const FpPlan& plan, void* mem) {
  u64 flags = 0;
  give_units_back(c);
  if (plan.reads_flags || plan.writes_flags) flags = status_of_lazy(c->res, c->aux);
  const int result = c->thunks.execute(plan, c->fx, mem, c->r, flags);
  if (COLO_UNLIKELY(result > 0)) {
    const bool hidden = result == XM && !(c->cr4 & cr4::OSXMMEXCPT);
    c->raise(hidden ? static_cast<u8>(UD) : static_cast<u8>(result));
  } else if (plan.writes_flags) {
    lazy_of_status(flags & flag::STATUS, c->res, c->aux);
  }
  return result;
}

/// The faults that depend on state, for the in-place handlers. Returns true if the operation may
/// run.
COLO_NOINLINE bool may_run(Cpu* c, const Op* o, u64 va) {
  const FpPlan& plan = plan_of(o);
  const u8 vector = unit_fault(*c, plan, *o);
  if (COLO_LIKELY(vector == kNoFault && !(plan.aligned16 && va & 15))) return true;
  if (vector == kNoFault) c->raise(GP, 0);
  else c->raise(vector);
  return false;
}

#define RUN_THUNK(mem)                                                             \
  c->res = res, c->aux = aux;                                                      \
  if (run_thunk(c, plan_of(o), mem) > 0) return leave_fault(c, o, c->res, c->aux); \
  return o[1].h(c, o + 1, c->res, c->aux)

void thunk_registers(OP_ARGS) {
  if (!may_run(c, o, 0)) return leave_fault(c, o, res, aux);
  RUN_THUNK(nullptr);
}

struct Bytes10 {
  u8 at[10];
};
struct Bytes16 {
  u64 half[2];
};

template <class T>
void thunk_load(OP_ARGS) {
  const u64 va = address(c, o);
  if (!may_run(c, o, va)) return leave_fault(c, o, res, aux);
  TLB_LOOKUP(T, read, slow_read, va)
  RUN_THUNK(reinterpret_cast<void*>(va + entry_.addend));
}
/// Stores into guest RAM in place: only instructions that cannot fail once they run.
template <class T>
void thunk_store(OP_ARGS) {
  const u64 va = address(c, o);
  if (!may_run(c, o, va)) return leave_fault(c, o, res, aux);
  TLB_LOOKUP(T, write, slow_write, va)
  RUN_THUNK(reinterpret_cast<void*>(va + entry_.addend));
}

Handler pick_careful(const FpPlan& plan) {
  if (plan.implicit_rdi) return nullptr;
  if (!plan.mem_size) return thunk_registers;
  const bool store = plan.mem_write;
  if (store && (plan.mem_read || plan.x87 || !plan.direct)) return nullptr;
  switch (plan.mem_size) {
    case 2:
      return store ? thunk_store<u16> : thunk_load<u16>;
    case 4:
      return store ? thunk_store<u32> : thunk_load<u32>;
    case 8:
      return store ? thunk_store<u64> : thunk_load<u64>;
    case 16:
      return store ? thunk_store<Bytes16> : thunk_load<Bytes16>;
    default:
      return nullptr;
  }
}

/// The function that does all of it, for a handler that found the unit not to be had. Not in a
/// window: an operation that gets so far as to open one has had the unit.
void thunk_by_function(OP_ARGS) {
  give_units_back(c);
  c->res = res, c->aux = aux;
  if (slow_thunk(*c, *o) == Step::Fault) return leave_fault(c, o, c->res, c->aux);
  if (must_leave(c)) return leave_after(c, o, c->res, c->aux);
  return o[1].h(c, o + 1, c->res, c->aux);
}

/// With the unit taken nothing can fail but the access to memory. A thunk that is run so has no use
/// for flags.
#define RUN_DIRECT(mem)             \
  auto code = plan_of(o).direct;    \
  asm("" : "+r"(code));             \
  code(&c->fx, mem, c->r, nullptr); \
  NEXT

template <u8 Unit>
void direct_registers(OP_ARGS) {
  NEED_UNIT(Unit);
  RUN_DIRECT(nullptr);
}
template <u8 Unit, class T>
void direct_load(OP_ARGS) {
  NEED_UNIT(Unit);
  const u64 va = address(c, o);
  if (plan_of(o).aligned16 && va & 15) return raise_gp0(c, o, res, aux);
  TLB_LOOKUP(T, read, slow_read, va)
  RUN_DIRECT(reinterpret_cast<void*>(va_ + entry_.addend));
}
template <u8 Unit, class T>
void direct_store(OP_ARGS) {
  NEED_UNIT(Unit);
  const u64 va = address(c, o);
  if (plan_of(o).aligned16 && va & 15) return raise_gp0(c, o, res, aux);
  TLB_LOOKUP(T, write, slow_write, va)
  RUN_DIRECT(reinterpret_cast<void*>(va_ + entry_.addend));
}

template <u8 Unit, class T>
Handler direct_access(bool store) {
  return store ? direct_store<Unit, T> : direct_load<Unit, T>;
}

template <u8 Unit>
Handler pick_direct(const FpPlan& plan) {
  switch (plan.mem_size) {
    case 0:
      return direct_registers<Unit>;
    case 2:
      return direct_access<Unit, u16>(plan.mem_write);
    case 4:
      return direct_access<Unit, u32>(plan.mem_write);
    case 8:
      return direct_access<Unit, u64>(plan.mem_write);
    case 10:
      return direct_access<Unit, Bytes10>(plan.mem_write);
    case 16:
      return direct_access<Unit, Bytes16>(plan.mem_write);
    default:
      return nullptr;
  }
}

}  // namespace

Handler pick_thunk(const FpPlan& plan) {
  Handler direct = nullptr;
  if (plan.direct && !plan.integer && !plan.implicit_rdi && !plan.writes_flags)
    direct = plan.x87 ? pick_direct<kX87Unit>(plan) : pick_direct<kSimdUnit>(plan);
  return direct ? direct : pick_careful(plan);
}

template <u8 Unit>
COLO_COLD void retry_with_unit(OP_ARGS) {
  if (Unit == kX87Unit ? take_x87(c) : take_simd(c)) return o->h(c, o, res, aux);
  const Handler careful = pick_careful(plan_of(o));
  return careful ? careful(c, o, res, aux) : thunk_by_function(c, o, res, aux);
}
template void retry_with_unit<kSimdUnit>(OP_ARGS);
template void retry_with_unit<kX87Unit>(OP_ARGS);

Step slow_thunk(Cpu& c, const Op& o) {
  const FpPlan& plan = plan_of(&o);
  if (const u8 vector = unit_fault(c, plan, o); vector != kNoFault) return c.raise(vector);
  u64 at = ea(c, o);
  if (plan.implicit_rdi) {
    const u64 rdi = o.scale == 8   ? c.r[RDI]
                    : o.scale == 4 ? static_cast<u32>(c.r[RDI])
                                   : static_cast<u16>(c.r[RDI]);
    if (!c.linear(SegReg(o.extra), rdi, plan.mem_size, Access::Write, at)) return Step::Fault;
  }
  if (plan.mem_size) {
    if (plan.aligned16 && at & 15) return c.raise(GP, 0);
    if (plan.mem_read && !c.load_bytes(at, c.bounce, plan.mem_size)) return Step::Fault;
    if (plan.mem_write && !c.probe(at, plan.mem_size, Access::Write)) return Step::Fault;
  }
  const int result = run_thunk(&c, plan, c.bounce);
  if (result > 0) return Step::Fault;
  if (plan.mem_write && result != kNothingStored && !c.store_bytes(at, c.bounce, plan.mem_size))
    return Step::Fault;
  return Step::Next;
}

}  // namespace colo::soft
