// Goal: CR4.SMEP and CR4.SMAP keep code in inner rings off user pages, and no more than that (Intel
// SDM vol. 3, 4.6). Method: one access at a time, with what the TLB has learned before from
// accesses that were allowed; vector, error code, CR2 and RIP of each fault.
#include <string>

#include "test/check.h"
#include "test/machine.h"

namespace {
using namespace colo;
using namespace colo::soft;
using test::Machine;
using vcpu::RunResult;

/// None shares its place in the TLB with another, or with the system's tables.
constexpr u64 kCode = 0x10010000, kUser = 0x20011000, kKernel = 0x30012000, kUserCode = 0x40013000,
              kUserCodeGpa = 0x700000, kUserGpa = 0x500000;
const std::string kStac = "\x0f\x01\xcb", kClac = "\x0f\x01\xca";
const std::string kTouch("\x80\x03\0", 3), kVerr("\x0f\0\xe0", 3);  // add byte [rbx], 0; verr ax

struct Box : Machine {
  explicit Box(u64 features, const vcpu::CpuModel& model = test::most_of_soft())
      : Machine(32u << 20, model) {
    map(kCode, 0x400000, W), map(kUserCode, kUserCodeGpa, W | U);
    map(kUser, kUserGpa, W | U), map(kKernel, 0x600000, W);
    put<u64>(kGdt + 0x38, 0x00cff3000000ffff);
    c.cr4 |= features;
    c.tlb_flush(true), c.mode_changed();
    c.r[RSP] = kKernel + 0x800, c.r[RCX] = 4;
    for (const Reg r : {RBX, RDI}) c.r[r] = kUser + 0x100;
    c.r[RSI] = kKernel + 0x100;
  }
  /// Runs the code and a HLT behind it in the ring and with the TLB of now; the vector it ends in.
  int go(const std::string& bytes, u64 at = kCode) {
    if (at == kCode) code(0x400000, bytes + "\xf4");
    c.halted = false, c.pending = {}, c.rip = at;
    return run(1000) == RunResult::Halted ? vector() : -2;
  }
  bool page_fault(const std::string& bytes, u32 error, u64 address, u64 rip = kCode) {
    return go(bytes) == PF && fault_error() == error && c.cr2 == address &&
           fault_rip_with_error() == rip;
  }
  void access_flag(bool on) { c.set_flags(on ? flag::AC : 0); }
  /// To ring 3 without a word to the TLB; back by the fault of the user code's HLT.
  int as_user(const std::string& bytes) {
    code(kUserCodeGpa, bytes + "\xf4");
    const u64 sp = c.r[RSP];
    code(0x400000, std::string("\x48\xcf", 2));  // iretq
    const u64 frame[] = {kUserCode, 0x1b, 2, kUser + 0x800, 0x23};
    memcpy(at(0x600400, sizeof frame), frame, sizeof frame);
    c.r[RSP] = kKernel + 0x400, c.halted = false, c.rip = kCode;
    const int got = run(1000) == RunResult::Halted ? vector() : -2;
    c.r[RSP] = sp;
    return got == GP && fault_rip_with_error() == kUserCode + bytes.size() ? -1 : got;
  }
};

struct Operand {
  std::string code;
  bool writes;
  u64 at = kUser + 0x100;
};
const Operand kOperands[] = {
    {"\x48\x8b\x03", false},         // mov rax, [rbx]
    {"\x48\x89\x03", true},          // mov [rbx], rax
    {"\x01\x03", true},              // add [rbx], eax
    {"\xf0\x0f\xc1\x03", true},      // lock xadd [rbx], eax
    {"\x48\x0f\xc7\x0b", true},      // cmpxchg16b [rbx]
    {"\x0f\x10\x03", false},         // movups xmm0, [rbx]
    {"\xdd\x03", false},             // fld qword [rbx]
    {"\x0f\xae\x03", true},          // fxsave [rbx]
    {"\xf3\xa4", true},              // rep movsb
    {"\xf3\xab", true},              // rep stosd
    {"\xf3\xae", false},             // repe scasb
    {"\x0f\xae\x3b", false},         // clflush [rbx]
    {"\x0f\x01\x03", true},          // sgdt [rbx]
    {"\xff\x33", false},             // push [rbx]
    {"\x8f\x03", true},              // pop [rbx]
    {"\x50", true, kUser + 0xf8},    // push rax, on a user stack
    {"\x9c", true, kUser + 0xf8},    // pushf
    {"\xc3", false, kUser + 0x100},  // ret
    {"\x0f\xc3\x03", true},          // movnti [rbx], eax
};

/// Allowed first, so that the TLB knows the page, and then not; and by each operand anew.
void data() {
  for (const Operand& k : kOperands)
    for (const u64 smap : {u64{0}, u64{cr4::SMAP}})
      for (const bool known : {true, false}) {
        Box m(smap);
        m.put<u64>(kUserGpa + 0x100, kCode + 0x800), m.code(0x400800, "\xf4");
        const bool on_stack = k.code.size() == 1;
        const u64 sp = on_stack ? kUser + 0x100 : kKernel + 0x800;
        const auto again = [&] {
          m.c.r[RSP] = sp, m.c.r[RCX] = 4, m.c.r[RBX] = m.c.r[RDI] = kUser + 0x100;
          m.c.r[RSI] = kKernel + 0x100;
        };
        if (known) {
          CHECK(m.as_user(kTouch) == -1);
          again(), m.access_flag(true);
          CHECK(m.go(k.code) == -1);
          if (k.code == "\x48\x0f\xc7\x0b") m.put<u64>(kUserGpa + 0x100, kCode + 0x800);
        }
        again(), m.access_flag(false);
        if (smap) CHECK(m.page_fault(k.code, k.writes ? 3 : 1, k.at));
        else CHECK(m.go(k.code) == -1);
        CHECK(m.as_user(kTouch) == -1);
      }
}

/// Inside of one block, and by POPF.
void flag_opens_and_closes() {
  const std::string load = "\x8b\x03", store = "\x89\x03";
  Box m(cr4::SMAP);
  CHECK(m.go(kStac + load + store + kClac) == -1 && !(m.c.rflags & flag::AC));
  CHECK(m.page_fault(kStac + load + kClac + load, 1, kUser + 0x100, kCode + 8));
  CHECK(m.page_fault(kStac + store + kClac + store, 3, kUser + 0x100, kCode + 8));
  const std::string toggle("\x9c\x81\x34\x24\0\0\4\0\x9d", 9);  // pushf; xor dword [rsp], AC; popf
  m.access_flag(false);
  CHECK(m.go(toggle + load) == -1);
  CHECK(m.page_fault(toggle + load, 1, kUser + 0x100, kCode + 9));
  for (const std::string& insn : {kStac, kClac}) {
    m.access_flag(true);
    CHECK(m.as_user(insn) == UD);
    m.access_flag(true);
    for (const char* prefix : {"\x66", "\xf3", "\xf2", "\xf0"}) CHECK(m.go(prefix + insn) == UD);
    vcpu::CpuModel without = test::most_of_soft();
    without.features.ebx7 &= ~vcpu::Features::SMAP;
    Box no(0, without);
    CHECK(no.go(insn) == UD);
    no.c.r[RAX] = no.c.cr4 | cr4::SMAP;
    CHECK(no.go("\x0f\x22\xe0") == GP && no.fault_error() == 0);  // mov cr4, rax
  }
}

/// CR0.WP says nothing about it.
void read_only_pages() {
  Box m(cr4::SMAP);
  m.map(kUser, kUserGpa, Machine::U);
  m.c.cr0 &= ~cr0::WP;
  m.c.tlb_flush(true);
  CHECK(m.page_fault("\x89\x03", 3, kUser + 0x100));
  CHECK(m.go(kStac + "\x89\x03") == -1);
  m.c.cr0 |= cr0::WP;
  m.c.tlb_flush(true), m.access_flag(true);
  CHECK(m.page_fault("\x89\x03", 3, kUser + 0x100));
}

/// What the processor itself looks up stays closed whatever RFLAGS.AC says, and from ring 3.
void implicit_accesses() {
  Box m(cr4::SMAP);
  constexpr u64 kNull = kUser;
  m.c.ldt.base = kNull, m.c.ldt.limit = 0xff, m.c.ldt.unusable = 0, m.c.ldt.present = 1;
  m.put<u64>(kUserGpa + 8, 0x00cf93000000ffff);
  m.c.r[RAX] = 0x0c, m.access_flag(true);
  CHECK(m.go("\x8b\x03") == -1);                                       // mov eax, [rbx]: AC is on
  CHECK((m.c.r[RAX] = 0x0c, m.page_fault("\x8e\xd8", 1, kUser + 8)));  // mov ds, eax
  CHECK((m.c.r[RAX] = 0x0c, m.access_flag(true), m.page_fault(kVerr, 1, kUser + 8)));
  m.c.cr4 &= ~u64{cr4::SMAP}, m.c.tlb_flush(true);
  CHECK(m.go("\x8e\xd8") == -1);

  // The gates from 16 on, and the map of ports, lie in a user page.
  Box far(cr4::SMAP);
  constexpr u64 kTables = 0x50014000, kSplit = kTables + kPageSize;
  far.map(kTables, 0x800000, Machine::W), far.map(kSplit, 0x801000, Machine::W | Machine::U);
  memcpy(far.at(0x801000 - 256, 512), far.at(Machine::kIdt, 512), 512);
  far.c.idt.base = kSplit - 256;
  far.access_flag(true);
  CHECK(far.page_fault("\xcd\x12", 1, kSplit + 0x20));  // int 18
  far.c.idt.base = Machine::kIdt;
  memcpy(far.at(0x801000 - 0x68, 0x68), far.at(Machine::kTss, 0x68), 0x68);
  far.put<u16>(0x801000 - 2, 0x68);
  far.c.tr.base = kSplit - 0x68, far.c.tr.limit = 0x1000;
  CHECK(far.as_user("\xe4\x60") == PF);  // in al, 60
  CHECK(far.fault_error() == 1 && far.c.cr2 == kSplit + 0xc);
}

/// A frame goes to an inner stack as an access of code there: to a user page with AC, else not.
void frames() {
  for (const bool open : {true, false}) {
    Box m(cr4::SMAP);
    const u64 gate = Machine::kIdt + 16 * UD;
    m.put<u64>(gate, m.get<u64>(gate) & ~(7ull << 32));  // on the stack of now
    m.c.r[RSP] = kUser + 0x800, m.access_flag(open);
    CHECK(m.go("\x0f\x0b") == (open ? int(UD) : int(PF)));
    CHECK(open ? m.get<u64>(kUserGpa + 0x800 - 40) == kCode : m.fault_error() == 3);
  }
}

/// Code in a user page: SMEP alone forbids it, also where it has run before in either ring.
void code_fetches() {
  const std::string call = "\xff\xd2", to_cr4 = "\x0f\x22\xe0";  // call rdx; mov cr4, rax
  for (const bool known : {true, false}) {
    Box m(cr4::SMAP);
    m.code(kUserCodeGpa, "\xc3");
    m.c.r[RDX] = kUserCode;
    if (known) CHECK(m.go(call) == -1);
    m.c.r[RAX] = m.c.cr4 | cr4::SMEP;
    CHECK(m.page_fault(call + to_cr4 + call, 0x11, kUserCode, kUserCode));
    m.c.r[RSP] = kKernel + 0x800;
    if (known) CHECK(m.as_user("") == -1);
    CHECK(m.page_fault(call, 0x11, kUserCode, kUserCode));
    CHECK((m.access_flag(true), m.page_fault(call, 0x11, kUserCode, kUserCode)));
    m.c.r[RAX] = m.c.cr4 & ~u64{cr4::SMEP};
    m.code(kUserCodeGpa, "\xc3");
    CHECK(m.go(to_cr4 + call) == -1);
  }
  // What is data nobody may read can still be code, and INVLPG finds it.
  Box m(cr4::SMAP);
  m.c.r[RDX] = kUserCode;
  m.code(kUserCodeGpa, std::string("\xb8\1\0\0\0\xc3", 6));  // mov eax, 1; ret
  m.code(kUserCodeGpa + kPageSize, std::string("\xb8\2\0\0\0\xc3", 6));
  CHECK(m.go(call + "\x89\xc1" + call) == -1 && m.c.r[RAX] == 1);
  m.c.r[RBX] = kUserCode;
  CHECK(m.page_fault("\x8b\x03", 1, kUserCode));
  m.map(kUserCode, kUserCodeGpa + kPageSize, Machine::U);
  CHECK(m.go("\x0f\x01\x3b" + call) == -1 && m.c.r[RAX] == 2);  // invlpg [rbx]
}

/// The dirty log sees a write in each of its epochs, whose rights soever it had.
void dirty_log() {
  Box m(cr4::SMAP);
  constexpr u64 kPage = kUserGpa >> kPageShift;
  m.ram.start_dirty_log();
  const std::string write = kStac + "\x89\x03";
  for (int epoch = 0; epoch < 3; epoch++) {
    m.access_flag(false);
    CHECK(m.go(write) == -1 && m.ram.is_dirty(kPage));
    m.ram.take_dirty();
    CHECK(!m.ram.is_dirty(kPage));
  }
}

}  // namespace

int main() {
  data(), flag_opens_and_closes(), read_only_pages(), implicit_accesses(), frames(), code_fetches(),
      dirty_log();
  return test::finish();
}
