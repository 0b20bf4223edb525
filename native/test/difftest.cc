// Differential test: single integer instructions from random states, on this host and on the
// software CPU. The same virtual addresses hold the same bytes on both sides, so registers, memory,
// flags and RIP must agree; flags that the manual leaves undefined are masked.
#include "test/difftest.h"

namespace {

constexpr int kRounds = 12;
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
  family({.name = "lea", .opcode = {0x8d}, .memory_only = true}, 20);
  family({.name = "movnti", .opcode = {0x0f, 0xc3}, .memory_only = true}, 0);
  family({.name = "movzx8", .opcode = {0x0f, 0xb6}});
  family({.name = "movzx16", .opcode = {0x0f, 0xb7}});
  family({.name = "movsx8", .opcode = {0x0f, 0xbe}});
  family({.name = "movsx16", .opcode = {0x0f, 0xbf}});
  for (int v = 0; v < 20; v++)
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

void singles() {
  for (u8 op : {0xf5, 0xf8, 0xf9, 0x9e, 0x9f, 0x90}) plain("flag", {op});
  plain("pause", {0xf3, 0x90});
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

/// The opcodes that have direct handlers, and some that go through thunks.
void vectors() {
  const u8 plain_ops[] = {0x10, 0x11, 0x28, 0x29, 0x54, 0x55, 0x56, 0x57, 0x14, 0x58, 0x59, 0xc6};
  const u8 ops66[] = {0x10, 0x11, 0x28, 0x29, 0x54, 0x57, 0x60, 0x61, 0x62, 0x64, 0x6c, 0x6d, 0x6e,
                      0x6f, 0x70, 0x74, 0x75, 0x76, 0x7e, 0x7f, 0xd4, 0xd6, 0xd8, 0xda, 0xdb, 0xde,
                      0xdf, 0xeb, 0xef, 0xf8, 0xfa, 0xfc, 0xfe, 0xd2, 0xf4, 0x2e, 0x5a};
  const u8 ops_f3[] = {0x10, 0x11, 0x6f, 0x7f, 0x7e, 0x58, 0x2a, 0x2d},
           ops_f2[] = {0x10, 0x11, 0x58, 0x5e, 0x2a, 0x2c};
  auto each = [&](Bytes prefix, u8 op) {
    for (int v = 0; v < 24; v++)
      for (int size : {4, 8}) {
        const bool imm = op == 0x70 || op == 0xc6;
        const Spec s{.name = "sse", .opcode = {0x0f, op}, .imm = imm, .prefix = prefix};
        run_case(*machine, encode(s, size, v & 1, false), 4);
      }
  };
  for (u8 op : plain_ops) each({}, op);
  for (u8 op : ops66) each({0x66}, op);
  for (u8 op : ops_f3) each({0xf3}, op);
  for (u8 op : ops_f2) each({0xf2}, op);
  for (u8 op : {0x16, 0x17})
    for (int v = 0; v < 40; v++)
      run_case(*machine, encode({.name = "movhps", .opcode = {0x0f, op}}, 4, true, false), 4);
  for (int v = 0; v < 40; v++)
    run_case(*machine,
             encode({.name = "pmovmskb", .opcode = {0x0f, 0xd7}, .prefix = {0x66}}, 4 + 4 * (v & 1),
                    false, false),
             4);
}

}  // namespace

int main(int argc, char** argv) {
  if (argc > 1) seed ^= strtoull(argv[1], nullptr, 0) * 0x9e3779b97f4a7c15ull;
  setup_host();
  Machine m;
  machine = &m;
  m.map(kCode, kCodeGpa, Machine::W);
  for (u64 at = 0; at < kScratchSize; at += kPageSize)
    m.map(kScratch + at, guest_page(at), Machine::W);
  m.c.seg[soft::GS].base = kGsBase;
  arithmetic(), shifts(), multiply(), bits(), moves(), singles(), strings(), vectors();
  printf("%d passed, %d failed\n", passed, failed);
  return failed != 0;
}
