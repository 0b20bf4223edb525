// What every operation handler is made of: register access, guest memory through the soft TLB, and
// the ways out.
//
// A handler ends in NEXT (dispatch the following operation), in a block exit, or in a cold slow
// path; each is a tail call, so the compiler keeps nothing alive across it and the fast path has no
// stack frame. That is also why READ, WRITE and MODIFY are macros: only a `return` in the handler
// itself can leave it.
#pragma once
#include "soft/cpu/block.h"
#include "soft/cpu/cpu.h"
#include "soft/cpu/flags.h"
#include "soft/execute/unit.h"

#ifndef __OPTIMIZE__
#error "the interpreter depends on sibling-call optimisation: compile with -O2"
#endif

namespace colo::soft {

#define OP_ARGS Cpu *c, const Op *o, u64 res, u64 aux
#define NEXT return o[1].h(c, o + 1, res, aux)

/// Guest data has any alignment and any type.
template <class T>
struct GuestType {
  typedef T type __attribute__((may_alias, aligned(1)));
};
template <class T>
using Guest = typename GuestType<T>::type;

template <class T>
COLO_INLINE T get(const Cpu* c, u8 offset) {
  return *reinterpret_cast<const Guest<T>*>(reinterpret_cast<const u8*>(c->r) + offset);
}
/// 32-bit results clear the upper half, 8- and 16-bit ones keep the rest of the register.
template <class T>
COLO_INLINE void put(Cpu* c, u8 offset, T value) {
  u8* at = reinterpret_cast<u8*>(c->r) + offset;
  if constexpr (sizeof(T) == 4) *reinterpret_cast<Guest<u64>*>(at) = value;
  else *reinterpret_cast<Guest<T>*>(at) = value;
}
template <bool Indexed = true>
COLO_INLINE u64 address(const Cpu* c, const Op* o) {
  const u64 base = get<u64>(c, o->b) + static_cast<i64>(o->disp);
  if constexpr (Indexed) return base + (get<u64>(c, o->x) << o->scale);
  return base;
}

// --- slow.cc: the ways out of a fast path
/// The TLB has no answer for [c->mem_va, +N): fill it and dispatch the same operation again, or go
/// through a window, or fault.
template <size_t N>
void slow_read(OP_ARGS);
template <size_t N>
void slow_write(OP_ARGS);
template <size_t N>
void slow_modify(OP_ARGS);
/// A LOCK at [c->mem_va, +N) over two cache lines: dispatches it again while no other vCPU runs.
template <size_t N>
void slow_split(OP_ARGS);
/// Leaves the chain; c->rip is already right.
void leave(OP_ARGS);
/// Leaves with c->pending set: RIP = this instruction, which does not count.
void leave_fault(OP_ARGS);
/// Leaves with #GP(0) raised.
void raise_gp0(OP_ARGS);
/// Leaves with this instruction done; c->rip = the following one.
void leave_after(OP_ARGS);
template <u8 V>
void raise_vector(OP_ARGS);
/// A direct exit that has no block yet; K = which.
template <int K>
void resolve_exit(OP_ARGS);
/// An indirect branch to c->rip that the jump cache does not know.
void resolve_indirect(OP_ARGS);

/// Must an operation that reached out of the fast path leave the block?
bool must_leave(const Cpu* c);
/// The unit is not taken (unit.h): takes it and dispatches the same operation again, or runs it as
/// a thunk. o->imm = FpPlan*.
template <u8 Unit>
void retry_with_unit(OP_ARGS);
#define NEED_UNIT(unit) \
  if (COLO_UNLIKELY(!(c->units & (unit)))) return retry_with_unit<unit>(c, o, res, aux)

/// Defines va_ and entry_, whose addend turns va_ into a host address; leaves the handler if the
/// TLB does not know.
#define TLB_LOOKUP(T, tag, slow, va)                                      \
  const u64 va_ = (va);                                                   \
  const TlbEntry& entry_ = c->tlb[(va_ >> kPageShift) & (kTlbSize - 1)];  \
  if (COLO_UNLIKELY(entry_.tag != ((va_ + sizeof(T) - 1) & kPageMask))) { \
    c->mem_va = va_;                                                      \
    return slow<sizeof(T)>(c, o, res, aux);                               \
  }

/// T value = guest memory at va.
#define READ(T, value, va)           \
  TLB_LOOKUP(T, read, slow_read, va) \
  const T value = *reinterpret_cast<const Guest<T>*>(va_ + entry_.addend)
/// Guest<T>* pointer = guest memory that will be written, not read.
#define WRITE(T, pointer, va)          \
  TLB_LOOKUP(T, write, slow_write, va) \
  Guest<T>* const pointer = reinterpret_cast<Guest<T>*>(va_ + entry_.addend)
/// As WRITE for memory that is read first.
#define MODIFY(T, pointer, va)          \
  TLB_LOOKUP(T, write, slow_modify, va) \
  Guest<T>* const pointer = reinterpret_cast<Guest<T>*>(va_ + entry_.addend)

/// An atomic operation over two cache lines locks the host's whole bus, where the host allows it at
/// all. While no other vCPU runs plain accesses give the same result: devices do not modify what
/// they find.
template <class T>
COLO_INLINE bool splits_line(const void* p) {
  return COLO_UNLIKELY(splits_line(reinterpret_cast<u64>(p), sizeof(T)));
}

/// Behind MODIFY, of a LOCK: from here on plain accesses do where the operand splits a line.
#define SETTLE_SPLIT(T, pointer)                             \
  if (COLO_UNLIKELY(splits_line<T>(pointer) && !c->alone)) { \
    c->mem_va = va_;                                         \
    return slow_split<sizeof(T)>(c, o, res, aux);            \
  }

/// Runs block b, unless the budget is spent or somebody wants the CPU's attention.
COLO_INLINE void enter(Cpu* c, Block* b, u64 res, u64 aux) {
  const i64 left = c->budget - b->instructions;
  c->block = b;
  if (COLO_UNLIKELY(left < c->floor.load(std::memory_order_relaxed))) {
    c->rip = b->va;
    return leave(c, nullptr, res, aux);
  }
  c->budget = left;
  return b->ops[0].h(c, b->ops, res, aux);
}
/// The block's exit number K: 0 = fall through or jump, 1 = branch taken.
template <int K>
COLO_INLINE void take_exit(OP_ARGS) {
  Block* b = reinterpret_cast<const Exits*>(o + 1)->to[K];
  if (COLO_UNLIKELY(!b)) return resolve_exit<K>(c, o, res, aux);
  return enter(c, b, res, aux);
}
COLO_INLINE void jump_indirect(OP_ARGS, u64 target) {
  const JumpEntry& j = c->jumps[jump_index(target)];
  if (COLO_UNLIKELY(j.va != target || j.epoch != c->epoch[target >> 63])) {
    c->rip = target;
    return resolve_indirect(c, o, res, aux);
  }
  return enter(c, reinterpret_cast<Block*>(c->arena + j.block), res, aux);
}

/// Picks F<T> by operand size in bytes.
#define BY_SIZE(size, F, ...)                  \
  ((size) == 8   ? Handler(F<__VA_ARGS__ u64>) \
   : (size) == 4 ? Handler(F<__VA_ARGS__ u32>) \
   : (size) == 2 ? Handler(F<__VA_ARGS__ u16>) \
                 : Handler(F<__VA_ARGS__ u8>))
/// As BY_SIZE for instructions without a byte form.
#define BY_WIDE_SIZE(size, F, ...)             \
  ((size) == 8   ? Handler(F<__VA_ARGS__ u64>) \
   : (size) == 4 ? Handler(F<__VA_ARGS__ u32>) \
                 : Handler(F<__VA_ARGS__ u16>))

}  // namespace colo::soft
