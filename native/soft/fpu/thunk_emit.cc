#include "soft/fpu/thunk_emit.h"

namespace colo::soft {
namespace {

// FXSAVE64 image
constexpr u32 kControlWord = 0, kStatusWord = 2, kSt0 = 32, kXmm0At = 160;
constexpr u8 kRax = 0, kRsi = 6, kRdi = 7;

u8 modrm(u8 mod, u8 reg, u8 rm) { return static_cast<u8>(mod << 6 | (reg & 7) << 3 | (rm & 7)); }

/// movaps xmm, [rdi + slot] (0x28) or back (0x29).
void move_xmm(ThunkCode& c, u8 opcode, u8 xmm) {
  if (xmm & 8) c.byte(0x44);
  c.put({0x0f, opcode, modrm(2, xmm, kRdi)});
  c.word32(kXmm0At + 16u * xmm);
}

/// movq mm, [rdi + slot] (0x6f) or back (0x7f).
void move_mmx(ThunkCode& c, u8 opcode, u8 mm) {
  c.put({0x0f, opcode, modrm(2, mm, kRdi)});
  c.word32(kSt0 + 16u * mm);
}

/// A write to an MMX register sets the exponent and sign of the x87 register under it (SDM vol.
/// 1, 9.6.2).
void set_mmx_exponent(ThunkCode& c, u8 mm) {
  c.put({0x66, 0xc7, modrm(2, 0, kRdi)});
  c.word32(kSt0 + 16u * mm + 8);
  c.put({0xff, 0xff});
}

/// mov rax, [rdx + 8n] (0x8b) or back (0x89).
void move_gpr(ThunkCode& c, u8 opcode, u8 n) {
  c.put({0x48, opcode, modrm(1, kRax, 2), static_cast<u8>(8 * n)});
}

/// ZF, PF, CF (and SF, AF) from the guest; all that FCMOVcc reads.
void load_flags(ThunkCode& c) {
  c.put({0x48, 0x8b, 0x01});  // mov rax, [rcx]
  c.put({0x88, 0xc4, 0x9e});  // mov ah, al; sahf
}
void capture_flags(ThunkCode& c) { c.byte(0x9f); }  // lahf: before anything else touches them
/// The comparing instructions write ZF, PF, CF and clear OF, SF, AF.
void store_flags(ThunkCode& c) {
  c.put({0x0f, 0xb6, 0xc4});                     // movzx eax, ah
  c.put({0x83, 0xe0, 0x45});                     // and eax, ZF|PF|CF
  c.put({0x48, 0x81, 0x21}), c.word32(~0x8d5u);  // and qword [rcx], ~status (sign-extended)
  c.put({0x48, 0x09, 0x01});                     // or [rcx], rax
}

/// One operand of a table instruction and how it is presented to the host.
struct Operand {
  FpKind kind;
  u8 number;   // guest register
  u8 encoded;  // register in the thunk's instruction
};

Operand operand(FpKind kind, u8 field, bool extension_bit) {
  const u8 wide = static_cast<u8>(field | (extension_bit ? 8 : 0));
  switch (kind) {
    case FpKind::Xmm:
      return {kind, wide, wide};
    case FpKind::Mmx:
      return {kind, field, field};  // REX does not extend MMX registers
    case FpKind::Gpr:
      return {kind, wide, kRax};
    default:
      return {kind, field, field};
  }
}

void load(ThunkCode& c, const Operand& o) {
  if (o.kind == FpKind::Xmm) move_xmm(c, 0x28, o.number);
  if (o.kind == FpKind::Mmx) move_mmx(c, 0x6f, o.number);
  if (o.kind == FpKind::Gpr) move_gpr(c, 0x8b, o.number);
}

void store(ThunkCode& c, const Operand& o) {
  if (o.kind == FpKind::Xmm) move_xmm(c, 0x29, o.number);
  if (o.kind == FpKind::Mmx) move_mmx(c, 0x7f, o.number), set_mmx_exponent(c, o.number);
  if (o.kind == FpKind::Gpr) move_gpr(c, 0x89, o.number);
}

/// Prefix, REX, escape, opcode, ModRM, immediate.
void instruction(ThunkCode& c, const FpInsn& insn, const FpRow& row, const Operand& reg,
                 const Operand& rm, bool memory) {
  const bool plain_mov = insn.map == 1 && insn.opcode == 0xc3;  // MOVNTI becomes MOV
  if (insn.prefix) c.byte(insn.prefix);
  const u8 rex = static_cast<u8>((insn.rex & 8) | (reg.encoded & 8) >> 1 |
                                 (memory ? 0 : (rm.encoded & 8) >> 3));
  if (rex) c.byte(0x40 | rex);
  if (!plain_mov) c.byte(0x0f);
  if (insn.map == 2) c.byte(0x38);
  if (insn.map == 3) c.byte(0x3a);
  c.byte(plain_mov ? 0x89 : row.plain ? row.plain : insn.opcode);
  c.byte(memory ? modrm(0, reg.encoded, kRsi) : modrm(3, reg.encoded, rm.encoded));
  if (row.flags & kImm) c.byte(insn.imm8);
}

}  // namespace

ThunkCode emit_vector(const FpInsn& insn, const FpRow& row) {
  ThunkCode c;
  const bool memory = insn.modrm < 0xc0;
  const Operand reg = operand(row.reg, insn.modrm >> 3 & 7, insn.rex & 4),
                rm = operand(row.rm, insn.modrm & 7, insn.rex & 1);
  const bool mmx = reg.kind == FpKind::Mmx || (!memory && rm.kind == FpKind::Mmx);
  if (row.flags & kXmm0) move_xmm(c, 0x28, 0);
  load(c, reg);
  if (!memory) load(c, rm);
  if (row.flags & kImplicit) c.put({0x57, 0x48, 0x89, 0xf7});  // push rdi; mov rdi, rsi
  instruction(c, insn, row, reg, rm, memory);
  if (row.flags & kFlags) capture_flags(c);
  if (row.flags & kImplicit) c.byte(0x5f);  // pop rdi
  if (row.flags & kFlags) store_flags(c);
  const bool to_memory = memory && (row.flags & kStore);
  if (!(row.flags & (kFlags | kImplicit)) && !to_memory) store(c, row.flags & kStore ? rm : reg);
  if (mmx) c.put({0x0f, 0x77});  // emms: the host's x87 stack is empty again
  c.byte(0xc3);
  return c;
}

/// Its implicit registers RAX, RDX and RCX are those that a thunk's arguments are in; r8 and r9
/// keep the arguments.
ThunkCode emit_string(const FpInsn& insn, const FpRow& row) {
  ThunkCode c;
  const bool memory = insn.modrm < 0xc0, explicit_lengths = !(insn.opcode & 2);
  const Operand reg = operand(row.reg, insn.modrm >> 3 & 7, insn.rex & 4),
                rm = operand(row.rm, insn.modrm & 7, insn.rex & 1);
  c.put({0x49, 0x89, 0xd0, 0x49, 0x89, 0xc9});  // mov r8, rdx; mov r9, rcx
  load(c, reg);
  if (!memory) load(c, rm);
  if (explicit_lengths)
    c.put({0x49, 0x8b, 0x00, 0x49, 0x8b, 0x50, 0x10});  // mov rax, [r8]; mov rdx, [r8+16]
  instruction(c, insn, row, reg, rm, memory);
  c.put({0x9c, 0x58});                                   // pushfq; pop rax
  if (insn.opcode & 1) c.put({0x49, 0x89, 0x48, 0x08});  // mov [r8+8], rcx
  else move_xmm(c, 0x29, 0);
  c.byte(0x25), c.word32(0x8d5);                 // and eax, status
  c.put({0x49, 0x81, 0x21}), c.word32(~0x8d5u);  // and qword [r9], ~status
  c.put({0x49, 0x09, 0x01});                     // or [r9], rax
  c.byte(0xc3);
  return c;
}

namespace {

/// FNSTCW and FNSTSW read the image; the host's unit is not needed.
bool emit_word_store(ThunkCode& c, const FpInsn& insn, const X87Insn& what) {
  const bool memory = insn.modrm < 0xc0;
  const bool control = memory && insn.opcode == 0xd9 && what.bytes == 2 && what.write;
  const bool status =
      (memory && insn.opcode == 0xdd && what.bytes == 2 && what.write && !what.waiting) ||
      what.writes_ax;
  if (!control && !status) return false;
  c.put({0x0f, 0xb7, modrm(1, kRax, kRdi),
         static_cast<u8>(control ? kControlWord : kStatusWord)});  // movzx eax, word [rdi+n]
  c.put({0x66, 0x89, modrm(0, kRax, what.writes_ax ? 2 : kRsi)});  // mov [rdx] or [rsi], ax
  c.byte(0xc3);
  return true;
}

/// Hands the x87 unit back as the ABI wants it: empty, and with the caller's control word. FNINIT
/// is slow, EMMS is not; but EMMS would take a pending exception, and the status flags that it
/// leaves must not meet a caller who unmasked them.
void leave_x87(ThunkCode& c) {
  c.put({0x8b, 0x44, 0x24, 0xf0});  // mov eax, [rsp-16]
  c.put({0xf7, 0xd0, 0x83, 0xe0,
         0x3f});  // not eax; and eax, 0x3f: exceptions that the caller unmasked
  c.put({0x8a, 0x67, kStatusWord, 0x80, 0xe4, 0x80});  // mov ah, [rdi+2]; and ah, ES
  c.put({0x66, 0x85, 0xc0, 0x75, 0x04});               // test ax, ax; jnz slow
  c.put({0x0f, 0x77, 0xeb, 0x02});                     // emms; jmp out
  c.put({0xdb, 0xe3});                                 // slow: fninit
  c.put({0xd9, 0x6c, 0x24, 0xf0});                     // out: fldcw [rsp-16]
  c.put({0x0f, 0xae, 0x54, 0x24, 0xf8});               // ldmxcsr [rsp-8]
}

}  // namespace

ThunkCode emit_x87(const FpInsn& insn, const X87Insn& what) {
  ThunkCode c;
  if (insn.map == 0 && emit_word_store(c, insn, what)) return c;
  c.put({0xd9, 0x7c, 0x24, 0xf0});        // fnstcw [rsp-16]
  c.put({0x0f, 0xae, 0x5c, 0x24, 0xf8});  // stmxcsr [rsp-8]
  c.put({0x48, 0x0f, 0xae, 0x0f});        // fxrstor64 [rdi]
  if (what.reads_flags) load_flags(c);
  if (insn.map == 1) {
    c.put({0x0f, 0x77});  // EMMS
  } else {
    if (insn.prefix == 0x66) c.byte(0x66);
    c.put({insn.opcode, insn.modrm < 0xc0 ? modrm(0, insn.modrm >> 3 & 7, kRsi) : insn.modrm});
  }
  if (what.writes_flags) capture_flags(c);
  c.put({0x48, 0x0f, 0xae,
         0x07});  // fxsave64 [rdi]: does not wait, so a new exception stays in the image
  if (what.writes_flags) store_flags(c);
  leave_x87(c);
  c.byte(0xc3);
  return c;
}

ThunkCode emit_x87_bare(const FpInsn& insn, const X87Insn& what) {
  ThunkCode c;
  c.put({insn.opcode, insn.modrm < 0xc0 ? modrm(0, insn.modrm >> 3 & 7, kRsi) : insn.modrm});
  if (what.writes_ax) c.put({0x66, 0x89, 0x02});  // mov [rdx], ax
  c.byte(0xc3);
  return c;
}

}  // namespace colo::soft
