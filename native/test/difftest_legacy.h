// Compatibility mode in the differential test. The host's processor need not run 32-bit code for
// it: each instruction is encoded twice, for legacy code with its prefixes, registers, 16- and
// 32-bit addresses and segments, and for the host as 64-bit code of the same meaning with the
// operand's absolute address. Included by difftest.h alone.
#pragma once

namespace {

/// A mode to test: code size, and data segments with bases or without.
struct LegacyMode {
  const char* name;
  bool wide;  // CS.D
  bool flat;

  u64 base() const { return flat ? 0 : kScratch - 0x3000; }
  void install(soft::Cpu& c) const {
    kvm_segment s{};
    s.limit = 0xffffffff, s.present = s.s = s.g = 1, s.type = 3, s.db = wide;
    s.selector = 0x10, s.base = base();
    if (!flat) s.limit = 0xffff, s.g = 0;
    for (soft::SegReg r : {soft::DS, soft::ES, soft::SS, soft::FS, soft::GS}) c.seg[r] = s;
    s.base = 0, s.limit = 0xffffffff, s.g = 1, s.type = 11, s.selector = 8;
    c.seg[soft::CS] = s;
    c.cpl = 0;
    c.mode_changed();
  }
};
constexpr LegacyMode kLegacyModes[] = {{"32-bit code, flat", true, true},
                                       {"32-bit code, segments", true, false},
                                       {"16-bit code, segments", false, false}};

/// Both encodings of one operand.
struct Encoder {
  Case& k;
  void both(u8 b) { k.bytes.push_back(b), k.host.push_back(b); }
  void both(const Bytes& all) {
    for (u8 b : all) both(b);
  }
  void ours(u64 v, int n) {
    for (int i = 0; i < n; i++) k.bytes.push_back(static_cast<u8>(v >> 8 * i));
  }
  void fix(int reg, u64 v) { k.r[reg] = v & 0xffffffff, k.fixed[reg] = true; }

  void memory_16(int reg, u64 offset) {
    constexpr int kBase[] = {3, 3, 5, 5, 6, 7, 5, 3}, kIndex[] = {6, 7, 6, 7, -1, -1, -1, -1};
    int rm = static_cast<int>(rnd(8)), mod = static_cast<int>(rnd(3));
    if (kBase[rm] == reg || kIndex[rm] == reg) rm = 6, mod = 0;
    k.bytes.push_back(static_cast<u8>(mod << 6 | reg << 3 | rm));
    if (mod == 0 && rm == 6) return ours(offset, 2);
    const u64 disp = mod == 0 ? 0 : mod == 1 ? static_cast<u64>(static_cast<i8>(rnd())) : rnd();
    const u64 index = kIndex[rm] < 0 ? 0 : rnd();
    ours(disp, mod);
    if (kIndex[rm] >= 0) fix(kIndex[rm], index);
    fix(kBase[rm], ((offset - disp - index) & 0xffff) | rnd() << 16);
  }
  void memory_32(int reg, u64 offset) {
    int rm = static_cast<int>(rnd(8)), index = static_cast<int>(rnd(8));
    const int mod = static_cast<int>(rnd(3)), scale = static_cast<int>(rnd(4));
    if (mod == 0 || rm == reg || rm == 4) {
      k.bytes.push_back(static_cast<u8>(reg << 3 | 5));
      return ours(offset, 4);
    }
    const bool sib = index != rm && index != 4 && index != reg;
    k.bytes.push_back(static_cast<u8>(mod << 6 | reg << 3 | (sib ? 4 : rm)));
    if (sib) k.bytes.push_back(static_cast<u8>(scale << 6 | index << 3 | rm));
    const u64 disp = mod == 1 ? static_cast<u64>(static_cast<i8>(rnd())) : rnd();
    const u64 x = sib ? rnd() & 0xffffffff : 0;
    ours(disp, mod == 1 ? 1 : 4);
    if (sib) fix(index, x);
    fix(rm, offset - disp - (x << scale));
  }
};

Case encode_legacy(const Spec& s, int size, bool memory, bool lock) {
  Case k;
  Encoder e{k};
  if (size == 8) size = 4;
  k.name = s.name, k.size = size, k.defined = s.defined, k.shift = s.shift, k.rotate = s.rotate;
  k.float_state = s.float_state;
  if (s.by_one) k.count_imm = 1;
  const bool narrow = memory && !legacy->flat && rnd(2);        // a 16-bit address
  const bool x87 = s.opcode[0] >= 0xd8 && s.opcode[0] <= 0xdf;  // its environment has two sizes
  const bool sized = (!s.float_state || x87) && size > 1 && !s.vex.map;
  if (lock) e.both(0xf0);
  if (sized && (size == 2) == legacy->wide) k.bytes.push_back(0x66);
  if (sized && size == 2) k.host.push_back(0x66);
  if (memory && narrow == legacy->wide) k.bytes.push_back(0x67);
  if (memory && !rnd(3)) {  // all segments but CS are alike
    constexpr u8 kOverrides[] = {0x26, 0x36, 0x3e, 0x64, 0x65};
    k.bytes.push_back(kOverrides[rnd(5)]);
  }
  Bytes vex;
  if (s.vex.map) put_vex(vex, s.vex, 0, 8);
  e.both(s.prefix), e.both(vex), e.both(s.opcode);
  const int reg = s.ext >= 0 ? s.ext : static_cast<int>(rnd(8));
  if (s.bit_offset && memory) {
    const u64 bit = rnd(0x1000) - 0x800;
    e.fix(reg, size == 2 ? (bit & 0xffff) | rnd() << 16 : bit);
  }
  if (s.modrm && !memory) e.both(static_cast<u8>(0xc0 | reg << 3 | static_cast<int>(rnd(8))));
  if (s.modrm && memory) {
    const u64 target = kScratch + (rnd(3) ? 0xf00 + rnd(0x80) : 0x1000 - rnd(16));
    narrow ? e.memory_16(reg, target - legacy->base()) : e.memory_32(reg, target - legacy->base());
    k.host.push_back(static_cast<u8>(reg << 3 | 4)), k.host.push_back(0x25);
    for (int i = 0; i < 4; i++) k.host.push_back(static_cast<u8>(target >> 8 * i));
  }
  const int imm_size = std::min(s.imm, size);
  const u64 v = operand();
  for (int i = 0; i < imm_size; i++) e.both(static_cast<u8>(v >> 8 * i));
  if (s.shift && imm_size) k.count_imm = static_cast<int>(v & 0xff);
  return k;
}

}  // namespace
