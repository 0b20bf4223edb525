// Integer instructions too rare for a handler of their own.
#include <sched.h>
#include <sys/random.h>

#include <cstring>

#include "soft/execute/handlers.h"
#include "soft/execute/ops.h"
#include "soft/memory/mmu.h"
#include "soft/memory/world.h"

namespace colo::soft {

Handler pick_raise_ud() { return raise_vector<UD>; }

Step slow_gp0(Cpu& c, const Op&) { return c.raise(GP, 0); }

namespace {
bool condition_of(const Cpu& c, int cc) {
  const u64 f = status_of_lazy(c.res, c.aux);
  const bool sf_of = bool(f & flag::SF) != bool(f & flag::OF);
  const bool holds[] = {bool(f & flag::OF),
                        bool(f & flag::CF),
                        bool(f & flag::ZF),
                        bool(f & (flag::CF | flag::ZF)),
                        bool(f & flag::SF),
                        bool(f & flag::PF),
                        sf_of,
                        sf_of || f & flag::ZF};
  return holds[cc >> 1] != (cc & 1);
}

/// Of LOOPcc and JCXZ: rCX as wide as an address is.
u64 count_of(u64 rcx, u8 address_size) {
  return address_size == 2   ? static_cast<u16>(rcx)
         : address_size == 4 ? static_cast<u32>(rcx)
                             : rcx;
}
}  // namespace

/// JMP, Jcc, LOOPcc, JCXZ, CALL whose target is beyond the limit of CS or not canonical: taken,
/// they fault before they have changed anything.
Step slow_branch_beyond(Cpu& c, const Op& o) {
  const u8 opcode = o.imm & 0xff, address_size = (o.imm >> 8) & 0xff;
  const bool loops = opcode >= 0xe0 && opcode <= 0xe2;
  const u64 count = count_of(c.r[RCX], address_size), left = count_of(count - 1, address_size);
  const bool zf = status_of_lazy(c.res, c.aux) & flag::ZF;
  bool taken = true;
  if ((opcode & 0xf0) == 0x70) taken = condition_of(c, opcode & 15);
  else if (opcode == 0xe3) taken = count == 0;
  else if (loops) taken = left != 0 && (opcode == 0xe2 || zf == (opcode == 0xe1));
  if (taken) return c.raise(GP, 0);
  if (loops && address_size == 2) put<u16>(&c, RCX * 8, static_cast<u16>(left));
  else if (loops) c.r[RCX] = left;
  return Step::Next;
}

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

void exchange_here(u8* at, size_t n, u64* found, const u64* desired) {
  if (n == 8) {
    __atomic_compare_exchange_n(reinterpret_cast<u64*>(at), found, *desired, false,
                                __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST);
    return;
  }
  asm volatile("lock cmpxchg16b %0"
               : "+m"(*reinterpret_cast<unsigned __int128*>(at)), "+a"(found[0]), "+d"(found[1])
               : "b"(desired[0]), "c"(desired[1])
               : "cc", "memory");
}

/// found: what is expected, then what was there; memory is written in both cases. By the host's own
/// instruction within a line of RAM, else as a load and a store while no other vCPU runs. False:
/// pending is set.
bool compare_exchange(Cpu& c, u64 at, size_t n, u64* found, const u64* desired) {
  if (!c.mmu->aligned(at, n) || c.mmu->beyond_4g(at, n) || !c.probe(at, n, Access::Write))
    return false;
  const bool split = splits_line(at, n);
  Place place;
  u8* host = split ? nullptr : c.mmu->at(at, Access::Write, c.rights(), place);
  if (host) {
    if (c.watching) c.note_access(at, n, true);
    exchange_here(host, n, found, desired);
    c.mmu->wrote_ram(place.at, n);
    return true;
  }
  if (!split && !place.device) return false;
  const Alone alone(c);
  u64 now[2];
  if (!c.load_bytes(at, now, n)) return false;
  if (!c.store_bytes(at, memcmp(now, found, n) ? now : desired, n)) return false;
  memcpy(found, now, n);
  return true;
}

}  // namespace

Step slow_cmpxchg8b(Cpu& c, const Op& o) {
  const u64 expected = static_cast<u32>(c.r[RAX]) | c.r[RDX] << 32;
  const u64 desired = static_cast<u32>(c.r[RBX]) | c.r[RCX] << 32;
  u64 found = expected;
  if (!compare_exchange(c, ea(c, o), 8, &found, &desired)) return Step::Fault;
  if (found != expected) {
    c.r[RAX] = static_cast<u32>(found);
    c.r[RDX] = found >> 32;
  }
  set_zf(c, found == expected);
  return Step::Next;
}

Step slow_cmpxchg16b(Cpu& c, const Op& o) {
  const u64 at = ea(c, o);
  if (at & 15) return c.raise(GP, 0);
  u64 found[2] = {c.r[RAX], c.r[RDX]};
  const u64 desired[2] = {c.r[RBX], c.r[RCX]};
  if (!compare_exchange(c, at, 16, found, desired)) return Step::Fault;
  const bool same = found[0] == c.r[RAX] && found[1] == c.r[RDX];
  c.r[RAX] = found[0];
  c.r[RDX] = found[1];
  set_zf(c, same);
  return Step::Next;
}

/// A vCPU that waits for another gives its core away now and then: the other may have none.
Step slow_pause(Cpu& c, const Op&) {
  constexpr u32 kPatience = 32;
  if (!c.alone && ++c.pauses % kPatience == 0) sched_yield();
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
