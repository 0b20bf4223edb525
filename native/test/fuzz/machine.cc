// What the fuzzed guest finds in its memory and registers: code that decodes more often than chance
// would have it, addresses near every edge of the map.
#include "test/fuzz/machine.h"

namespace colo::fuzz {

u64 FuzzMachine::operand() {
  switch (r_.below(17)) {
    case 0:
      return r_.next();
    case 1:
      return r_.below(256);
    case 2:
      return kCode + r_.below(kCodeBytes);
    case 3:
      return kAlias + r_.below(kCodeBytes);
    case 4:
      return kData + kPageSize * r_.below(8) - 16 + r_.below(32);
    case 5:
      return kDevices + r_.below(5 * kPageSize);
    case 6:
      return kDevices + 3 * kPageSize - r_.below(20);
    case 7:
      return kUpper + r_.below(kCodeBytes);
    case 8:
      return kStack - r_.below(kPageSize);
    case 9:
      return (kData + r_.below(2 * kPageSize)) & ~63ull;
    case 10:
      return kData + kPageSize - r_.below(16);
    case 11:
      return r_.below(40) ? kData + r_.below(kPageSize) : kTablesAt + r_.below(16 * kPageSize);
    case 12:
      return 1ull << r_.below(64);
    case 13:
      return kLast + r_.below(kPageSize);
    default:
      return kData + r_.below(3 * kPageSize);
  }
}

u8 FuzzMachine::modrm() {
  const u64 kind = r_.below(8);
  if (kind < 3) return static_cast<u8>(0xc0 | r_.below(64));
  constexpr u8 kBases[] = {3, 6, 7, 5, 0, 1, 2};
  const u8 base = r_.one_in(12) ? 4 : kBases[r_.below(7)];
  return static_cast<u8>((kind < 6 ? 0x40 : 0x80) | r_.below(8) << 3 | base);
}

void FuzzMachine::prefixes(std::string& to) {
  constexpr u8 kAll[] = {0x66, 0x67, 0xf2, 0xf3, 0xf0, 0x2e, 0x64, 0x65};
  while (r_.one_in(4)) to += static_cast<char>(kAll[r_.below(r_.one_in(3) ? 8 : 5)]);
  if (r_.one_in(2)) to += static_cast<char>(0x40 | r_.below(16));
}

void FuzzMachine::tail(std::string& to) {
  to += static_cast<char>(modrm());
  if ((to.back() & 0x07) == 4) to += static_cast<char>(r_.byte());
  to += static_cast<char>(r_.one_in(4) ? r_.byte() : r_.below(64));
  if (r_.one_in(3)) to.append(3, '\0');
  for (u64 i = r_.below(5); i > 0; i--) to += static_cast<char>(r_.byte());
}

/// One instruction or a short idiom, weighted towards what has a slow path.
void FuzzMachine::instruction(std::string& to) {
  const auto put = [&](std::initializer_list<u64> bytes) {
    for (const u64 b : bytes) to += static_cast<char>(b);
  };
  const auto any = [&](std::initializer_list<u64> opcode) { prefixes(to), put(opcode), tail(to); };
  const u64 low = r_.below(8);
  switch (r_.below(41)) {
    case 0 ... 8:
      return any({r_.below(256)});
    case 9 ... 16:
      return any({0x0f, r_.below(256)});
    case 17:
      return any({0x0f, 0x38, r_.below(256)});
    case 18:
      return any({0x0f, 0x3a, r_.below(256)});
    case 19 ... 21:
      return any({0xd8 + low});
    case 22:
      return put({0x0f, 0xae, 0x40 | low << 3 | 7, 0});
    case 23:
      return put({0x48, 0x0f, 0xae, 0x4f, 0});
    case 24:
      return prefixes(to), put({r_.one_in(2) ? 0xf3u : 0x48u, 0xa4 + r_.below(12)});
    case 25:
      return put({0xf0, 0x48, r_.below(0x40) & 0x39, 0x40 | low << 3 | 3, r_.below(256)});
    case 26:
      return put({0xe8, r_.below(256), low, 0, 0});
    case 27:
      return put({0x0f, 0x22, 0xc0 | r_.below(64)});
    case 28:
      return put({0x0f, 0x20, 0xc0 | r_.below(64)});
    case 29:
      return put({0xc3});
    case 30:
      return put({0xb9, r_.below(256), r_.one_in(3) ? low : 0, 0, r_.one_in(2) ? 0xc0u : 0, 0x0f,
                  r_.one_in(3) ? 0x32u : 0x30u});
    case 31:
      return put({0x0f, 0x01, r_.below(256), 0});
    case 32:
      return put({0x70 | r_.below(16), r_.below(64)});
    case 33:
      return put({0xff, modrm(), r_.below(64)});
    case 34:
      return put({0x48, r_.one_in(2) ? 0xcfu : 0xcbu});
    case 35:
      return put({0x48 | r_.below(2) << 3, 0x0f, 0xc7, 0x48 | 3, r_.below(256)});
    case 36:
      return put({r_.one_in(2) ? 0x9cu : 0x9du});
    case 37:
      return put({0x8e, 0xc0 | r_.below(64)});
    case 38:
      return put({0x0f, r_.one_in(2) ? 5u : 7u});
    case 39:
      return put({0xc8, r_.below(256), 0, r_.below(32)});
    default:
      return any({0x88 + low});
  }
}

void FuzzMachine::fill_code() {
  for (u64 page = 0; page < kCodeBytes; page += kPageSize) {
    std::string bytes;
    for (int i = 0; i < 40; i++) instruction(bytes);
    const u64 from = page + (r_.one_in(3) ? 0xf80 + r_.below(0x70) : r_.below(0x80));
    for (size_t i = 0; i < bytes.size(); i++)
      *at(kCodeGpa + (from + i) % kCodeBytes, 1) = static_cast<u8>(bytes[i]);
  }
  ram.mark_written(kCodeGpa, kCodeBytes);
}

/// Numbers, and what FXRSTOR would take.
void FuzzMachine::fill_data() {
  constexpr u64 kBytes = 6 * kPageSize, kImage = 512;
  for (int n = 0; n < 3; n++) {
    const u64 from = kDataGpa + r_.below(kBytes - kImage);
    for (u64 i = 0; i < kImage; i++) *at(from + i, 1) = r_.one_in(3) ? 0 : r_.byte();
    memset(at((from & ~15ull) + 26, 2), 0, 2);
  }
  ram.mark_written(kDataGpa, kBytes);
}

void FuzzMachine::fill_registers() {
  for (int i = 0; i < 16; i++) c.r[i] = operand();
  if (!r_.one_in(4))
    c.r[soft::RSP] = (kStack - 0x100 - r_.below(0x1e00)) & ~(r_.one_in(4) ? 0 : 7ull);
  if (r_.one_in(4)) c.r[soft::RCX] = r_.below(40);
  if (r_.one_in(3)) c.r[soft::RDI] &= ~15ull;
  if (r_.one_in(8)) c.r[soft::RAX] = r_.below(0x60), c.r[soft::RDX] = 0;
}

}  // namespace colo::fuzz
