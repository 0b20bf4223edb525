// Address translation: the page walker, the soft TLB's cold side, and one-operation windows for
// accesses the TLB cannot express.
#pragma once
#include "soft/cpu/cpu.h"

namespace colo::soft {

constexpr int kPhysBits = 40;  // MAXPHYADDR of CPUID model soft-v1

/// Result of a walk.
struct Translation {
  u64 gpa = 0;
  u64 page_size = kPageSize;
  bool global = false;
  bool readable = true;   // for the rights asked: CR4.SMAP leaves code in user pages
  bool writable = false;  // for the rights asked; D is set in the entry
  bool executable = false;
};

/// Where an access goes.
struct Place {
  bool device = false;
  u64 at = 0;  // a device's guest-physical address, or the offset in memory (GuestRam)
};

/// A memory operand that the TLB cannot express: the operation runs once more from a copy, with a
/// TLB slot of its own. Where the operand lies in RAM, in a page with code for instance, the slot
/// leads there, so that the operation is as atomic as ever (direct). One that crosses a page or
/// lies in a device is at Cpu::bounce meanwhile, and its bytes go where they belong afterwards. The
/// slot then lies, so while a window is open nothing but that one operation may
/// use the TLB: no fill, no walk, no code fetch.
struct Window {
  bool open = false;
  bool write = false;
  bool direct = false;
  bool alone = false;  // no other vCPU runs until it is closed
  u8 size = 0;
  u64 va = 0, offset = 0;  // offset: of direct
  TlbEntry* slot = nullptr;
  TlbEntry saved;
  const Op* origin = nullptr;
  Op copy[2];
};

struct Mmu {
  explicit Mmu(Cpu& cpu) : c(cpu) {}

  /// Walks the tables; sets A and D. False: c.pending is set.
  bool walk(u64 va, Access access, Rights rights, Translation& out);
  /// Walks and enters the translation in the TLB (device pages stay out). False: c.pending is set.
  bool fill(u64 va, Access access, Rights rights, Place& place);
  void flush(bool globals);
  void flush_page(u64 va);
  /// No write tag is valid any more (new dirty epoch) / for this page (it now holds code).
  void drop_write_tags();
  void drop_write_tags(u64 page_offset);

  /// Would the access be allowed? False: c.pending is set.
  bool probe_page(u64 va, Access access, Rights rights);
  void note_code_segment();
  /// The TLB for the CPU's rights and flags.
  TlbEntry* current_tlb();
  /// While the CPU checks alignment: is this operand aligned as its size wants (SDM vol. 3, table
  /// 7-7)? False: c.pending is set.
  bool aligned(u64 va, size_t n);
  /// Host pointer for the access at va inside its page; nullptr with pending set, or with a
  /// device's place.
  u8* at(u64 va, Access access, Rights rights, Place& place);
  bool read(u64 va, void* out, size_t n, Rights rights);
  bool write(u64 va, const void* in, size_t n, Rights rights);
  /// Device access by size; unnatural sizes go byte by byte.
  void device_read(u64 gpa, void* out, size_t n);
  void device_write(u64 gpa, const void* in, size_t n);
  /// After a write to RAM that no write tag vouched for.
  void wrote_ram(u64 offset, size_t n);

  enum class Prepared : u8 { Retry, Windowed, Fault };
  Prepared prepare(const Op* o, u64 va, u8 size, bool read, bool write);
  /// For a LOCK over two cache lines, which the TLB has: a window while no other vCPU runs.
  Prepared prepare_alone(const Op* o, u64 va, u8 size);
  void close_window();
  /// Legacy code has addresses up to 4 GiB: does this access reach beyond? Then #GP(0) in long
  /// mode, and without long mode it goes on at 0.
  bool beyond_4g(u64 va, size_t n);
  u64 behind(u64 va, u64 n) const;

  Cpu& c;
  Window window;

 private:
  /// The code segment of legacy code, as far as decoded blocks depend on it.
  struct CodeKey {
    u8 mode = 0;
    u64 base = 0;
    u32 limit = 0;
  };
  template <class F>
  bool walk_tables(u64 va, Access access, Rights rights, Translation& out);
  template <class F>
  u64 reserved_bits(int level, bool large) const;
  bool walk_fault(u64 va, Access access, Rights rights, bool present, bool reserved);
  template <class Entry>
  bool update_entry(u64 gpa, u64 old, u64 value);
  void enter(u64 va, Access access, Rights rights, const Translation& t, const memory::Slot& slot);
  void open_window(const Op* o, u64 va, u8 size, bool write);
  u64 device_read_word(u64 gpa, u8 size);
  void device_write_word(u64 gpa, u8 size, u64 value);

  /// What a TLB slot was filled from (same index).
  struct Side {
    u64 offset = 0;
    u64 page_size = 0;
    bool global = false;
  };
  CodeKey code_[2];
  Side side_[kTlbSets][kTlbSize];
  size_t sets_ = 2;                    // that have ever had an entry: SupervisorAc's is the last
  std::unique_ptr<TlbEntry[]> never_;  // made when alignment is first checked
  u16 local_[kTlbSets][kTlbSize];      // slots with a non-global entry since the last flush
  size_t local_count_[kTlbSets] = {};  // above kTlbSize: the list overflowed, sweep
  u64 large_low_ = ~0ull, large_high_ = 0;  // virtual range entered from large pages
  bool local_high_ = false;  // a non-global page of the upper half may have been executed
};

}  // namespace colo::soft
