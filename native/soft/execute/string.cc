// MOVS CMPS STOS LODS SCAS with and without REP (Intel SDM vol. 2). A repeated instruction works in
// runs that stay within the pages of both operands; RCX, RSI and RDI are right after every run, and
// between runs it lets the run loop look around: RIP is still on it.
#include <cstring>

#include "soft/execute/alu.h"
#include "soft/memory/mmu.h"

namespace colo::soft {
namespace {

/// Operand addresses and the count of the instruction, narrowed to the address size.
struct Cursor {
  Cpu& c;
  const Op& o;
  bool narrow = o.extra;
  i64 sign = c.rflags & flag::DF ? -1 : 1;
  bool runs = sign > 0 && !c.checks_alignment();  // more than one element at a time

  u64 reg(Reg r) const { return narrow ? static_cast<u32>(c.r[r]) : c.r[r]; }
  void set(Reg r, u64 v) { c.r[r] = narrow ? static_cast<u32>(v) : v; }
  u64 source() const { return reg(RSI) + (o.imm == SEG_COUNT ? 0 : c.seg[o.imm].base); }
  u64 target() const { return reg(RDI); }
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
Got reach(Cpu& c, u64 va, Access access, u8*& host, u64& gpa) {
  bool device = false;
  host = c.mmu->at(va, access, c.cpl == 3, gpa, device);
  return host ? Got::Ram : device ? Got::OneByOne : Got::Fault;
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

/// Overlapping moves upward propagate the source pattern, element by element.
template <class T>
void copy_up(u8* to, const u8* from, u64 n) {
  if (to <= from || to >= from + n * sizeof(T)) {
    memmove(to, from, n * sizeof(T));
    return;
  }
  for (u64 i = 0; i < n; i++) {
    T v;
    memcpy(&v, from + i * sizeof(T), sizeof(T));
    memcpy(to + i * sizeof(T), &v, sizeof(T));
  }
}

template <class T>
Run movs(Cursor& k, u64 limit) {
  Cpu& c = k.c;
  const u64 from_va = k.source(), to_va = k.target();
  const u64 n = std::min({limit, in_page<T>(from_va), in_page<T>(to_va)});
  if (n > 1 && k.runs) {
    u8 *from, *to;
    u64 from_gpa, to_gpa;
    const Got a = reach(c, from_va, Access::Read, from, from_gpa);
    if (a == Got::Fault) return {};
    const Got b = reach(c, to_va, Access::Write, to, to_gpa);
    if (b == Got::Fault) return {};
    if (a == Got::Ram && b == Got::Ram) {
      copy_up<T>(to, from, n);
      c.mmu->wrote_ram(to_gpa, n * sizeof(T));
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
  const u64 va = k.target();
  const T value = get<T>(&c, RAX * 8);
  const u64 n = std::min(limit, in_page<T>(va));
  if (n > 1 && k.runs) {
    u8* to;
    u64 gpa;
    const Got got = reach(c, va, Access::Write, to, gpa);
    if (got == Got::Fault) return {};
    if (got == Got::Ram) {
      if (value == 0 || sizeof(T) == 1) memset(to, static_cast<int>(value & 0xff), n * sizeof(T));
      else
        for (u64 i = 0; i < n; i++) memcpy(to + i * sizeof(T), &value, sizeof(T));
      c.mmu->wrote_ram(gpa, n * sizeof(T));
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
  if (!load_element(k.c, k.source(), v)) return {};
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
  const u64 va = k.target();
  const T acc = get<T>(&c, RAX * 8);
  u64 n = std::min(limit, in_page<T>(va));
  T v;
  if (n > 1 && k.runs) {
    u8* at;
    u64 gpa;
    const Got got = reach(c, va, Access::Read, at, gpa);
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
  const u64 a_va = k.source(), b_va = k.target();
  const u64 n = std::min({limit, in_page<T>(a_va), in_page<T>(b_va)});
  T a, b;
  if (n > 1 && k.runs) {
    u8 *pa, *pb;
    u64 gpa;
    const Got x = reach(c, a_va, Access::Read, pa, gpa);
    if (x == Got::Fault) return {};
    const Got y = reach(c, b_va, Access::Read, pb, gpa);
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
