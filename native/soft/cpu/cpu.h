// The software x86-64 CPU: its state, its decoded operations, and the doors through which the
// folders above reach guest memory. Who defines a member function is said beside it.
//
// Structure: a block of decoded operations is a run of tail-called handlers. Lazy flags ride in two
// host registers (res, aux). A slow path fills the TLB and dispatches the same operation again:
// nothing was committed, so state is precise at every operation boundary.
#pragma once
#include <linux/kvm.h>

#include <atomic>
#include <memory>
#include <string>

#include "base/types.h"
#include "memory/ram.h"
#include "soft/chips/irqchip.h"
#include "soft/fpu/fpu.h"
#include "vcpu/contract.h"
#include "vcpu/model.h"

namespace colo::soft {

struct Cpu;
struct Op;
struct Block;
using Handler = void (*)(Cpu* c, const Op* o, u64 res, u64 aux);

/// Register file order is the encoding order; the extra slots make effective addresses branch-free.
enum Reg : u8 {
  RAX,
  RCX,
  RDX,
  RBX,
  RSP,
  RBP,
  RSI,
  RDI,
  R8,
  R9,
  R10,
  R11,
  R12,
  R13,
  R14,
  R15,
  REG_ZERO,
  REG_TMP,
  REG_TMP2,
  REG_COUNT
};
enum SegReg : u8 { ES, CS, SS, DS, FS, GS, SEG_COUNT };

/// A decoded operation, 32 bytes. d s b x are BYTE offsets into Cpu::r (AH..BH are offset 1 of
/// their register). Effective address = r[b] + (r[x] << scale) + disp. A segment base (FS, GS) or a
/// 32-bit address size is folded by a preceding operation that leaves the sum in REG_TMP; then b =
/// REG_TMP, x = REG_ZERO, disp = 0.
struct Op {
  Handler h;
  u8 d, s, b, x;
  u8 scale;
  u8 len;   // of the whole instruction, bytes
  u16 off;  // of the instruction in its block, bytes: RIP = block->va + off
  i64 imm;
  i32 disp;
  u32 extra;  // meaning belongs to the handler
};
static_assert(sizeof(Op) == 32);

/// What a slow-path function (Slow) tells the dispatcher.
enum class Step : u8 {
  Next,   // done, go on with the next operation of the block
  Jump,   // done, cpu.rip holds the next address; leave the block (mode, paging, IF or RIP may have
          // changed)
  Fault,  // cpu.pending holds an exception; nothing was committed; RIP = this instruction
  Exit,   // leave run(): cpu.exit_reason says why; cpu.rip is already right
};
/// A plain function behind an operation: everything that is not hot. Flags are folded: read and
/// write them by flags()/set_flags().
using Slow = Step (*)(Cpu& c, const Op& o);

enum Vector : u8 {
  DE = 0,
  DB = 1,
  NMI = 2,
  BP = 3,
  OF = 4,
  BR = 5,
  UD = 6,
  NM = 7,
  DF = 8,
  TS = 10,
  NP = 11,
  SS_ = 12,
  GP = 13,
  PF = 14,
  MF = 16,
  AC = 17,
  MC = 18,
  XM = 19
};

/// How far a processor has come since its INIT (SDM vol. 3, 9.4).
enum class Start : u8 { Started, Uninitialized, InitReceived };

/// An exception on its way to delivery.
struct Exception {
  bool set = false;
  bool has_error = false;
  u8 vector = 0;
  u32 error = 0;
  u64 cr2 = 0;           // #PF only
  bool address = false;  // cr2 is a non-canonical address: #GP, or #SS if the stack was meant
};

namespace flag {
constexpr u64 CF = 1, PF = 4, AF = 0x10, ZF = 0x40, SF = 0x80, TF = 0x100, IF = 0x200, DF = 0x400,
              OF = 0x800, IOPL = 0x3000, NT = 0x4000, RF = 0x10000, VM = 0x20000, AC = 0x40000,
              ID = 0x200000, STATUS = CF | PF | AF | ZF | SF | OF;
}
namespace cr0 {
constexpr u64 PE = 1, MP = 2, EM = 4, TS = 8, ET = 16, NE = 32, WP = 1 << 16, AM = 1 << 18,
              NW = 1 << 29, CD = 1 << 30, PG = 1u << 31;
}
namespace cr4 {
constexpr u64 VME = 1, PVI = 2, TSD = 4, DE = 8, PSE = 16, PAE = 32, MCE = 64, PGE = 128, PCE = 256,
              OSFXSR = 512, OSXMMEXCPT = 1024, UMIP = 2048, FSGSBASE = 1 << 16, PCIDE = 1 << 17,
              OSXSAVE = 1 << 18, SMEP = 1 << 20, SMAP = 1 << 21;
}
namespace efer {
constexpr u64 SCE = 1, LME = 1 << 8, LMA = 1 << 10, NXE = 1 << 11;
}

/// Model-specific registers that have no other home.
struct Msrs {
  u64 star = 0, lstar = 0, cstar = 0, fmask = 0, kernel_gs_base = 0;
  u64 sysenter_cs = 0, sysenter_esp = 0, sysenter_eip = 0;
  u64 pat = 0x0007040600070406ull, misc_enable = 1, tsc_adjust = 0, tsc_aux = 0,
      tsc_offset = 0;  // guest TSC = clock ns + tsc_offset
  u64 mtrr_def_type = 0, mtrr_fixed[11] = {}, mtrr_var[16] = {};
  u64 mcg_status = 0, mcg_ctl = 0;
  u64 kvm_system_time = 0, kvm_wall_clock = 0;
};

/// Soft TLB entry. A tag holds the page's virtual address; low bits set = the slow path must look.
/// addend + va = host address.
struct TlbEntry {
  u64 read = 1, write = 1, exec = 1;
  u64 addend = 0;
};
constexpr size_t kTlbSize = 1024;  // of each set; kTlbIndex = (va >> 12) & (kTlbSize - 1)
/// With which rights memory is reached; each has a set of TLB entries of its own, so that what one
/// may do says nothing about another and no access has to ask. Under CR4.SMAP the supervisor's are
/// kept off user pages, but for accesses of code that has set RFLAGS.AC: SupervisorAc. Without it
/// that set stays empty.
enum class Rights : u8 { Supervisor, User, SupervisorAc };
constexpr size_t kTlbSets = 3;

constexpr bool canonical(u64 va) {
  return static_cast<u64>(static_cast<i64>(va << 16) >> 16) == va;
}

enum class Access : u8 { Read, Write, Exec };

/// Do n bytes, at most a cache line, at this address lie in two of them? Host and guest addresses
/// agree in it.
constexpr bool splits_line(u64 address, u64 n) {
  constexpr u64 kLine = 64;
  return (address & (kLine - 1)) > kLine - n;
}

/// Jump cache entry: the block of a virtual address, good while epoch equals the CPU's for that
/// half. block: offset in the arena.
struct JumpEntry {
  u64 va = ~0ull;
  u32 epoch = 0;
  u32 block = 0;
};
constexpr i64 kFloorLeave = INT64_MAX;

struct Mmu;        // memory/mmu.h: TLB fill, page walk
class World;       // memory/world.h: the VM's other vCPUs
struct CodeCache;  // block.h: decoded code by physical page

struct alignas(64) Cpu {
  // --- hot, touched by every block
  u64 r[REG_COUNT] = {};  // r[REG_ZERO] is always 0
  u64 rip = 0;            // valid outside a block; inside, block->va + op.off
  u64 res = 0, aux = 0;   // lazy flags while no handler holds them in registers (see flags())
  /// Instructions left: decremented by block length at block entry; less than `floor` = leave. Only
  /// the owner writes it.
  i64 budget = 0;
  std::atomic<i64> floor{
      0};  // budget below this = leave; kFloorLeave stops at the next block end (any thread)
  Block* block = nullptr;      // the running one
  TlbEntry* tlb = nullptr;     // of rights(); one that never hits while alignment is checked
  JumpEntry* jumps = nullptr;  // of jump_sets, by mode: where indirect branches look first
  u8* arena = nullptr;         // base of the decoded blocks
  u32 epoch[2] = {
      1, 1};  // of virtual-to-block facts: [0] lower half, [1] upper half of the address space
  u32 legacy_epoch = 1;  // the same for code that is not 64-bit: also of its CS
  u64 mem_va = 0;        // a handler's argument to its slow path
  u64 rflags = 2;        // all but the six status bits (those live in res/aux); bit 1 always set
  u8 cpl = 0;
  u8 mode = 0;          // what besides the bytes decides how code decodes (block.h)
  bool shadow = false;  // STI / MOV SS / POP SS: no interrupt before the next instruction has run
  bool shadow_ss = false;  // MOV SS / POP SS: no debug trap either
  bool no_step = false;    // the instruction was INT n: it is not trapped by TF
  bool halted = false;
  bool nmi_masked = false;  // from the delivery of one to the next IRET
  Start start = Start::Started;
  bool alone = true;  // no other vCPU runs guest code meanwhile
  /// Which of the host's floating-point units hold the guest's state, with no exception unmasked;
  /// only between two handlers (execute/unit.h). Then fx lacks what is newest.
  u8 units = 0;
  u16 host_cw = 0;  // x87 control word and MXCSR, to be put back
  u32 host_mxcsr = 0;
  Exception pending;

