// Integer instructions too rare for a handler of their own.
#include <sys/random.h>

#include <cstring>

#include "soft/execute/handlers.h"
#include "soft/execute/ops.h"

namespace colo::soft {

Handler pick_raise_ud() { return raise_vector<UD>; }

Step slow_gp0(Cpu& c, const Op&) { return c.raise(GP, 0); }

Step slow_push16(Cpu& c, const Op& o) {
  if (!c.store(c.r[RSP] - 2, 2, get<u16>(&c, o.s))) return Step::Fault;
  c.r[RSP] -= 2;
  return Step::Next;
}

Step slow_pop16(Cpu& c, const Op& o) {
  u64 v;
  if (!c.load(c.r[RSP], 2, v)) return Step::Fault;
  c.r[RSP] += 2;
  put<u16>(&c, o.d, static_cast<u16>(v));
  return Step::Next;
}

Step slow_leave16(Cpu& c, const Op&) {
  u64 v;
  if (!c.load(c.r[RBP], 2, v)) return Step::Fault;
  c.r[RSP] = c.r[RBP] + 2;
  put<u16>(&c, RBP * 8, static_cast<u16>(v));
  return Step::Next;
}

/// ENTER: imm = frame size | nesting level << 16. Nothing below RSP counts until RSP moves, so a
/// fault half-way commits nothing.
Step slow_enter(Cpu& c, const Op& o) {
  const u64 frame_size = o.imm & 0xffff;
  const int level = (o.imm >> 16) & 31;
  u64 sp = c.r[RSP] - 8;
  if (!c.store(sp, 8, c.r[RBP])) return Step::Fault;
  const u64 frame = sp;
  for (int i = 1; i < level; i++) {
    u64 outer;
    sp -= 8;
    if (!c.load(c.r[RBP] - 8 * static_cast<u64>(i), 8, outer) || !c.store(sp, 8, outer))
      return Step::Fault;
  }
  if (level) {
    sp -= 8;
    if (!c.store(sp, 8, frame)) return Step::Fault;
  }
  sp -= frame_size;
  if (!c.probe(sp, 1, Access::Write)) return Step::Fault;
  c.r[RBP] = frame;
  c.r[RSP] = sp;
  return Step::Next;
}

namespace {
void set_zf(Cpu& c, bool zf) {
  const u64 rest = status_of_lazy(c.res, c.aux) & ~flag::ZF;
  lazy_of_status(rest | (zf ? flag::ZF : 0), c.res, c.aux);
}
}  // namespace

Step slow_cmpxchg8b(Cpu& c, const Op& o) {
  const u64 at = ea(c, o);
  u64 old;
  if (!c.probe(at, 8, Access::Write) || !c.load(at, 8, old)) return Step::Fault;
  const u64 expected = static_cast<u32>(c.r[RAX]) | c.r[RDX] << 32;
  const u64 desired = static_cast<u32>(c.r[RBX]) | c.r[RCX] << 32;
  const bool same = old == expected;
  if (!c.store(at, 8, same ? desired : old)) return Step::Fault;
  if (!same) {
    c.r[RAX] = static_cast<u32>(old);
    c.r[RDX] = old >> 32;
  }
  set_zf(c, same);
  return Step::Next;
}

Step slow_cmpxchg16b(Cpu& c, const Op& o) {
  const u64 at = ea(c, o);
  if (at & 15) return c.raise(GP, 0);
  u64 old[2];
  if (!c.probe(at, 16, Access::Write) || !c.load_bytes(at, old, 16)) return Step::Fault;
  const bool same = old[0] == c.r[RAX] && old[1] == c.r[RDX];
  const u64 desired[2] = {same ? c.r[RBX] : old[0], same ? c.r[RCX] : old[1]};
  if (!c.store_bytes(at, desired, 16)) return Step::Fault;
  if (!same) {
    c.r[RAX] = old[0];
    c.r[RDX] = old[1];
  }
  set_zf(c, same);
  return Step::Next;
}

/// Random bytes are the host kernel's, which has them early and never runs out.
Step slow_rdrand(Cpu& c, const Op& o) {
  u64 v = 0;
  const ssize_t got = getrandom(&v, sizeof v, 0);
  COLO_ASSERT(got == sizeof v);
  u8* at = reinterpret_cast<u8*>(c.r) + o.d;
  if (o.extra == 4) v &= 0xffffffff;
  memcpy(at, &v, o.extra == 2 ? 2 : 8);
  lazy_of_status(flag::CF, c.res, c.aux);
  return Step::Next;
}

}  // namespace colo::soft
