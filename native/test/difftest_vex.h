// BMI1, BMI2, LZCNT and ADX in the differential test, and what may stand before a VEX prefix.
// Included by difftest.cc alone.
#pragma once

namespace {

void bit_fields() {
  family({.name = "tzcnt", .opcode = {0x0f, 0xbc}, .defined = CF | ZF, .prefix = {0xf3}});
  family({.name = "lzcnt", .opcode = {0x0f, 0xbd}, .defined = CF | ZF, .prefix = {0xf3}});
  struct {
    const char* name;
    u8 opcode, map, pp;
    int ext = -1;
    u64 defined = ALL;
  } const forms[] = {
      {"andn", 0xf2, 2, 0, -1, ALL & ~(AF | PF)},
      {"blsr", 0xf3, 2, 0, 1, ALL & ~(AF | PF)},
      {"blsmsk", 0xf3, 2, 0, 2, ALL & ~(AF | PF)},
      {"blsi", 0xf3, 2, 0, 3, ALL & ~(AF | PF)},
      {"bzhi", 0xf5, 2, 0, -1, ALL & ~(AF | PF)},
      {"bextr", 0xf7, 2, 0, -1, ZF | CF | OF},
      {"pext", 0xf5, 2, 2},
      {"pdep", 0xf5, 2, 3},
      {"mulx", 0xf6, 2, 3},
      {"shlx", 0xf7, 2, 1},
      {"sarx", 0xf7, 2, 2},
      {"shrx", 0xf7, 2, 3},
      {"rorx", 0xf0, 3, 3},
  };
  for (const auto& f : forms)
    for (int size : {4, 8})
      for (int v = 0; v < 40; v++)
        for (const bool memory : {false, true})
          run_case(*machine,
                   encode({.name = f.name,
                           .opcode = {f.opcode},
                           .ext = f.ext,
                           .imm = f.map == 3,
                           .defined = f.defined,
                           .vex = {f.map, f.pp, f.map != 3}},
                          size, memory, false),
                   kRounds);
  for (int v = 0; v < 20; v++)
    for (const bool memory : {false, true})
      for (u8 prefix : {0x66, 0xf3})
        for (int size : {4, 8}) {
          if (legacy && prefix == 0x66 && size == 8) continue;
          Spec s{.name = "adx", .opcode = {0x0f, 0x38, 0xf6}, .prefix = {prefix}};
          run_case(*machine, encode(s, size, memory, false), kRounds);
        }
}

/// With VEX.L, behind other prefixes, and what is no instruction.
void vex_prefixes() {
  const Bytes befores[] = {{},     {0xf0}, {0x66},       {0xf2}, {0xf3},
                           {0x40}, {0x48}, {0x40, 0x2e}, {0x2e}, {0x65}};
  for (const Bytes& before : befores)
    for (const u8 last : {0x78, 0x7c}) {  // VEX.L
      Bytes blsr = before;
      blsr.insert(blsr.end(), {0xc4, 0xe2, last, 0xf3, 0xc9});
      plain("vex", blsr, {}, ALL & ~(AF | PF));
    }
  plain("vex", {0xc4, 0xe2, 0x70, 0xf3, 0xc1});     // /0
  plain("vex", {0xc4, 0xe2, 0x70, 0xf3, 0xe1});     // /4
  plain("vex", {0xc4, 0xe2, 0x79, 0xf2, 0xc1});     // ANDN with 66
  plain("vex", {0xc4, 0xe3, 0x73, 0xf0, 0xc1, 3});  // RORX with a third register
  plain("vex", {0xc4, 0xe4, 0x78, 0xf2, 0xc1});     // a map that is none
  plain("vex", {0xc4, 0xe0, 0x78, 0xf2, 0xc1});
}

}  // namespace
