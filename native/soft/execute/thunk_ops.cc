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
  if (plan.direct) return plan.direct(&c->fx, mem, c->r, &flags), 0;
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

}  // namespace

Handler pick_thunk(const FpPlan& plan) {
  if (plan.implicit_rdi) return nullptr;
  if (!plan.mem_size) return thunk_registers;
  const bool store = plan.mem_write;
  if (store && (plan.mem_read || !plan.direct)) return nullptr;
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

Step slow_thunk(Cpu& c, const Op& o) {
  const FpPlan& plan = plan_of(&o);
  if (const u8 vector = unit_fault(c, plan, o); vector != kNoFault) return c.raise(vector);
  u64 at = ea(c, o);
  if (plan.implicit_rdi)
    at = (o.scale ? static_cast<u32>(c.r[RDI]) : c.r[RDI]) +
         (o.extra == SEG_COUNT ? 0 : c.seg[o.extra].base);
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
