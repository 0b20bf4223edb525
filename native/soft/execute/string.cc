// MOVS CMPS STOS LODS SCAS with and without REP (Intel SDM vol. 2). A repeated instruction works in
// runs that stay within the pages of both operands; RCX, RSI and RDI are right after every run, and
// between runs it lets the run loop look around: RIP is still on it.
#include <cstring>

#include "soft/cpu/block.h"
#include "soft/execute/alu.h"
#include "soft/memory/mmu.h"

namespace colo::soft {
namespace {

/// Operand addresses and the count of the instruction, narrowed to the address size.
struct Cursor {
  Cpu& c;
  const Op& o;
  u8 address_size = static_cast<u8>(o.extra);
  i64 sign = c.rflags & flag::DF ? -1 : 1;
  // More than one element at a time; not where each has a check of its own, or a trap.
  bool runs = sign > 0 && !c.checks_alignment() && !(c.rflags & flag::TF) && !c.watching &&
              (!(c.mode & kModeLegacy) ||
               (c.mode & kModeFlat && o.imm != FS && o.imm != GS && o.imm != CS));

  u64 reg(Reg r) const {
    return address_size == 8   ? c.r[r]
           : address_size == 4 ? static_cast<u32>(c.r[r])
                               : static_cast<u16>(c.r[r]);
  }
  void set(Reg r, u64 v) {
    if (address_size == 2) put<u16>(&c, static_cast<u8>(r * 8), static_cast<u16>(v));
    else c.r[r] = address_size == 4 ? static_cast<u32>(v) : v;
  }
  bool source(u64 bytes, u64& va) const {
    if (o.imm == SEG_COUNT) return va = reg(RSI), true;
    return c.linear(SegReg(o.imm), reg(RSI), bytes, Access::Read, va);
  }
  bool target(u64 bytes, Access access, u64& va) const {
    if (COLO_LIKELY(!(c.mode & kModeLegacy))) return va = reg(RDI), true;
    return c.linear(ES, reg(RDI), bytes, access, va);
  }
  void move(Reg r, u64 bytes) { set(r, reg(r) + static_cast<u64>(sign * static_cast<i64>(bytes))); }
  u64 count() const { return reg(RCX); }
  void done(u64 n) { set(RCX, count() - n); }
};

/// How many elements from va on lie in its page, going up; 0 if the first crosses.
template <class T>
u64 in_page(u64 va) {
  return (kPageSize - (va & ~kPageMask)) / sizeof(T);
}

/// A host pointer to RAM for a run, nullptr if the elements must go one by one (device), or a
/// fault.
enum class Got : u8 { Ram, OneByOne, Fault };
Got reach(Cpu& c, u64 va, Access access, u8*& host, u64& offset) {
  Place place;
  host = c.mmu->at(va, access, c.rights(), place);
  offset = place.at;
  return host ? Got::Ram : place.device ? Got::OneByOne : Got::Fault;
}

/// Some elements of the instruction: how many were done (0 = fault). stop: the repeat condition
/// ended it.
struct Run {
  u64 done = 0;
  bool stop = false;
};

template <class T>
bool load_element(Cpu& c, u64 va, T& value) {
  return c.load_bytes(va, &value, sizeof value);
}

/// In bytes. Below them the host's own instructions cost more to begin than the whole loop takes
/// (measured: REP MOVSB of 8 bytes 137 cycles, the loop 17; REP STOSD of 16 bytes 21 against 15).
constexpr u64 kShortCopy = 64, kShortFill = 32;

/// Each element is stored once and as a whole, in order: where the operands overlap the pattern of
/// the source goes on.
template <class T>
void copy_up(u8* to, const u8* from, u64 n) {
  using Element __attribute__((may_alias, aligned(1))) = T;
  if (n * sizeof(T) < kShortCopy) {
    auto* out = reinterpret_cast<Element*>(to);
    auto* in = reinterpret_cast<const Element*>(from);
    for (; n; n--)
      __atomic_store_n(out++, __atomic_load_n(in++, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
    return;
  }
  if constexpr (sizeof(T) == 1) asm volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(n)::"memory");
  else if constexpr (sizeof(T) == 2)
    asm volatile("rep movsw" : "+D"(to), "+S"(from), "+c"(n)::"memory");
  else if constexpr (sizeof(T) == 4)
    asm volatile("rep movsl" : "+D"(to), "+S"(from), "+c"(n)::"memory");
  else asm volatile("rep movsq" : "+D"(to), "+S"(from), "+c"(n)::"memory");
}
template <class T>
void fill_up(u8* to, T value, u64 n) {
  using Element __attribute__((may_alias, aligned(1))) = T;
  if (n * sizeof(T) < kShortFill) {
    auto* out = reinterpret_cast<Element*>(to);
    for (; n; n--) __atomic_store_n(out++, value, __ATOMIC_RELAXED);
    return;
  }
  if constexpr (sizeof(T) == 1)
    asm volatile("rep stosb" : "+D"(to), "+c"(n) : "a"(value) : "memory");
  else if constexpr (sizeof(T) == 2)
    asm volatile("rep stosw" : "+D"(to), "+c"(n) : "a"(value) : "memory");
  else if constexpr (sizeof(T) == 4)
    asm volatile("rep stosl" : "+D"(to), "+c"(n) : "a"(value) : "memory");
  else asm volatile("rep stosq" : "+D"(to), "+c"(n) : "a"(value) : "memory");
}

template <class T>
Run movs(Cursor& k, u64 limit) {
  Cpu& c = k.c;
  u64 from_va, to_va;
  if (!k.source(sizeof(T), from_va) || !k.target(sizeof(T), Access::Write, to_va)) return {};
  const u64 n = std::min({limit, in_page<T>(from_va), in_page<T>(to_va)});
  if (n > 1 && k.runs) {
    u8 *from, *to;
    u64 from_offset, to_offset;
    const Got a = reach(c, from_va, Access::Read, from, from_offset);
    if (a == Got::Fault) return {};
    const Got b = reach(c, to_va, Access::Write, to, to_offset);
    if (b == Got::Fault) return {};
    if (a == Got::Ram && b == Got::Ram) {
      copy_up<T>(to, from, n);
      c.mmu->wrote_ram(to_offset, n * sizeof(T));
      k.move(RSI, n * sizeof(T));
      k.move(RDI, n * sizeof(T));
      return {n};
    }
  }
  T v;
  if (!load_element(c, from_va, v) || !c.store_bytes(to_va, &v, sizeof v)) return {};
  k.move(RSI, sizeof(T));
  k.move(RDI, sizeof(T));
  return {1};
}

template <class T>
Run stos(Cursor& k, u64 limit) {
  Cpu& c = k.c;
  u64 va;
  if (!k.target(sizeof(T), Access::Write, va)) return {};
  const T value = get<T>(&c, RAX * 8);
  const u64 n = std::min(limit, in_page<T>(va));
  if (n > 1 && k.runs) {
    u8* to;
    u64 offset;
    const Got got = reach(c, va, Access::Write, to, offset);
    if (got == Got::Fault) return {};
    if (got == Got::Ram) {
      fill_up<T>(to, value, n);
      c.mmu->wrote_ram(offset, n * sizeof(T));
      k.move(RDI, n * sizeof(T));
      return {n};
    }
  }
  if (!c.store_bytes(va, &value, sizeof value)) return {};
  k.move(RDI, sizeof(T));
  return {1};
}

template <class T>
Run lods(Cursor& k, u64) {
  T v;
  u64 va;
  if (!k.source(sizeof(T), va) || !load_element(k.c, va, v)) return {};
  put<T>(&k.c, RAX * 8, v);
  k.move(RSI, sizeof(T));
  return {1};
}

/// REPE goes on while equal, REPNE while not.
template <u8 Repeat>
bool ends(bool equal) {
  return Repeat == 0xf3 ? !equal : Repeat == 0xf2 ? equal : false;
}

template <class T, u8 Repeat>
Run scas(Cursor& k, u64 limit) {
  Cpu& c = k.c;
  u64 va;
  if (!k.target(sizeof(T), Access::Read, va)) return {};
  const T acc = get<T>(&c, RAX * 8);
  u64 n = std::min(limit, in_page<T>(va));
  T v;
  if (n > 1 && k.runs) {
    u8* at;
    u64 offset;
    const Got got = reach(c, va, Access::Read, at, offset);
    if (got == Got::Fault) return {};
    if (got == Got::Ram) {
      u64 i = 0;
      bool stop = false;
      while (i < n && !stop) {
        memcpy(&v, at + i++ * sizeof(T), sizeof(T));
        stop = ends<Repeat>(v == acc);
      }
      alu<ALU_CMP, T>(acc, v, c.res, c.aux);
      k.move(RDI, i * sizeof(T));
      return {i, stop};
    }
  }
  if (!load_element(c, va, v)) return {};
  alu<ALU_CMP, T>(acc, v, c.res, c.aux);
  k.move(RDI, sizeof(T));
  return {1, ends<Repeat>(v == acc)};
}

template <class T, u8 Repeat>
Run cmps(Cursor& k, u64 limit) {
  Cpu& c = k.c;
  u64 a_va, b_va;
  if (!k.source(sizeof(T), a_va) || !k.target(sizeof(T), Access::Read, b_va)) return {};
  const u64 n = std::min({limit, in_page<T>(a_va), in_page<T>(b_va)});
  T a, b;
  if (n > 1 && k.runs) {
    u8 *pa, *pb;
    u64 offset;
    const Got x = reach(c, a_va, Access::Read, pa, offset);
    if (x == Got::Fault) return {};
    const Got y = reach(c, b_va, Access::Read, pb, offset);
    if (y == Got::Fault) return {};
    if (x == Got::Ram && y == Got::Ram) {
      u64 i = 0;
      bool stop = false;
      while (i < n && !stop) {
        memcpy(&a, pa + i * sizeof(T), sizeof(T));
        memcpy(&b, pb + i++ * sizeof(T), sizeof(T));
        stop = ends<Repeat>(a == b);
      }
      alu<ALU_CMP, T>(a, b, c.res, c.aux);
      k.move(RSI, i * sizeof(T));
      k.move(RDI, i * sizeof(T));
      return {i, stop};
    }
  }
  if (!load_element(c, a_va, a) || !load_element(c, b_va, b)) return {};
  alu<ALU_CMP, T>(a, b, c.res, c.aux);
  k.move(RSI, sizeof(T));
  k.move(RDI, sizeof(T));
  return {1, ends<Repeat>(a == b)};
}

using Body = Run (*)(Cursor&, u64);

template <Body F>
Step once(Cpu& c, const Op& o) {
  Cursor k{c, o};
  return F(k, 1).done ? Step::Next : Step::Fault;
}

template <Body F>
Step repeated(Cpu& c, const Op& o) {
  Cursor k{c, o};
  while (k.count()) {
    const Run run = F(k, k.count());
    if (!run.done) return Step::Fault;
    k.done(run.done);
    if (run.stop) break;
    if (k.count() && c.floor.load(std::memory_order_relaxed) == kFloorLeave) {
      c.budget++;  // it counts when it is complete
      c.rip = insn_rip(c, o);
      return Step::Jump;
    }
  }
  return Step::Next;
}

template <class T>
Slow pick_of(u8 opcode, u8 repeat) {
  switch (opcode) {
    case 0xa4:
      return repeat ? repeated<movs<T>> : once<movs<T>>;
    case 0xaa:
      return repeat ? repeated<stos<T>> : once<stos<T>>;
    case 0xac:
      return repeat ? repeated<lods<T>> : once<lods<T>>;
    case 0xa6:
      return repeat == 0xf3 ? repeated<cmps<T, 0xf3>>
             : repeat       ? repeated<cmps<T, 0xf2>>
                            : once<cmps<T, 0>>;
    default:
      return repeat == 0xf3 ? repeated<scas<T, 0xf3>>
             : repeat       ? repeated<scas<T, 0xf2>>
                            : once<scas<T, 0>>;
  }
}

}  // namespace

Slow pick_string(u8 opcode, u8 size, u8 repeat) {
  return size == 8   ? pick_of<u64>(opcode, repeat)
         : size == 4 ? pick_of<u32>(opcode, repeat)
         : size == 2 ? pick_of<u16>(opcode, repeat)
                     : pick_of<u8>(opcode, repeat);
}

}  // namespace colo::soft