  // --- system state
  u64 rip_mask = ~0ull;  // addresses in the code segment have 64 or 32 bits
  u64 cr0 = 0x60000010, cr2 = 0, cr3 = 0, cr4 = 0, efer = 0;  // CR8 lives in the local APIC
  u64 dr[4] = {}, dr6 = 0xffff0ff0, dr7 = 0x400;
  bool debugging = false;    // DR7 has a breakpoint: instructions run one at a time
  bool watching = false;     // of data: every access is looked at
  bool breakpoints = false;  // of an instruction
  u8 xcr0 = 1;               // which register states XSAVE knows: x87, with bit 1 SSE, bit 2 AVX
  u64 debug_hits = 0;        // of data and ports, as bits of DR6; they trap behind the instruction
  kvm_segment seg[SEG_COUNT] =
      {};  // FS and GS bases are read from here by the address-folding operation
  kvm_segment tr = {}, ldt = {};
  kvm_dtable gdt = {}, idt = {};
  Msrs msr;
  FxState fx;
  YmmHigh ymm_high = {};            // zero on a model without AVX
  alignas(64) u8 bounce[512] = {};  // memory operand of a thunk, page-crossing accesses

  // --- parts
  u32 index = 0;  // among the VM's vCPUs
  u32 apic_id = 0;
  memory::GuestRam* ram = nullptr;
  memory::MemoryMap map;  // of its own: taken anew between blocks
  ChipPort* chip = nullptr;
  World* world = nullptr;
  const vcpu::CpuModel* model = &vcpu::soft_v1();
  vcpu::Bus* bus = nullptr;
  vcpu::Clock* clock = nullptr;
  Mmu* mmu = nullptr;
  CodeCache* blocks = nullptr;
  ThunkCache thunks;

