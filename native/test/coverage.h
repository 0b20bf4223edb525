// Which forms of the decode tables a test has run: map, prefix, opcode, ModRM.reg, register or
// memory. A form counts if the block builder takes it and it is not a system instruction, which
// system_test and guest_system_test judge.
#pragma once
#include <cstdio>
#include <set>
#include <vector>

#include "soft/blocks/builder.h"
#include "soft/fpu/fpu.h"
#include "soft/system/contract.h"
#include "test/machine.h"

namespace colo::test {

class Coverage {
 public:
  void ran(const std::vector<u8>& bytes) {
    soft::Insn insn;
    if (soft::parse(bytes.data(), bytes.size(), insn) == soft::Parse::Done && !insn.undefined)
      ran_.insert(key(insn));
  }

  /// One encoding of each form that was not run, with zeroes behind the opcode and ModRM.
  std::vector<std::vector<u8>> missing(Machine& m) const {
    std::vector<std::vector<u8>> all;
    for (const auto& [form, bytes] : forms(m))
      if (!ran_.count(form)) all.push_back(bytes);
    return all;
  }

  /// Prints the share of all forms; with `list`, the forms that were left out.
  double report(Machine& m, bool list) const {
    size_t all = 0, run = 0;
    for (const auto& [form, bytes] : forms(m)) {
      all++;
      if (ran_.count(form)) run++;
      else if (list) print(bytes);
    }
    const double share = 100.0 * static_cast<double>(run) / static_cast<double>(all);
    printf("%zu of %zu forms of the decode tables: %.2f %%\n", run, all, share);
    return share;
  }

  /// Is ModRM.reg a part of the opcode?
  static bool group(const soft::Insn& i) {
    const int op = i.opcode;
    if (i.vex) return i.map == 2 && op == 0xf3;
    if (i.map == 0)
      return (op & 0xfc) == 0x80 || op == 0x8f || (op & 0xf6) == 0xc0 || (op & 0xfe) == 0xc6 ||
             (op & 0xf0) == 0xd0 || (op & 0xf6) == 0xf6;
    return i.map == 1 && ((op >= 0x71 && op <= 0x73) || op == 0xae || op == 0xba || op == 0xc7);
  }

 private:
  static bool string_op(const soft::Insn& i) {
    return i.map == 0 && ((i.opcode >= 0xa4 && i.opcode <= 0xa7) || i.opcode >= 0xaa) &&
           i.opcode <= 0xaf;
  }
  static bool x87(const soft::Insn& i) {
    return i.map == 0 && i.opcode >= 0xd8 && i.opcode <= 0xdf;
  }
  /// Without an operand size: byte operands, near branches, hints.
  static bool sizeless(const soft::Insn& i) {
    const int op = i.opcode;
    if (i.map == 1)
      return op == 0x0d || (op & 0xf8) == 0x18 || (op & 0xe0) == 0x80 || op == 0xae || op == 0xb0 ||
             op == 0xc0;
    if (op < 0x40) return !(op & 1) || op == 0x0f;
    if (op >= 0x80 && op < 0x8c) return !(op & 1) && op != 0x8e;
    if ((op & 0xf0) == 0x70 || (op & 0xf8) == 0xb0 || (op & 0xf8) == 0xe0) return true;
    if (op >= 0xc0 && op < 0xd4) return op == 0xc2 || op == 0xc3 || !(op & 1);
    const bool branch = op == 0xff && (i.ext() == 2 || i.ext() == 4);
    return branch || op == 0xa0 || op == 0xa2 || op == 0xa8 || op == 0xd7 || op == 0xe8 ||
           op == 0xe9 || op == 0xeb || op >= 0xf5 + (op == 0xf7 || op == 0xff) * 16 || op == 0x9e ||
           op == 0x9f || op == 0x9b;
  }
  /// A prefix counts where it makes another instruction of the opcode, or another operand size.
  static u8 prefix(const soft::Insn& i) {
    if (i.vex) return i.prefix;
    const u8 size = i.opsize && (i.map > 1 || !sizeless(i)) ? 0x66 : 0;
    if (string_op(i)) return i.repeat ? i.repeat : i.opcode & 1 ? size : 0;
    if (i.map == 2) return i.repeat ? i.repeat : i.opsize ? 0x66 : 0;
    if (i.map > 0 && soft::ThunkCache::claims(i.map, i.opcode, i.prefix)) return i.prefix;
    if (i.map == 1 && i.opcode == 0xb8) return i.repeat;
    if (i.map == 1 && (i.opcode & 0xfe) == 0xbc && i.repeat) return i.repeat;
    return x87(i) ? 0 : size;
  }
  static u64 key(const soft::Insn& i) {
    u64 k = i.map | static_cast<u64>(prefix(i)) << 8 | static_cast<u64>(i.opcode) << 16;
    if (i.has_modrm) k |= static_cast<u64>(i.memory) << 24;
    if (i.has_modrm && group(i)) k |= static_cast<u64>(i.ext()) << 25;
    if (x87(i) && !i.memory) k |= static_cast<u64>(i.modrm) << 32;
    k |= static_cast<u64>(i.vex) << 40 | static_cast<u64>(i.long_vector) << 41;
    return k;
  }

