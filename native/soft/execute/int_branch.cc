// Control transfers within a code segment, and what else reads the conditions: SETcc, CMOVcc.
#include "soft/execute/handlers.h"
#include "soft/execute/ops.h"

namespace colo::soft {
namespace {

/// A branch to nowhere faults itself, before it has changed anything.
#define CHECK_TARGET(target) \
  if (COLO_UNLIKELY(!canonical(target))) return raise_gp0(c, o, res, aux)

void jump(OP_ARGS) { return take_exit<0>(c, o, res, aux); }
void jump_reg(OP_ARGS) {
  const u64 target = get<u64>(c, o->s);
  CHECK_TARGET(target);
  return jump_indirect(c, o, res, aux, target);
}

void call(OP_ARGS) {
  const u64 to = c->r[RSP] - 8;
  WRITE(u64, p, to);
  *p = static_cast<u64>(o->imm);
  c->r[RSP] = to;
  return take_exit<0>(c, o, res, aux);
}
void call_reg(OP_ARGS) {
  const u64 to = c->r[RSP] - 8, target = get<u64>(c, o->s);
  CHECK_TARGET(target);
  WRITE(u64, p, to);
  *p = static_cast<u64>(o->imm);
  c->r[RSP] = to;
  return jump_indirect(c, o, res, aux, target);
}
void ret(OP_ARGS) {
  READ(u64, target, c->r[RSP]);
  CHECK_TARGET(target);
  c->r[RSP] += 8 + static_cast<u64>(o->imm);
  return jump_indirect(c, o, res, aux, target);
}

template <Branch K, class T>
void loop(OP_ARGS) {
  const T count = get<T>(c, RCX * 8) - 1;
  put<T>(c, RCX * 8, count);
  bool taken = count != 0;
  if (K == Branch::LoopZ) taken = taken && lazy_zf(res);
  if (K == Branch::LoopNz) taken = taken && !lazy_zf(res);
  if (taken) return take_exit<1>(c, o, res, aux);
  return take_exit<0>(c, o, res, aux);
}
template <class T>
void jcxz(OP_ARGS) {
  if (get<T>(c, RCX * 8) == 0) return take_exit<1>(c, o, res, aux);
  return take_exit<0>(c, o, res, aux);
}

template <int CC>
void jcc(OP_ARGS) {
  if (condition<CC>(res, aux)) return take_exit<1>(c, o, res, aux);
  return take_exit<0>(c, o, res, aux);
}
template <int CC>
void setcc(OP_ARGS) {
  put<u8>(c, o->d, condition<CC>(res, aux));
  NEXT;
}
template <int CC>
void setcc_mem(OP_ARGS) {
  WRITE(u8, p, address(c, o));
  *p = condition<CC>(res, aux);
  NEXT;
}
template <int CC, class T>
void cmov(OP_ARGS) {  // a 32-bit CMOV clears the upper half even when the condition fails
  const T yes = get<T>(c, o->s), no = get<T>(c, o->d);
  put<T>(c, o->d, condition<CC>(res, aux) ? yes : no);
  NEXT;
}
template <int CC, class T>
void cmov_mem(OP_ARGS) {
  READ(T, yes, address(c, o));
  const T no = get<T>(c, o->d);
  put<T>(c, o->d, condition<CC>(res, aux) ? yes : no);
  NEXT;
}

struct ConditionHandlers {
  Handler jcc, set, set_mem, move[3], move_mem[3];  // move: 16, 32, 64 bits
};
template <int CC>
constexpr ConditionHandlers handlers_of() {
  return {jcc<CC>,
          setcc<CC>,
          setcc_mem<CC>,
          {cmov<CC, u16>, cmov<CC, u32>, cmov<CC, u64>},
          {cmov_mem<CC, u16>, cmov_mem<CC, u32>, cmov_mem<CC, u64>}};
}
constexpr ConditionHandlers kConditions[16] = {
    handlers_of<0>(),  handlers_of<1>(),  handlers_of<2>(),  handlers_of<3>(),
    handlers_of<4>(),  handlers_of<5>(),  handlers_of<6>(),  handlers_of<7>(),
    handlers_of<8>(),  handlers_of<9>(),  handlers_of<10>(), handlers_of<11>(),
    handlers_of<12>(), handlers_of<13>(), handlers_of<14>(), handlers_of<15>()};

}  // namespace

Handler pick_jcc(int cc) { return kConditions[cc].jcc; }
Handler pick_setcc(int cc, bool memory) {
  return memory ? kConditions[cc].set_mem : kConditions[cc].set;
}
Handler pick_cmov(int cc, bool memory, u8 size) {
  const int i = size == 8 ? 2 : size == 4 ? 1 : 0;
  return memory ? kConditions[cc].move_mem[i] : kConditions[cc].move[i];
}

namespace {
template <Branch K>
Handler pick_loop(u8 address) {
  return address == 8 ? loop<K, u64> : address == 4 ? loop<K, u32> : loop<K, u16>;
}
}  // namespace

Handler pick_branch(Branch kind, u8 address) {
  switch (kind) {
    case Branch::Jump:
      return jump;
    case Branch::Call:
      return call;
    case Branch::JumpReg:
      return jump_reg;
    case Branch::CallReg:
      return call_reg;
    case Branch::Ret:
      return ret;
    case Branch::LoopNz:
      return pick_loop<Branch::LoopNz>(address);
    case Branch::LoopZ:
      return pick_loop<Branch::LoopZ>(address);
    case Branch::Loop:
      return pick_loop<Branch::Loop>(address);
    case Branch::Jrcxz:
      return address == 8 ? jcxz<u64> : address == 4 ? jcxz<u32> : jcxz<u16>;
  }
  return nullptr;
}

}  // namespace colo::soft
