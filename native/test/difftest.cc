// Differential test: single integer instructions from random states, on this host and on the
// software CPU. The same virtual addresses hold the same bytes on both sides, so registers, memory,
// flags and RIP must agree; flags that the manual leaves undefined are masked.
#include "test/difftest.h"

#include "soft/fpu/fpu_table.h"

namespace {

constexpr int kRounds = 12;
/// Per cent of the decode tables that the test must reach. LIST=1 prints what it does not.
constexpr double kCovered = 100;
Machine* machine;

/// All sizes, register and memory, plain and (where legal) locked, several random operands each.
void family(const Spec& s, int variants = 6) {
  for (int size : {1, 2, 4, 8}) {
    if (s.byte != (size == 1)) continue;
    for (int v = 0; v < variants; v++) {
      if (!s.memory_only) run_case(*machine, encode(s, size, false, false), kRounds);
      if (s.register_only || !s.modrm) continue;
      run_case(*machine, encode(s, size, true, false), kRounds);
      if (s.lock) run_case(*machine, encode(s, size, true, true), kRounds);
    }
  }
}
/// The byte form has the even opcode, the others the odd one.
void both(Spec s, int variants = 6) {
  s.byte = true;
  family(s, variants);
  s.byte = false;
  s.opcode.back() |= 1;
  family(s, variants);
}

void arithmetic() {
  const char* names[] = {"add", "or", "adc", "sbb", "and", "sub", "xor", "cmp"};
  for (int op = 0; op < 8; op++) {
    const u64 defined = op == 1 || op == 4 || op == 6 ? ALL & ~AF : ALL;
    const bool lock = op != 7;
    const u8 base = static_cast<u8>(op << 3);
    both({.name = names[op], .opcode = {base}, .defined = defined, .lock = lock});
    both({.name = names[op], .opcode = {static_cast<u8>(base | 2)}, .defined = defined});
    both({.name = names[op],
          .opcode = {static_cast<u8>(base | 4)},
          .modrm = false,
          .imm = 9,
          .defined = defined});
    both({.name = names[op],
          .opcode = {0x80},
          .ext = op,
          .imm = 9,
          .defined = defined,
          .lock = lock});
    family({.name = names[op],
            .opcode = {0x83},
            .ext = op,
            .imm = 1,
            .defined = defined,
            .lock = lock});
  }
  both({.name = "test", .opcode = {0x84}, .defined = ALL & ~AF});
  both({.name = "test", .opcode = {0xf6}, .ext = 0, .imm = 9, .defined = ALL & ~AF});
  both({.name = "test", .opcode = {0xf6}, .ext = 1, .imm = 9, .defined = ALL & ~AF});
  both({.name = "test", .opcode = {0xa8}, .modrm = false, .imm = 9, .defined = ALL & ~AF});
  both({.name = "not", .opcode = {0xf6}, .ext = 2, .lock = true});
  both({.name = "neg", .opcode = {0xf6}, .ext = 3, .lock = true});
  both({.name = "inc", .opcode = {0xfe}, .ext = 0, .lock = true});
  both({.name = "dec", .opcode = {0xfe}, .ext = 1, .lock = true});
}

void shifts() {
  const char* names[] = {"rol", "ror", "rcl", "rcr", "shl", "shr", "sal", "sar"};
  for (int op = 0; op < 8; op++) {
    const bool rotate = op < 4;
    both(
        {.name = names[op], .opcode = {0xc0}, .ext = op, .imm = 1, .shift = true, .rotate = rotate},
        12);
    both({.name = names[op], .opcode = {0xd2}, .ext = op, .shift = true, .rotate = rotate}, 12);
    both({.name = names[op],
          .opcode = {0xd0},
          .ext = op,
          .shift = true,
          .rotate = rotate,
          .by_one = true},
         12);
  }
  for (u8 op : {0xa4, 0xac}) {
    const char* name = op == 0xa4 ? "shld" : "shrd";
    for (int size : {2, 4, 8})
      for (int v = 0; v < 40; v++)
        for (bool memory : {false, true}) {
          Case k = encode({.name = name, .opcode = {0x0f, op}, .imm = 1, .shift = true}, size,
                          memory, false);
          if (size == 2 && (k.count_imm & 31) > 16) continue;  // undefined
          run_case(*machine, k, kRounds);
        }
    family({.name = name, .opcode = {0x0f, static_cast<u8>(op + 1)}, .shift = true}, 0);
    for (int size : {4, 8})
      for (int v = 0; v < 20; v++)
        for (bool memory : {false, true})
          run_case(*machine,
                   encode({.name = name, .opcode = {0x0f, static_cast<u8>(op + 1)}, .shift = true},
                          size, memory, false),
                   kRounds);
  }
}

void multiply() {
  both({.name = "mul", .opcode = {0xf6}, .ext = 4, .defined = CF | OF});
  both({.name = "imul", .opcode = {0xf6}, .ext = 5, .defined = CF | OF});
  both({.name = "div", .opcode = {0xf6}, .ext = 6, .defined = 0}, 30);
  both({.name = "idiv", .opcode = {0xf6}, .ext = 7, .defined = 0}, 30);
  family({.name = "imul2", .opcode = {0x0f, 0xaf}, .defined = CF | OF});
  family({.name = "imul3", .opcode = {0x69}, .imm = 9, .defined = CF | OF});
  family({.name = "imul3b", .opcode = {0x6b}, .imm = 1, .defined = CF | OF});
  for (int v = 0; v < 60; v++)  // dividends that fit
    for (int ext : {6, 7})
      for (int size : {2, 4, 8}) {
        Case k = encode({.name = "div-fit", .opcode = {0xf7}, .ext = ext, .defined = 0}, size,
                        v & 1, false);
        if (!k.fixed[2]) k.r[2] = ext == 6 ? rnd(3) : 0 - rnd(2), k.fixed[2] = true;
        run_case(*machine, k, kRounds);
      }
}

void bits() {
  const char* names[] = {"bt", "bts", "btr", "btc"};
  for (int op = 0; op < 4; op++) {
    family({.name = names[op],
            .opcode = {0x0f, static_cast<u8>(0xa3 + 8 * op)},
            .defined = CF | ZF,
            .lock = op > 0,
            .bit_offset = true},
           20);
    family({.name = names[op],
            .opcode = {0x0f, 0xba},
            .ext = 4 + op,
            .imm = 1,
            .defined = CF | ZF,
            .lock = op > 0});
  }
  family({.name = "bsf", .opcode = {0x0f, 0xbc}, .defined = ZF});
  family({.name = "bsr", .opcode = {0x0f, 0xbd}, .defined = ZF});
  family({.name = "popcnt", .opcode = {0x0f, 0xb8}, .prefix = {0xf3}});
  family({.name = "bswap", .opcode = {0x0f, 0xc8}, .modrm = false}, 0);
  for (int size : {4, 8})
    for (u8 r = 0; r < 8; r++)
      run_case(
          *machine,
          encode({.name = "bswap", .opcode = {0x0f, static_cast<u8>(0xc8 | r)}, .modrm = false},
                 size, false, false),
          kRounds);
  family({.name = "movbe-ld", .opcode = {0x0f, 0x38, 0xf0}, .memory_only = true});
  family({.name = "movbe-st", .opcode = {0x0f, 0x38, 0xf1}, .memory_only = true});
}

void moves() {
  both({.name = "mov", .opcode = {0x88}});
  both({.name = "mov", .opcode = {0x8a}});
  both({.name = "mov-imm", .opcode = {0xc6}, .ext = 0, .imm = 9});
  both({.name = "xchg", .opcode = {0x86}, .lock = true});
  both({.name = "xadd", .opcode = {0x0f, 0xc0}, .lock = true});
  both({.name = "cmpxchg", .opcode = {0x0f, 0xb0}, .lock = true});
  if (!legacy || legacy->flat) family({.name = "lea", .opcode = {0x8d}, .memory_only = true}, 20);
  family({.name = "movnti", .opcode = {0x0f, 0xc3}, .memory_only = true}, 0);
  family({.name = "movzx8", .opcode = {0x0f, 0xb6}});
  family({.name = "movzx16", .opcode = {0x0f, 0xb7}});
  family({.name = "movsx8", .opcode = {0x0f, 0xbe}});
  family({.name = "movsx16", .opcode = {0x0f, 0xbf}});
  for (int v = 0; v < 20 && !legacy; v++)
    for (int size : {4, 8})
      run_case(*machine, encode({.name = "movsxd", .opcode = {0x63}}, size, v & 1, false), kRounds);
  for (u8 cc = 0; cc < 16; cc++) {
    family({.name = "cmov", .opcode = {0x0f, static_cast<u8>(0x40 | cc)}}, 2);
    family({.name = "setcc", .opcode = {0x0f, static_cast<u8>(0x90 | cc)}, .byte = true}, 3);
  }
  for (u8 r = 0; r < 8; r++)
    for (int size : {2, 4, 8}) {
      run_case(*machine,
               encode({.name = "xchg-acc", .opcode = {static_cast<u8>(0x90 | r)}, .modrm = false},
                      size, false, false),
               kRounds);
      run_case(*machine,
               encode({.name = "mov-ri",
                       .opcode = {static_cast<u8>(0xb8 | r)},
                       .modrm = false,
                       .imm = size},
                      size, false, false),
               kRounds);
      run_case(
          *machine,
          encode(
              {.name = "mov-ri8", .opcode = {static_cast<u8>(0xb0 | r)}, .modrm = false, .imm = 1},
              1, false, false),
          kRounds);
    }
  for (int size : {2, 4, 8}) {
    run_case(*machine,
             encode({.name = "cbw", .opcode = {0x98}, .modrm = false}, size, false, false),
             kRounds * 4);
    run_case(*machine,
             encode({.name = "cwd", .opcode = {0x99}, .modrm = false}, size, false, false),
             kRounds * 4);
  }
}

/// Instructions given as bytes; registers that must be valid addresses are fixed by the caller.
void plain(const char* name, Bytes bytes, std::initializer_list<std::pair<int, u64>> fixed = {},
           u64 defined = ALL, bool bounded_cx = false, int rounds = 60) {
  Case k;
  k.name = name, k.bytes = std::move(bytes), k.defined = defined, k.bounded_cx = bounded_cx;
  for (auto [reg, v] : fixed) k.r[reg] = v, k.fixed[reg] = true;
  run_case(*machine, k, rounds);
}

}  // namespace