  struct Form {
    u64 key;
    std::vector<u8> bytes;
    bool operator<(const Form& other) const { return key < other.key; }
  };

  static std::set<Form> forms(Machine& m) {
    std::set<Form> all = vex_forms(m);
    for (const u8 prefix : {0x00, 0x66, 0xf2, 0xf3})
      for (int map = 0; map < 4; map++)
        for (int opcode = 0; opcode < 256; opcode++)
          for (int modrm = 0; modrm < 256; modrm++) {
            if (modrm < 0xc0 && (modrm & 0xc7) != 3) continue;
            std::vector<u8> bytes;
            if (prefix) bytes.push_back(prefix);
            if (map) bytes.push_back(0x0f);
            if (map > 1) bytes.push_back(map == 2 ? 0x38 : 0x3a);
            bytes.push_back(static_cast<u8>(opcode));
            bytes.push_back(static_cast<u8>(modrm));
            bytes.resize(16);
            soft::Insn insn;
            if (taken(m, bytes, insn)) all.insert({key(insn), bytes});
          }
    return all;
  }

  /// Without a third register, which every instruction can have: its number is 0.
  static std::set<Form> vex_forms(Machine& m) {
    std::set<Form> all;
    for (u8 last = 0x78; last < 0x80; last++)
      for (u8 map = 1; map < 4; map++)
        for (int opcode = 0; opcode < 256; opcode++)
          for (int modrm = 0; modrm < 256; modrm++) {
            if (modrm < 0xc0 && (modrm & 0xc7) != 3) continue;
            std::vector<u8> bytes{0xc4, static_cast<u8>(0xe0 | map), last, static_cast<u8>(opcode),
                                  static_cast<u8>(modrm)};
            bytes.resize(16);
            soft::Insn insn;
            if (taken(m, bytes, insn)) all.insert({key(insn), bytes});
          }
    return all;
  }

  /// What depends on chance or on who made the host, and what stores the host's own pointers
  /// (fpu_test has it).
  static bool left_out(const soft::Insn& i) {
    const bool rdrand = i.map == 1 && i.opcode == 0xc7 && !i.memory;
    const bool environment =
        i.map == 0 && i.memory && i.ext() == 6 && (i.opcode == 0xd9 || i.opcode == 0xdd);
    // BSWAP of 16 bits, SHLD and SHRD of 16 by more than 16: undefined.
    const bool undefined =
        i.map == 1 && i.opsize && ((i.opcode & 0xf8) == 0xc8 || (i.opcode & 0xf7) == 0xa5);
    // AMD's processors raise #UD, as the models do, Intel's do nothing.
    const bool prefetch = i.map == 1 && i.opcode == 0x0d && !i.memory;
    return rdrand || environment || undefined || prefetch;
  }
  static bool taken(Machine& m, const std::vector<u8>& bytes, soft::Insn& insn) {
    using namespace soft;
    if (parse(bytes.data(), bytes.size(), insn) != Parse::Done || insn.undefined) return false;
    if (!insn.vex && !ThunkCache::claims(insn.map, insn.opcode, insn.prefix) &&
        system_insn(insn.map, insn.opcode, insn.modrm, insn.prefix, insn.rex).fn)
      return false;
    if (left_out(insn)) return false;
    Op ops[16];
    BlockBuilder builder(m.c, const_cast<BlockCache&>(m.blocks()), 0, ops, true);
    builder.add(insn);
    for (size_t n = 0; n < builder.op_count(); n++)
      if (ops[n].h == pick_raise_ud()) return false;
    return true;
  }

  static void print(const std::vector<u8>& bytes) {
    soft::Insn insn;
    soft::parse(bytes.data(), bytes.size(), insn);
    printf("  not run:");
    for (size_t i = 0; i < insn.length; i++) printf(" %02x", bytes[i]);
    printf("\n");
  }

  std::set<u64> ran_;
};

}  // namespace colo::test