  // --- control
  std::atomic<bool> kick_requested{false};  // leave run()
  std::atomic<bool> attention{
      false};  // look at interrupts, dirty-log resets, invalidations at the next block end
  std::atomic<bool> drop_write_tags{false};  // a new dirty epoch began
  std::atomic<bool> map_changed{false};      // GuestRam has another map
  std::atomic<bool> running{false};          // it is in guest code; the World's
  u32 pauses = 0;                            // PAUSE instructions, where there are others
  u64 icount_done = 0;                       // instructions retired before the current run()
  bool exit_pending = false;                 // a Slow function said Step::Exit
  vcpu::RunResult exit_reason = vcpu::RunResult::Kicked;
  std::string error;

  TlbEntry tlb_sets[kTlbSets][kTlbSize];
  /// Per privilege, for 64-bit code and for all other (va: the offset in CS); the code cache's.
  JumpEntry* jump_sets[4] = {};

  // --- flags (flags.h): RFLAGS from (res, aux, rflags) and back
  u64 flags() const;
  void set_flags(u64 value);

  // --- memory for Slow functions (memory/access.cc). False: c.pending is set (or the access went
  // to a device and is complete: true). va already contains the segment base. Size 1, 2, 4, 8. Any
  // alignment, page crossing included.
  bool load(u64 va, u8 size, u64& value);
  bool store(u64 va, u8 size, u64 value);
  bool load_bytes(u64 va, void* out, size_t n);  // RAM or device
  bool store_bytes(
      u64 va, const void* in,
      size_t n);  // all-or-nothing for RAM: both pages are probed before the first byte is written
  /// As load/store but with supervisor rights whatever CPL is, and RFLAGS.AC opens nothing: the
  /// processor's own accesses to descriptor tables, TSS and IDT (SDM vol. 3, 4.6.1).
  bool load_sys(u64 va, u8 size, u64& value);
  bool store_sys(u64 va, u8 size, u64 value);
  /// As store in an inner ring, whatever CPL still is: the stack of a delivery.
  bool store_inner(u64 va, u8 size, u64 value);
  /// Probes without access (write = intent). False: pending set.
  bool probe(u64 va, size_t n, Access access);

