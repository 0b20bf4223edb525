// The ways out of a handler's fast path (see ops.h).
#include <cstring>

#include "soft/execute/handlers.h"
#include "soft/execute/ops.h"
#include "soft/memory/mmu.h"

namespace colo::soft {

u64 insn_rip(const Cpu& c, const Op& o) { return c.block->va + o.off; }

/// After an operation that reached out of the fast path: its block is gone, or a device or another
/// thread wants the CPU looked at. The latter at once and not at the block's end, so that when an
/// interrupt comes does not depend on where blocks happen to begin.
bool must_leave(const Cpu* c) {
  return c->block->dead || c->floor.load(std::memory_order_relaxed) == kFloorLeave;
}

namespace {

/// Instructions of the running block that come before operation o. Operations of length 0 are parts
/// of the next one.
int instructions_before(const Block* b, const Op* o) {
  int n = 0;
  for (const Op* p = b->ops; p < o; p++) n += p->len != 0;
  return n;
}

/// o may be a window's copy of an operation.
const Op* origin_of(const Cpu* c, const Op* o) {
  return o == c->mmu->window.copy ? c->mmu->window.origin : o;
}

/// Out of line, so that tails.sh tells the one kind of indirect call from the other.
COLO_NOINLINE Block* find_block(Cpu* c, u64 va) {
  give_units_back(c);
  return c->blocks->find(va);
}
COLO_NOINLINE void link_block(const Cpu* c, Block* from, int exit, Block* to) {
  c->blocks->resolve(from, exit, to);
}

/// Second operation of a window: the copied one is done.
COLO_COLD void window_done(OP_ARGS) {
  (void)o;
  Window& w = c->mmu->window;
  give_units_back(c);
  c->mmu->close_window();
  const Op* origin = w.origin;
  if (origin->len && must_leave(c))
    return leave_after(c, origin, res, aux);  // length 0: the instruction goes on
  return origin[1].h(c, origin + 1, res, aux);
}

/// Runs a copy of o in the open window. A block's last operation leaves through its exits; with the
/// window open they lead to the run loop only, which closes it before anything looks at memory
/// again.
COLO_COLD void run_windowed(OP_ARGS) {
  Window& w = c->mmu->window;
  w.copy[0] = *o;
  w.copy[1] = o[1];
  if (o == c->block->ops + c->block->op_count - 1) c->floor.store(kFloorLeave);
  else w.copy[1].h = window_done;
  return o->h(c, w.copy, res, aux);
}

}  // namespace

template <size_t N, bool Read, bool Write>
COLO_COLD void slow_access(OP_ARGS) {
  give_units_back(c);
  switch (c->mmu->prepare(o, c->mem_va, N, Read, Write)) {
    case Mmu::Prepared::Fault:
      return leave_fault(c, o, res, aux);
    case Mmu::Prepared::Retry:
      return o->h(c, o, res, aux);
    case Mmu::Prepared::Windowed:
      break;
  }
  return run_windowed(c, o, res, aux);
}

template <size_t N>
void slow_read(OP_ARGS) {
  return slow_access<N, true, false>(c, o, res, aux);
}
template <size_t N>
void slow_write(OP_ARGS) {
  return slow_access<N, false, true>(c, o, res, aux);
}
template <size_t N>
void slow_modify(OP_ARGS) {
  return slow_access<N, true, true>(c, o, res, aux);
}
#define ALL_SIZES(F)            \
  template void F<1>(OP_ARGS);  \
  template void F<2>(OP_ARGS);  \
  template void F<4>(OP_ARGS);  \
  template void F<8>(OP_ARGS);  \
  template void F<10>(OP_ARGS); \
  template void F<16>(OP_ARGS);
ALL_SIZES(slow_read)
ALL_SIZES(slow_write)
ALL_SIZES(slow_modify)

template <size_t N>
COLO_COLD void slow_split(OP_ARGS) {
  give_units_back(c);
  if (c->mmu->prepare_alone(o, c->mem_va, N) == Mmu::Prepared::Retry) return o->h(c, o, res, aux);
  return run_windowed(c, o, res, aux);
}
template void slow_split<1>(OP_ARGS);
template void slow_split<2>(OP_ARGS);
template void slow_split<4>(OP_ARGS);
template void slow_split<8>(OP_ARGS);

COLO_COLD void leave(OP_ARGS) {
  (void)o;
  give_units_back(c);
  c->res = res;
  c->aux = aux;
}

COLO_COLD void leave_fault(OP_ARGS) {
  o = origin_of(c, o);
  c->rip = insn_rip(*c, *o);
  c->budget += c->block->instructions - instructions_before(c->block, o);
  return leave(c, o, res, aux);
}

COLO_COLD void leave_after(OP_ARGS) {
  c->rip = next_rip(*c, *o);
  c->budget += c->block->instructions - instructions_before(c->block, o) - 1;
  return leave(c, o, res, aux);
}

template <u8 V>
COLO_COLD void raise_vector(OP_ARGS) {
  c->raise(V);
  return leave_fault(c, o, res, aux);
}
template void raise_vector<DE>(OP_ARGS);
template void raise_vector<UD>(OP_ARGS);
template void raise_vector<NM>(OP_ARGS);

COLO_COLD void raise_gp0(OP_ARGS) {
  c->raise(GP, 0);
  return leave_fault(c, o, res, aux);
}

template <int K>
COLO_COLD void resolve_exit(OP_ARGS) {
  Block* from = c->block;
  const u64 va = from->exits().va[K];
  c->rip = va;
  if (from->mode & kModeSingle || c->mmu->window.open) return leave(c, o, res, aux);
  Block* to = find_block(c, va);
  if (!to) return leave(c, o, res, aux);
  link_block(c, from, K, to);
  return enter(c, to, res, aux);
}
template void resolve_exit<0>(OP_ARGS);
template void resolve_exit<1>(OP_ARGS);

COLO_COLD void resolve_indirect(OP_ARGS) {
  if (c->block->mode & kModeSingle || c->mmu->window.open) return leave(c, o, res, aux);
  Block* to = find_block(c, c->rip);
  if (!to) return leave(c, o, res, aux);
  return enter(c, to, res, aux);
}

/// An operation behind a plain function: o[1].h is the function, not a handler.
template <bool Ends>
static COLO_NOINLINE void run_slow(OP_ARGS) {
  give_units_back(c);
  c->res = res;
  c->aux = aux;
  const Step step = reinterpret_cast<Slow>(reinterpret_cast<void*>(o[1].h))(*c, *o);
  // Most of those that end a block serialize: IRET, MOV to CR, INVLPG, WRMSR.
  if (Ends && !c->alone) asm volatile("mfence" ::: "memory");
  switch (step) {
    case Step::Fault:
      return leave_fault(c, o, c->res, c->aux);
    case Step::Next:
      if (Ends || must_leave(c)) return leave_after(c, o, c->res, c->aux);
      return o[2].h(c, o + 2, c->res, c->aux);
    case Step::Exit:
      c->exit_pending = true;
      break;
    case Step::Jump:
      break;
  }
  c->budget += c->block->instructions - instructions_before(c->block, o) - 1;
  return leave(c, o, c->res, c->aux);
}

Handler pick_slow(bool ends) { return ends ? run_slow<true> : run_slow<false>; }

}  // namespace colo::soft
