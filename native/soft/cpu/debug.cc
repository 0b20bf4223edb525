// Breakpoints of the debug registers (Intel SDM vol. 3, 18.2). While one is armed, instructions run
// one at a time and data accesses take the slow path, so that nothing else has to look.
#include "soft/cpu/cpu.h"

namespace colo::soft {
namespace {

enum Kind : u64 { kExecute, kWrite, kPort, kReadWrite };

bool enabled(const Cpu& c, int i) { return (c.dr7 >> (2 * i)) & 3; }
u64 kind_of(const Cpu& c, int i) { return (c.dr7 >> (16 + 4 * i)) & 3; }
u64 length_of(const Cpu& c, int i) {
  constexpr u64 kLengths[] = {1, 2, 8, 4};
  return kLengths[(c.dr7 >> (18 + 4 * i)) & 3];
}

/// Does breakpoint i, aligned to its length, meet [at, at+n)?
bool meets(const Cpu& c, int i, u64 at, u64 n) {
  const u64 length = length_of(c, i), from = c.dr[i] & ~(length - 1);
  return at < from + length && from < at + n;
}

template <class Wanted>
u64 hits(const Cpu& c, u64 at, u64 n, Wanted wanted) {
  u64 bits = 0;
  for (int i = 0; i < 4; i++)
    if (enabled(c, i) && wanted(kind_of(c, i)) && meets(c, i, at, n)) bits |= 1u << i;
  return bits;
}

}  // namespace

void Cpu::arm_breakpoints() {
  debugging = breakpoints = watching = false;
  for (int i = 0; i < 4; i++) {
    if (!enabled(*this, i)) continue;
    const u64 kind = kind_of(*this, i);
    if (kind == kExecute) breakpoints = true;
    if (kind == kWrite || kind == kReadWrite) watching = true;
    debugging = true;
  }
}

u64 Cpu::breakpoints_at(u64 va) const {
  return hits(*this, va, 1, [](u64 kind) { return kind == kExecute; });
}

void Cpu::note_access(u64 va, u64 n, bool write) {
  debug_hits |= hits(*this, va, n,
                     [write](u64 kind) { return kind == kReadWrite || (kind == kWrite && write); });
}

void Cpu::note_port(u16 port, u8 size) {
  if (cr4 & cr4::DE) debug_hits |= hits(*this, port, size, [](u64 kind) { return kind == kPort; });
}

}  // namespace colo::soft