  // --- segmentation (cpu/segment.cc). In 64-bit code an offset is an address but for FS and GS.
  /// The linear address of [offset, offset+n) in a segment, with the checks of type and limit.
  /// False: pending is set (#SS for the stack segment, else #GP).
  bool linear(SegReg which, u64 offset, u64 n, Access access, u64& va);
  u64 stack_mask() const { return code64() ? ~0ull : seg[SS].db ? 0xffffffff : 0xffff; }
  /// The stack pointer becomes `to`: as many bits of it as the stack segment has.
  void set_sp(u64 to);
  /// In the stack segment, at an offset that wraps as the stack pointer does.
  bool stack_load(u64 at, u8 size, u64& value);
  bool stack_store(u64 at, u8 size, u64 value);
  /// May code go on at this offset of CS? False: #GP(0).
  bool code_offset(u64 offset);
  u8 mode_bits() const;  // mode for the segments and the privilege of now

  // --- breakpoints (cpu/debug.cc)
  void arm_breakpoints();                       // by DR7
  u64 breakpoints_at(u64 va) const;             // of instructions, as bits of DR6
  void note_access(u64 va, u64 n, bool write);  // has it met one? In debug_hits
  void note_port(u16 port, u8 size);

  // --- exceptions; system/deliver.cc delivers them
  Step raise(u8 vector) {
    pending = {true, false, vector, 0, 0};
    return Step::Fault;
  }
  Step raise(u8 vector, u32 err) {
    pending = {true, true, vector, err, 0};
    return Step::Fault;
  }
  bool fault_page(u64 va, u32 err) {
    pending = {true, true, PF, err, va};
    return false;
  }

  // --- what changes drop what (memory/mmu.cc)
  void tlb_flush(bool globals);  // CR3 write: false; CR4.PGE toggle, CR0.PG/WP, EFER.NXE: true
  void tlb_flush_page(u64 va);   // INVLPG
  void mode_changed();  // after CPL, CS.L, CR0, CR4, EFER changed: reselect tlb set, block key
                        // bits, jump cache
  void alignment_flag_changed();  // RFLAGS.AC alone: reselect tlb set

  /// Makes the run loop look at attention, kick_requested and the chip at the next block end. Any
  /// thread.
  void poke() {
    attention.store(true);
    floor.store(kFloorLeave);
  }

  /// Its bit in sets of vCPUs (GuestRam::code_flag and the World's).
  static_assert(vcpu::kMaxCpus <= 8);
  u8 bit() const { return static_cast<u8>(1u << index); }
  bool long_mode() const { return efer & efer::LMA; }
  bool code64() const { return seg[CS].l; }
  bool protected_mode() const { return cr0 & cr0::PE; }
  Rights rights() const { return cpl == 3 ? Rights::User : inner_rights(); }
  Rights inner_rights() const {
    return cr4 & cr4::SMAP && rflags & flag::AC ? Rights::SupervisorAc : Rights::Supervisor;
  }
  bool checks_alignment() const { return cpl == 3 && (rflags & flag::AC) && (cr0 & cr0::AM); }
};

/// How a Slow function finds its operands (the block builder fills these in Op for every system
/// instruction):
///   o.d   = byte offset of the r/m register when modrm.mod == 3     o.s = byte offset of the reg
///   field's register (REX.R applied) ea(c, o) = effective address incl. segment base when mod != 3
///   o.imm = immediate, sign-extended o.extra = operand size (1 2 4 8) | modrm << 8 | prefix << 16
///   | rex << 24; INS, OUTS: o.scale = address size, o.disp = segment
inline u64 ea(const Cpu& c, const Op& o) {
  auto at = [&](u8 off) {
    return *reinterpret_cast<const u64*>(reinterpret_cast<const u8*>(c.r) + off);
  };
  return at(o.b) + (at(o.x) << o.scale) + static_cast<i64>(o.disp);
}
u64 insn_rip(const Cpu& c, const Op& o);  // of the running block (execute/slow.cc)
inline u64 next_rip(const Cpu& c, const Op& o) { return (insn_rip(c, o) + o.len) & c.rip_mask; }

}  // namespace colo::soft
