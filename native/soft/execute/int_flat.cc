// Stack and indirect branches of code that is not 64-bit, where they are frequent: 32-bit operands,
// segments that span everything. All other stacks are legacy.cc's.
#include "soft/execute/handlers.h"
#include "soft/execute/ops.h"

namespace colo::soft {
namespace {

COLO_INLINE u32 below_top(const Cpu* c) { return static_cast<u32>(c->r[RSP]) - 4; }

COLO_INLINE void jump_flat(OP_ARGS, u32 target) {
  const JumpEntry& j = c->jumps[jump_index(target)];
  if (COLO_UNLIKELY(j.va != target || j.epoch != c->legacy_epoch)) {
    c->rip = target;
    return resolve_indirect(c, o, res, aux);
  }
  return enter(c, reinterpret_cast<Block*>(c->arena + j.block), res, aux);
}

void push(OP_ARGS) {
  const u32 to = below_top(c);
  WRITE(u32, p, to);
  *p = get<u32>(c, o->s);
  c->r[RSP] = to;
  NEXT;
}
void push_imm(OP_ARGS) {
  const u32 to = below_top(c);
  WRITE(u32, p, to);
  *p = static_cast<u32>(o->imm);
  c->r[RSP] = to;
  NEXT;
}
void pop(OP_ARGS) {
  READ(u32, v, get<u32>(c, RSP * 8));
  c->r[RSP] = static_cast<u32>(c->r[RSP]) + 4u;
  put<u32>(c, o->d, v);
  NEXT;
}
void leave_frame(OP_ARGS) {
  const u32 frame = get<u32>(c, RBP * 8);
  READ(u32, v, frame);
  c->r[RSP] = frame + 4;
  c->r[RBP] = v;
  NEXT;
}
void call(OP_ARGS) {
  const u32 to = below_top(c);
  WRITE(u32, p, to);
  *p = static_cast<u32>(o->imm);
  c->r[RSP] = to;
  return take_exit<0>(c, o, res, aux);
}
void call_reg(OP_ARGS) {
  const u32 to = below_top(c), target = get<u32>(c, o->s);
  WRITE(u32, p, to);
  *p = static_cast<u32>(o->imm);
  c->r[RSP] = to;
  return jump_flat(c, o, res, aux, target);
}
void jump_reg(OP_ARGS) { return jump_flat(c, o, res, aux, get<u32>(c, o->s)); }
void ret(OP_ARGS) {
  READ(u32, target, get<u32>(c, RSP * 8));
  c->r[RSP] = static_cast<u32>(c->r[RSP]) + 4u + static_cast<u32>(o->imm);
  return jump_flat(c, o, res, aux, target);
}

}  // namespace

Handler pick_flat(Flat kind) {
  switch (kind) {
    case Flat::Push:
      return push;
    case Flat::PushImm:
      return push_imm;
    case Flat::Pop:
      return pop;
    case Flat::LeaveFrame:
      return leave_frame;
    case Flat::Call:
      return call;
    case Flat::CallReg:
      return call_reg;
    case Flat::JumpReg:
      return jump_reg;
    case Flat::Ret:
      return ret;
  }
  return nullptr;
}

}  // namespace colo::soft