#include "test/difftest_vex.h"

namespace {

void singles() {
  for (u8 op : {0xf5, 0xf8, 0xf9, 0x9e, 0x9f, 0x90}) plain("flag", {op});
  plain("pause", {0xf3, 0x90});
  plain("fwait", {0x9b});
  plain("cld", {0xfc});
  plain("std", {0xfd});
  plain("nop", {0x0f, 0x1f, 0x44, 0x00, 0x00});
  plain("endbr", {0xf3, 0x0f, 0x1e, 0xfa});
  plain("lfence", {0x0f, 0xae, 0xe8});
  plain("mfence", {0x0f, 0xae, 0xf0});
  plain("sfence", {0x0f, 0xae, 0xf8});
  plain("ud2", {0x0f, 0x0b});
  plain("ud", {0x06});
  plain("lock-ud", {0xf0, 0x01, 0xc8});
  plain("lock-ud", {0xf0, 0x39, 0x06}, {{6, kScratch + 0x1000}});
  plain("rep-bsf", {0xf3, 0x0f, 0xba, 0xe0, 0x03}, {}, CF | ZF);
  for (int v = 0; v < 30; v++) {
    const u64 at = kScratch + (rnd(3) ? 0xf00 + rnd(0x100) : 0x1000 - rnd(17));
    plain("cmpxchg8b", {0x0f, 0xc7, 0x0e}, {{6, at}});
    plain("cmpxchg8b", {0xf0, 0x0f, 0xc7, 0x0e}, {{6, at}});
    plain("cmpxchg16b", {0x48, 0x0f, 0xc7, 0x0e}, {{6, at & ~15ull}});
    plain("xlat", {0xd7}, {{3, at}});
    plain("movabs", {0x48, 0xa1, 0xf4, 0x0f, 0, 0x20, 0, 0, 0, 0});
    plain("movabs", {0xa2, 0xf4, 0x0f, 0, 0x20, 0, 0, 0, 0});
    plain("push", {0x50}, {{4, at}});
    plain("push-sp", {0x54}, {{4, at}});
    plain("push-r12", {0x41, 0x54}, {{4, at}});
    plain("push16", {0x66, 0x51}, {{4, at}});
    plain("push-imm8", {0x6a, 0x85}, {{4, at}});
    plain("push-imm32", {0x68, 1, 2, 3, 0x84}, {{4, at}});
    plain("push-imm16", {0x66, 0x68, 1, 0x92}, {{4, at}});
    plain("push-mem", {0xff, 0x76, 0x10}, {{4, at}, {6, kScratch + 0x1100}});
    plain("pop", {0x5b}, {{4, at}});
    plain("pop-sp", {0x5c}, {{4, at}});
    plain("pop16", {0x66, 0x5b}, {{4, at}});
    plain("pop-mem", {0x8f, 0x46, 0x10}, {{4, at}, {6, kScratch + 0x1100}});
    plain("pop-mem-sp", {0x8f, 0x44, 0x24, 0x10}, {{4, at}});
    plain("leave", {0xc9}, {{5, at}});
    plain("enter0", {0xc8, 0x20, 0, 0}, {{4, at}});
    plain("enter3", {0xc8, 0x20, 0, 3}, {{4, at}, {5, at + 0x80}});
  }
  for (u8 cc = 0; cc < 16; cc++) {
    plain("jcc", {static_cast<u8>(0x70 | cc), 4});
    plain("jcc32", {0x0f, static_cast<u8>(0x80 | cc), 4, 0, 0, 0});
  }
  for (u8 op : {0xe0, 0xe1, 0xe2, 0xe3}) {
    plain("loop", {op, 4}, {}, ALL, true);
    plain("loop", {op, 4});
    plain("loop32", {0x67, op, 4}, {{1, 0xffffffff00000000ull + rnd(3)}});
  }
  plain("jmp", {0xeb, 4});
  plain("jmp32", {0xe9, 4, 0, 0, 0});
}

void strings() {
  for (int v = 0; v < 25; v++) {
    const u64 a = kScratch + 0xe00 + rnd(0x220),
              b = rnd(2) ? kScratch + 0xe00 + rnd(0x220) : a + rnd(9) - 4;
    for (u8 op : {0xa4, 0xa6, 0xaa, 0xac, 0xae})
      for (u8 wide : {0, 1})
        for (int size : {1, 2, 4, 8}) {
          if ((size == 1) != (wide == 0)) continue;
          for (u8 rep : {0, 0xf2, 0xf3}) {
            Bytes bytes;
            if (size == 2) bytes.push_back(0x66);
            if (rep) bytes.push_back(rep);
            if (!rnd(4)) bytes.push_back(0x67);
            if (size == 8) bytes.push_back(0x48);
            bytes.push_back(op | wide);
            plain("string", bytes, {{6, a}, {7, b}}, ALL, true, 4);
          }
        }
  }
}

/// Every row of the table of vector instructions: a new row is covered by being there.
void vector_row(const soft::FpRow& row, u8 opcode, bool memory) {
  const bool implicit = row.flags & soft::kImplicit;
  if (implicit && legacy && !legacy->flat) return;  // its register is an offset here
  for (int v = 0; v < 16; v++) {
    Spec s{.name = "vector", .opcode = {0x0f}, .imm = (row.flags & soft::kImm) != 0};
    if (row.map > 1) s.opcode.push_back(row.map == 2 ? 0x38 : 0x3a);
    s.opcode.push_back(opcode);
    if (row.prefix) s.prefix = {row.prefix};
    s.float_state = true;
    if (row.reg == soft::FpKind::None) {
      s.ext = v % 8;
      if (!(row.extensions >> s.ext & 1)) continue;
    }
    Case k = encode(s, v & 1 ? 4 : 8, memory, false);
    if (implicit) k.r[7] = kScratch + 0xf00 + rnd(0x100), k.fixed[7] = true;
    if (row.flags & soft::kString) {  // explicit lengths about the ends of the operands
      for (int reg : {0, 2})
        if (!k.fixed[reg] && rnd(4)) k.r[reg] = rnd(40) - 20, k.fixed[reg] = true;
    }
    run_case(*machine, k, 4);
  }
}

void vectors() {
  const u8 offered = soft::fp_features(machine->c.model->features);
  for (const soft::FpRow& row : soft::fp_rows())
    for (int opcode = row.first; opcode <= row.last; opcode++)
      for (const bool memory : {false, true})
        if (row.feature & offered && row.flags & (memory ? soft::kMem : soft::kReg))
          vector_row(row, static_cast<u8>(opcode), memory);
  plain("emms", {0x0f, 0x77});
  for (int v = 0; v < 40; v++)
    for (int size : {2, 4, 8}) {
      Spec s{.name = "crc32", .opcode = {0x0f, 0x38, 0xf1}, .prefix = {0xf2}};
      run_case(*machine, encode(s, size, v & 1, false), 4);
      s.opcode = {0x0f, 0x38, 0xf0};
      run_case(*machine, encode(s, size, v & 1, false), 4);
    }
}

/// All of x87. The environment holds the host's own pointers and is left to fpu_test.
void x87() {
  for (u8 opcode = 0xd8; opcode <= 0xdf; opcode++)
    for (int modrm = 0; modrm < 256; modrm += modrm < 0xc0 ? 8 : 1) {
      const bool memory = modrm < 0xc0;
      if (memory && modrm > 0x38) continue;
      const soft::X87Insn what = soft::x87_insn(opcode, static_cast<u8>(modrm), true);
      if (!what.valid || what.environment) continue;
      for (int v = 0; v < 8; v++) {
        Case k;
        if (memory) {
          const Spec s{.name = "x87", .opcode = {opcode}, .ext = modrm >> 3, .float_state = true};
          k = encode(s, 4, true, false);
        } else {
          k.name = "x87", k.bytes = {opcode, static_cast<u8>(modrm)}, k.float_state = true;
        }
        run_case(*machine, k, 4);
      }
    }
}

/// Near branches through a register, memory or the stack, to the place behind the instruction that
/// says that a branch was taken.
void indirect_branches() {
  stub({});
  const u64 stack = kScratch + 0xf00, cell = kScratch + 0xe00;
  const auto branch = [&](Bytes bytes, u64 poked_at) {
    Case k;
    k.name = "branch", k.bytes = std::move(bytes);
    const u64 target = insn_at + k.bytes.size() + 4;
    k.r[1] = target, k.r[4] = stack, k.r[6] = cell, k.fixed[1] = k.fixed[4] = k.fixed[6] = true;
    k.poked_at = poked_at, k.poked = target;
    run_case(*machine, k, 20);
  };
  branch({0xff, 0xe1}, 0), branch({0xff, 0xd1}, 0);
  branch({0xff, 0x26}, cell), branch({0xff, 0x16}, cell);
  branch({0xc3}, stack), branch({0xc2, 0x10, 0}, stack), branch({0xe8, 4, 0, 0, 0}, 0);
}

/// Forms without ModRM that nothing above runs: registers that may be addresses are.
Case bare_case(const Bytes& bytes, const soft::Insn& insn) {
  Case k;
  k.name = "rest", k.defined = 0;
  k.bytes.assign(bytes.begin(), bytes.begin() + insn.length);
  for (int reg : {3, 4, 5, 6, 7}) k.r[reg] = kScratch + 0xf00 + rnd(0x80), k.fixed[reg] = true;
  const bool absolute = insn.map == 0 && (insn.opcode & 0xfc) == 0xa0;  // moffs
  const u64 at = kScratch + 0xf00;
  if (absolute) memcpy(k.bytes.data() + k.bytes.size() - 8, &at, 8);
  return k;
}

/// Whatever the tables have besides: registers, memory and RIP are compared, flags are not. So an
/// instruction that is new is run before its own test is written.
void rest() {
  for (const Bytes& bytes : coverage.missing(*machine)) {
    soft::Insn insn;
    soft::parse(bytes.data(), bytes.size(), insn);
    if (insn.vex) continue;
    const size_t head = bytes[0] == 0x66 || bytes[0] == 0xf2 || bytes[0] == 0xf3;
    const size_t opcode = insn.map == 0 ? 1 : insn.map == 1 ? 2 : 3;
    for (int v = 0; v < 8; v++) {
      if (!insn.has_modrm) {
        run_case(*machine, bare_case(bytes, insn), 4);
        continue;
      }
      Spec s{.name = "rest", .opcode = {}, .defined = 0};
      s.opcode.assign(bytes.begin() + head, bytes.begin() + head + opcode);
      if (head && !insn.opsize) s.prefix = {bytes[0]};
      if (Coverage::group(insn)) s.ext = insn.ext();
      s.imm = static_cast<int>(insn.length - head - opcode - 1);
      Case k = encode(s, insn.opsize ? 2 : 4, insn.memory, false);
      if (!k.fixed[4]) k.r[4] = kScratch + 0xf00, k.fixed[4] = true;
      run_case(*machine, k, 4);
    }
  }
}

/// What 64-bit code has not, or has in another form, where the host has the same by other bytes.
void legacy_singles() {
  const auto pair = [](const char* name, Bytes ours, Bytes host,
                       std::initializer_list<std::pair<int, u64>> fixed = {}, bool cx = false) {
    Case k;
    k.name = name, k.bytes = std::move(ours), k.host = std::move(host), k.bounded_cx = cx;
    for (auto [reg, v] : fixed) k.r[reg] = v, k.fixed[reg] = true;
    run_case(*machine, k, 8);
  };
  const bool wide = legacy->wide;
  for (u8 r = 0; r < 8; r++)
    for (const bool narrow : {false, true})
      for (u8 dec : {0, 8}) {
        Bytes ours{static_cast<u8>(0x40 | dec | r)}, host{0xff, static_cast<u8>(0xc0 | dec | r)};
        if (narrow == wide) ours.insert(ours.begin(), 0x66);
        if (narrow) host.insert(host.begin(), 0x66);
        pair(dec ? "dec" : "inc", ours, host);
      }
  for (u8 cc = 0; cc < 16; cc++)  // 16-bit operands would cut the target
    if (wide) pair("jcc", {static_cast<u8>(0x70 | cc), 4}, {static_cast<u8>(0x70 | cc), 4});
    else pair("jcc", {0x66, static_cast<u8>(0x70 | cc), 4}, {static_cast<u8>(0x70 | cc), 4});
  pair("82", {0x82, 0xc3, 0x7f}, {0x80, 0xc3, 0x7f});
  if (!wide || !legacy->flat) return;
  for (u8 op : {0xe0, 0xe1, 0xe2, 0xe3}) pair("loop", {op, 4}, {0x67, op, 4}, {}, true);
  for (u8 op : {0xa0, 0xa1, 0xa2, 0xa3})
    pair("moffs", {op, 0xf4, 0x0f, 0, 0x20}, {op, 0xf4, 0x0f, 0, 0x20, 0, 0, 0, 0});
  pair("xlat", {0xd7}, {0x67, 0xd7}, {{3, kScratch + 0xf80}});
  for (int v = 0; v < 25; v++)
    for (u8 op : {0xa4, 0xa5, 0xa6, 0xa7, 0xaa, 0xab, 0xac, 0xad, 0xae, 0xaf})
      for (u8 rep : {0, 0xf2, 0xf3})
        for (const bool narrow : {false, true}) {
          Bytes ours;
          if (narrow) ours.push_back(0x66);
          if (rep) ours.push_back(rep);
          ours.push_back(op);
          Bytes host = ours;
          host.insert(host.begin(), 0x67);
          pair("string", ours, host,
               {{6, kScratch + 0xe00 + rnd(0x220)}, {7, kScratch + 0xe00 + rnd(0x220)}}, true);
        }
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) seed ^= strtoull(argv[1], nullptr, 0) * 0x9e3779b97f4a7c15ull;
  setup_host();
  Machine m(32u << 20, test::most_of_soft());
  machine = &m;
  m.map(kCode, kCodeGpa, Machine::W);
  for (u64 at = 0; at < kScratchSize; at += kPageSize)
    m.map(kScratch + at, guest_page(at), Machine::W);
  m.c.seg[soft::GS].base = kGsBase;
  arithmetic(), shifts(), multiply(), bits(), bit_fields(), moves(), singles(), vex_prefixes(),
      strings(), vectors(), x87(), indirect_branches(), rest();
  for (const LegacyMode& mode : kLegacyModes) {
    legacy = &mode;
    const int before = passed;
    arithmetic(), shifts(), multiply(), bits(), bit_fields(), moves(), vectors(), x87(),
        legacy_singles();
    printf("%s: %d passed\n", mode.name, passed - before);
  }
  legacy = nullptr;
  const bool list = getenv("LIST") != nullptr;
  const double share = coverage.report(m, list);
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0 || share < kCovered;
}
