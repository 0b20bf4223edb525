// What the files of the system half share: operand access, privilege checks, descriptors. Private
// to native/soft/system; what others call is in contract.h.
#pragma once
#include <cstring>

#include "soft/cpu/cpu.h"
#include "soft/system/contract.h"

namespace colo::soft::sys {

constexpr unsigned kPhysBits =
    40;  // CPUID 80000008; CR3, MTRR and page-table reserved bits follow from it
constexpr u64 kPhysMask = (1ull << kPhysBits) - 1;
constexpr u64 kGuestHz = 1'000'000'000;  // the guest's TSC counts nanoseconds

// --- operands (see ea in cpu.h)
inline u8 op_size(const Op& o) { return o.extra & 0xff; }
inline u8 op_modrm(const Op& o) { return (o.extra >> 8) & 0xff; }
inline u8 op_prefix(const Op& o) { return (o.extra >> 16) & 0xff; }
inline u8 op_rex(const Op& o) { return o.extra >> 24; }
inline bool rex_w(const Op& o) { return op_rex(o) & 8; }
inline bool is_register(const Op& o) { return op_modrm(o) >= 0xc0; }
inline u8 reg_field(const Op& o) { return ((op_modrm(o) >> 3) & 7) | (op_rex(o) & 4) << 1; }
inline u8 rm_field(const Op& o) { return (op_modrm(o) & 7) | (op_rex(o) & 1) << 3; }
/// Operand size of an instruction whose default is 64 bits in 64-bit mode (stack operations), and
/// of a far transfer, whose default is 32.
inline u8 stack_size(const Cpu& c, const Op& o) {
  if (!c.code64()) return op_size(o);
  return op_size(o) == 2 && !rex_w(o) ? 2 : 8;
}
inline u8 far_size(const Op& o) { return rex_w(o) ? 8 : op_size(o) == 2 ? 2 : 4; }

inline u64 reg_read(const Cpu& c, u8 offset, u8 size) {
  u64 v = 0;
  memcpy(&v, reinterpret_cast<const u8*>(c.r) + offset, size);
  return v;
}
/// A 4-byte write clears the upper half, as every 32-bit result does.
inline void reg_write(Cpu& c, u8 offset, u8 size, u64 value) {
  if (size == 4) value &= 0xffffffff, size = 8;
  memcpy(reinterpret_cast<u8*>(c.r) + offset, &value, size);
}
inline void set32(Cpu& c, Reg r, u64 value) { c.r[r] = value & 0xffffffff; }
inline u64 edx_eax(const Cpu& c) { return c.r[RDX] << 32 | (c.r[RAX] & 0xffffffff); }
inline void set_edx_eax(Cpu& c, u64 v) { set32(c, RAX, v), set32(c, RDX, v >> 32); }
/// A 16-bit r/m source (selectors, LMSW).
inline bool rm16_read(Cpu& c, const Op& o, u16& value) {
  u64 v = 0;
  if (is_register(o)) v = reg_read(c, o.d, 2);
  else if (!c.load(ea(c, o), 2, v)) return false;
  value = v;
  return true;
}
/// Selector stores: 16 bits to memory, the operand size to a register.
inline bool rm16_write(Cpu& c, const Op& o, u64 value) {
  if (!is_register(o)) return c.store(ea(c, o), 2, value & 0xffff);
  reg_write(c, o.d, op_size(o), value);
  return true;
}

// --- how a Slow function ends
inline Step jump(Cpu& c, u64 rip) {
  c.rip = rip;
  return Step::Jump;
}
/// Ends the block behind this instruction.
inline Step leave(Cpu& c, const Op& o) { return jump(c, next_rip(c, o)); }
inline Step done(bool ok) { return ok ? Step::Next : Step::Fault; }
inline Step undefined(Cpu& c, const Op&) { return c.raise(UD); }
inline bool fault(Cpu& c, u8 vector, u32 error) {
  c.raise(vector, error);
  return false;
}

// --- privilege
inline bool io_privileged(const Cpu& c) { return c.cpl <= ((c.rflags & flag::IOPL) >> 12); }
/// Real mode has neither privilege nor descriptors: several instructions do not exist there.
inline bool real_mode(const Cpu& c) { return !c.protected_mode(); }
/// Stops the guest: `what` is a thing that this CPU does not do, and would do wrong otherwise.
Step refuse(Cpu& c, const char* what);
/// Becomes CPL `cpl` with code segment `cs`; the engine hears of it only if something that it
/// caches changes.
void enter_code(Cpu& c, const kvm_segment& cs, u8 cpl);

// --- segments (segment.cc)
inline bool null_selector(u16 selector) { return (selector & 0xfffc) == 0; }
inline u32 selector_error(u16 selector, u32 ext = 0) { return (selector & 0xfffcu) | ext; }
/// A descriptor where it lies in guest memory, and its cached form.
struct Descriptor {
  u64 address = 0;
  u64 raw = 0;
  kvm_segment seg = {};
};
namespace type {  // of s = 0 descriptors (SDM vol. 3, table 3-2); the 16-bit ones: not in long mode
constexpr u8 TSS16_AVAILABLE = 1, LDT = 2, TSS16_BUSY = 3, CALL_GATE16 = 4, TASK_GATE = 5,
             INTERRUPT_GATE16 = 6, TRAP_GATE16 = 7, TSS_AVAILABLE = 9, TSS_BUSY = 11,
             CALL_GATE = 12, INTERRUPT_GATE = 14, TRAP_GATE = 15;
constexpr u8 CODE = 8, CONFORMING = 4, WRITABLE = 2, READABLE = 2,
             ACCESSED = 1;  // of s = 1 descriptors
}  // namespace type
inline bool is_code(const kvm_segment& s) { return s.s && (s.type & type::CODE); }
inline bool is_conforming(const kvm_segment& s) {
  return is_code(s) && (s.type & type::CONFORMING);
}
inline bool is_writable_data(const kvm_segment& s) {
  return s.s && !(s.type & type::CODE) && (s.type & type::WRITABLE);
}
/// Reads the descriptor of a non-null selector. Beyond the table: `vector`(selector | ext). False:
/// pending set.
bool fetch_descriptor(Cpu& c, u16 selector, Descriptor& out, u8 vector = GP, u32 ext = 0);
/// A code segment in use: what only long mode has in it is dropped elsewhere.
inline void trim_code(const Cpu& c, kvm_segment& cs) {
  if (!c.long_mode()) cs.l = 0;
}
/// What a selector means in real mode: limit and attributes stay as they were.
void load_real(kvm_segment& s, u16 selector);
/// Checks a stack segment for code at `cpl`: `vector`(selector | ext) if it is unfit.
bool check_stack_segment(Cpu& c, u16 selector, u8 cpl, u8 vector, u32 ext, kvm_segment& out);
/// Sets the accessed bit in memory, as loading a code or data segment does.
bool mark_accessed(Cpu& c, Descriptor& d);
kvm_segment null_segment(u16 selector, u8 dpl);
/// The fixed segments that SYSCALL and SYSRET load (SDM vol. 2, SYSCALL).
kvm_segment flat_code(u16 selector, u8 dpl, bool is64);
kvm_segment flat_data(u16 selector, u8 dpl);

// --- MSRs (msr.cc), shared with the state images
namespace msr {
constexpr u32 TSC = 0x10, APIC_BASE = 0x1b, TSC_ADJUST = 0x3b, TSC_DEADLINE = 0x6e0,
              X2APIC_FIRST = 0x800, X2APIC_LAST = 0x8ff, EFER = 0xc0000080, FS_BASE = 0xc0000100,
              GS_BASE = 0xc0000101, DEBUGCTL = 0x1d9, PATCH_LOADER = 0xc0010020, HWCR = 0xc0010015,
              WALL_CLOCK_OLD = 0x11, SYSTEM_TIME_OLD = 0x12, WALL_CLOCK = 0x4b564d00,
              SYSTEM_TIME = 0x4b564d01;
/// Only in state images, and our own: (TSC - guest ns) - TSC_ADJUST, zero unless the state once
/// came from KVM. It makes the guest's TSC continue exactly with its clock, whenever the two were
/// read; without it (an image of KVM's) TSC itself is the measure, as of the load.
constexpr u32 TSC_SKEW = 0x4b564dff;
}  // namespace msr
bool msr_read(Cpu& c, u32 index, u64& value);
bool msr_write(Cpu& c, u32 index, u64 value);
/// Storage of a register that is a plain value, or nullptr.
u64* msr_slot(Msrs& m, u32 index);
/// May WRMSR put `value` into plain register `index`?
bool msr_valid(u32 index, u64 value);
/// A register that only ever reads as one value.
bool msr_constant(u32 index, u64& value);
bool apic_base_valid(u64 value);
inline u64 guest_tsc(const Cpu& c) { return c.clock->now_ns() + c.msr.tsc_offset; }

// --- control registers (control.cc)
constexpr u64 kCr4Allowed = cr4::TSD | cr4::DE | cr4::PSE | cr4::PAE | cr4::MCE | cr4::PGE |
                            cr4::PCE | cr4::OSFXSR | cr4::OSXMMEXCPT;
/// Those, and what the model's features give besides: UMIP, FSGSBASE, PCIDE, OSXSAVE, SMEP, SMAP.
constexpr u64 allowed_cr4(const vcpu::Features& f) {
  using F = vcpu::Features;
  return kCr4Allowed | (f.ecx7 & F::UMIP ? cr4::UMIP : 0) |
         (f.ebx7 & F::FSGSBASE ? cr4::FSGSBASE : 0) | (f.ecx1 & F::PCID ? cr4::PCIDE : 0) |
         (f.ecx1 & F::XSAVE ? cr4::OSXSAVE : 0) | (f.ebx7 & F::SMEP ? cr4::SMEP : 0) |
         (f.ebx7 & F::SMAP ? cr4::SMAP : 0);
}
/// Register states, as bits of XCR0 and of XSTATE_BV. AVX: the upper halves of the YMM registers.
constexpr u32 kX87 = 1, kSse = 2, kAvx = 4;
/// Those that a model has.
constexpr u32 states_of(const vcpu::Features& f) {
  constexpr u32 kBoth = vcpu::Features::XSAVE | vcpu::Features::AVX;
  return kX87 | kSse | ((f.ecx1 & kBoth) == kBoth ? kAvx : 0);
}
/// x87 is always on; SSE can be where the model has XSAVE, AVX with SSE.
constexpr bool xcr0_valid(const vcpu::Features& f, u64 value) {
  if (value == kX87) return true;
  const bool with_sse = (value & (kX87 | kSse)) == (kX87 | kSse);
  return with_sse && f.ecx1 & vcpu::Features::XSAVE && !(value & ~u64{states_of(f)});
}
/// XSAVE's image, where AVX follows the header in both formats (Intel SDM vol. 1, 13.4).
constexpr size_t kXsaveHeader = 512, kAvxAt = 576, kAvxBytes = 256;
constexpr size_t xsave_bytes(u64 states) { return kAvxAt + (states & kAvx ? kAvxBytes : 0); }
/// CR4.UMIP: what SGDT, SIDT, SLDT, STR and SMSW tell is the kernel's (Intel SDM vol. 3, 2.5).
inline bool hidden_from_user(const Cpu& c) { return c.cpl && (c.cr4 & cr4::UMIP); }
constexpr u64 kEferAllowed = efer::SCE | efer::LME | efer::LMA | efer::NXE;
constexpr u64 kCr0Known = cr0::PE | cr0::MP | cr0::EM | cr0::TS | cr0::ET | cr0::NE | cr0::WP |
                          cr0::AM | cr0::NW | cr0::CD | cr0::PG;
constexpr u32 kMxcsrMask = 0xffff;
constexpr size_t kFxBytes =
    416;  // what FXSAVE writes; bytes 416..511 are reserved or the software's
constexpr u64 kDr6SingleStep = 1 << 14;
inline u64 dr6_fixed(u64 v) { return (v & 0xe00f) | 0xffff0ff0; }
inline u64 dr7_fixed(u64 v) { return (v & 0xffff23ff) | 0x400; }

// --- state.cc, shared with start.cc
/// All but the chips.
void reset_registers(Cpu& c);
/// What a changed mode or address space invalidates, all of it.
void drop_derived(Cpu& c);

// --- instruction families; each names its opcodes where it is defined
SlowInsn group_0f00(u8 modrm);
SlowInsn group_0fae(u8 modrm, u8 prefix);
SlowInsn xsave_insn(u8 opcode, u8 modrm);
SlowInsn segment_insn(u8 map, u8 opcode, u8 modrm);
SlowInsn system_segment_insn(u8 opcode);
SlowInsn control_insn(u8 opcode);
SlowInsn far_insn(u8 opcode, u8 modrm);
SlowInsn fast_call_insn(u8 opcode);
SlowInsn io_insn(u8 opcode);
SlowInsn flags_insn(u8 opcode);
SlowInsn alignment_flag_insn(u8 modrm);
SlowInsn msr_insn(u8 opcode);
Step table_register(Cpu& c, const Op& o);
Step machine_status_word(Cpu& c, const Op& o);
Step invlpg(Cpu& c, const Op& o);
Step invpcid(Cpu& c, const Op& o);
Step swapgs(Cpu& c, const Op& o);
Step rdtscp(Cpu& c, const Op& o);

}  // namespace colo::soft::sys
