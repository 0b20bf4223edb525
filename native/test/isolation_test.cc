// What a guest must not do to its host: read its memory, make it hold more and more, keep a vCPU
// deaf, or stop the machine; and what its own pages promise it when devices, aliases and page edges
// meet. Each case is a program that once did.
#include <unistd.h>

#include <cstring>
#include <ctime>
#include <string>

#include "soft/execute/handlers.h"
#include "test/check.h"
#include "test/machine.h"

#pragma GCC diagnostic ignored "-Winvalid-offsetof"

namespace {
using namespace colo;
using namespace colo::soft;
using test::Machine;
using vcpu::RunResult;

constexpr u64 kCode = 0x10000000, kDev = 0x10100000, kStack = 0x30001000;
constexpr u64 kCodeGpa = 0x400000, kStackGpa = 0x600000;
constexpr u64 kForever = ~0ull;

/// CPU time, so that a loaded machine does not count.
double cpu_seconds() { return static_cast<double>(clock()) / CLOCKS_PER_SEC; }

/// Code at kCode (4 pages), one page of stack, and a page with no RAM behind it at kDev.
struct Box : Machine {
  explicit Box(u64 ram_size = 32u << 20, u64 rights = W) : Machine(ram_size) {
    for (u64 i = 0; i < 4; i++) map(kCode + i * kPageSize, kCodeGpa + i * kPageSize, rights);
    map(kStack - kPageSize, kStackGpa, rights);
    map(kDev, 0xd0000000, rights);
    c.r[RSP] = kStack;
  }
  /// opcode rel32 at va.
  void branch(u64 va, u64 gpa, int opcode, u64 target) {
    const u32 rel = static_cast<u32>(target - (va + 5));
    std::string bytes(1, static_cast<char>(opcode));
    code(gpa, bytes.append(reinterpret_cast<const char*>(&rel), 4));
  }
  RunResult go(u64 at = kCode, u64 budget = 1000000) {
    c.halted = false, c.rip = at;
    return run(budget);
  }
  u8 al() const { return static_cast<u8>(c.r[RAX]); }
};

// --- a CALL whose return address goes to a device: the operation runs on a window of the TLB that
// points into the host

constexpr i64 kBounce = offsetof(Cpu, bounce);

/// The target lies in the same page as the stack, so the window would answer the fetch with what
/// lies around Cpu::bounce.
void host_memory_is_not_code() {
  Box m;
  const u8 code[8] = {0xb8, 0x39, 0x05, 0, 0, 0xf4, 0xf4, 0xf4};  // mov eax, 1337; hlt
  memcpy(&m.c.r[R8], code, 8);
  const i64 registers = static_cast<i64>(offsetof(Cpu, r)) + 8 * R8 - kBounce;
  m.c.r[RSP] = kDev + 0xff8 + 8;
  m.branch(kCode, kCodeGpa, 0xe8, kDev + 0xff8 + static_cast<u64>(registers));
  CHECK(m.go() == RunResult::Halted && m.vector() == UD && m.c.r[RAX] == 0);
  CHECK(m.fault_rip() == kDev + 0xff8 + static_cast<u64>(registers));
  CHECK(!m.c.mmu->window.open);
}

/// The same through every other last operation of a block: CALL r, RET, and a fused compare.
void no_block_is_left_with_a_window() {
  Box m;
  // call rdx; ret; cmp [rbx], 0; jne +0
  const std::string last[] = {"\xff\xd2", "\xc3", std::string("\x83\x3b\x00\x75\x00", 5)};
  for (const std::string& code : last) {
    m.revive();
    m.code(kCodeGpa, code + "\xf4");
    m.bus.read = [](u64, u8) { return kDev + 0x200; };
    m.c.r[RSP] = m.c.r[RBX] = kDev + 0x100, m.c.r[RDX] = kDev + 0x200;
    CHECK(m.go() == RunResult::Halted && (m.vector() == UD || code[0] == '\x83'));
    CHECK(!m.c.mmu->window.open);
  }
}

// --- translations and code that something else has replaced meanwhile

/// Three pages with one TLB index: what the window displaced must not come back with another page's
/// facts.
struct SameSlot : Box {
  static constexpr u64 index = (kDev >> 12) & (kTlbSize - 1);
  static constexpr u64 T = 0x20000000 | index << 12, X = 0x24000000 | index << 12,
                       Alias = 0x28005000;
  static constexpr u64 t_gpa = 0x800000, x_gpa = 0x801000, other_gpa = 0x802000;
  explicit SameSlot(u64 flags_of_x) {
    map(T, t_gpa, W), map(X, x_gpa, W | flags_of_x), map(Alias, t_gpa, W);
    code(x_gpa, "\x48\x89\xcc");  // mov rsp, rcx
    branch(X + 3, x_gpa + 3, 0xe9, kCode + 0x100);
    c.r[RDI] = T, c.r[RDX] = Alias, c.r[RCX] = kStack, c.r[RSP] = kDev + 8;
  }
};

void window_keeps_write_tags_honest() {
  SameSlot m(0);
  m.code(SameSlot::t_gpa, "\xb0\x01\xc3");               // mov al, 1; ret
  m.code(kCodeGpa, std::string("\xc6\x47\x08\x00", 4));  // mov byte [rdi+8], 0: a write tag for T
  m.branch(kCode + 4, kCodeGpa + 4, 0xe8, SameSlot::X);
  // call rdx; mov bl, al; mov byte [rdi+1], 2; call rdx; hlt
  m.code(kCodeGpa + 0x100, "\xff\xd2\x88\xc3\xc6\x47\x01\x02\xff\xd2\xf4");
  CHECK(m.go() == RunResult::Halted && m.vector() < 0);
  CHECK((m.c.r[RBX] & 255) == 1 && m.al() == 2);
}

void window_keeps_local_translations_local() {
  SameSlot m(Machine::G);
  m.put<u64>(SameSlot::t_gpa, 0xaaaa), m.put<u64>(SameSlot::other_gpa, 0xbbbb);
  m.code(kCodeGpa, "\x48\x8b\x07");  // mov rax, [rdi]
  m.branch(kCode + 3, kCodeGpa + 3, 0xe8, SameSlot::X);
  // mov [rsi], rbp (the page-table entry of T); mov rax, cr3; mov cr3, rax; mov rbx, [rdi]; hlt
  m.code(kCodeGpa + 0x100, "\x48\x89\x2e\x0f\x20\xd8\x0f\x22\xd8\x48\x8b\x1f\xf4");
  m.map(0x2c007000, m.pte(SameSlot::T) & kPageMask, Machine::W);
  m.c.r[RSI] = 0x2c007000 + (m.pte(SameSlot::T) & 0xfff), m.c.r[RBP] = SameSlot::other_gpa | 0x63;
  CHECK(m.go() == RunResult::Halted && m.c.r[RBX] == 0xbbbb);
}

/// A non-global page of the upper half, run after MOV CR3 has brought other tables; read first, or
/// not.
void upper_half_follows_cr3(bool read_first) {
  Box m;
  const u64 va = 0xffff900000005000, one = 0x900000, two = 0x901000, pml4 = 0xa00000;
  m.map(va, one, Machine::W);
  m.code(one, "\xb0\x01\xc3"), m.code(two, "\xb0\x02\xc3");
  memcpy(m.at(pml4, kPageSize), m.at(Machine::kTables, kPageSize), kPageSize);
  m.put<u64>(pml4 + 8 * (va >> 39 & 511), (pml4 + 0x1000) | 7);
  m.put<u64>(pml4 + 0x1000 + 8 * (va >> 30 & 511), (pml4 + 0x2000) | 7);
  m.put<u64>(pml4 + 0x2000 + 8 * (va >> 21 & 511), (pml4 + 0x3000) | 7);
  m.put<u64>(pml4 + 0x3000 + 8 * (va >> 12 & 511), two | 3);
  const std::string look = read_first ? "\x8a\x0a" : "\x90\x90";  // mov cl, [rdx]
  // call rdx; mov bl, al; mov cr3, rsi; call rdx; hlt
  m.code(kCodeGpa, look + "\xff\xd2\x88\xc3\x0f\x22\xde" + look + "\xff\xd2\xf4");
  m.c.r[RDX] = va, m.c.r[RSI] = pml4;
  CHECK(m.go() == RunResult::Halted && (m.c.r[RBX] & 255) == 1 && m.al() == 2);
}

/// An instruction that crosses from a page to the same page again: a store to either part is
/// noticed.
void crossing_into_itself() {
  Box m;
  const u64 va = 0x21000000, page = 0x910000;
  m.map(va, page, Machine::W), m.map(va + 0x1000, page, Machine::W),
      m.map(0x22000000, page, Machine::W);
  m.map(va + 0x20000, 0x911000, Machine::W), m.map(va + 0x30000, 0x912000, Machine::W);
  m.code(0x911300, "\xb0\x01\xc3"), m.code(0x912300, "\xb0\x02\xc3");
  const u32 rel = static_cast<u32>(va + 0x20300 - (va + 0x1002));
  m.code(page + 0xffd, std::string("\xe9") + static_cast<char>(rel) + static_cast<char>(rel >> 8));
  m.code(page, std::string{static_cast<char>(rel >> 16), static_cast<char>(rel >> 24)});
  m.code(page + 0x400, "\x90\xc3");
  // call rdx; mov bl, al; call rsi; mov byte [rdi+0x400], 0x90; inc byte [rdi]; call rdx; hlt
  m.code(
      kCodeGpa,
      std::string("\xff\xd2\x88\xc3\xff\xd6\xc6\x87\x00\x04\x00\x00\x90\xfe\x07\xff\xd2\xf4", 18));
  m.c.r[RDX] = va + 0xffd, m.c.r[RSI] = va + 0x400, m.c.r[RDI] = 0x22000000;
  CHECK(m.go() == RunResult::Halted && (m.c.r[RBX] & 255) == 1 && m.al() == 2);
}

// --- a vCPU that hears nothing

/// Operands of everything that probes before it stores, in the last page of the address space: they
/// end there, not at address 0.
void operands_at_the_end_of_the_address_space() {
  Box m;
  const u64 last = 0xfffffffffffff000;
  m.map(last, 0xb00000, Machine::W);
  m.unmap(0), m.c.tlb_flush(true);
  const std::string all[] = {
      std::string("\x0f\xae\x00", 3),      // fxsave [rax]
      "\x48\x0f\xc7\x08",                  // cmpxchg16b [rax]
      "\x0f\xc7\x08",                      // cmpxchg8b [rax]
      "\xdb\x38",                          // fstp tbyte [rax]
      "\xd9\x30",                          // fnstenv [rax]
      "\x0f\xae\x18",                      // stmxcsr [rax]
      std::string("\xc8\x00\x00\x03", 4),  // enter 0, 3
      "\x6c",                              // insb
  };
  for (const std::string& code : all) {
    m.revive();
    m.code(kCodeGpa, code + "\xf4");
    m.c.r[RAX] = m.c.r[RDI] = last + 0x800, m.c.r[RSP] = m.c.r[RBP] = last + 0xc00;
    CHECK(m.go() == RunResult::Halted && m.vector() == -1);
  }
}

/// Nothing retires, and still a budget ends; how it is split makes no difference.
void handler_that_cannot_be_fetched() {
  u64 rip[2], icount[2];
  for (const bool split : {false, true}) {
    Box m;
    for (const int v : {UD, PF})
      m.put<u64>(Machine::kIdt + 16 * v, 0x5000'8e01'0008'0000);  // 0x50000000 is not mapped
    m.code(kCodeGpa, "\x90\x0f\x0b");
    m.c.rip = kCode;
    RunResult r = RunResult::Budget;
    for (int i = 0; i < (split ? 40 : 1) && r == RunResult::Budget; i++) r = m.run(split ? 1 : 40);
    CHECK(r == RunResult::Budget);
    rip[split] = m.c.rip, icount[split] = m.vm.vcpu(0).icount();
  }
  CHECK(rip[0] == 0x50000000 && rip[1] == rip[0] && icount[0] == 40 && icount[1] == 40);
}

// --- work and memory that grow

/// n aliases of one instruction that crosses into one other page.
void run_aliases(Box& m, u64 n) {
  const u64 base = 0x100000000000, first = 0x8000000, second = 0x8001000;
  for (u64 i = 0; i < n; i++)
    m.map(base + i * 0x2000, first, Machine::W),
        m.map(base + i * 0x2000 + 0x1000, second, Machine::W);
  m.map(0x30010000, first, Machine::W);
  m.code(first + 0xffd, "\x48\xb8\x01\x02\x03\x04\x05\x06\x07\x08\xc3");  // mov rax, imm64; ret
  // call rdx; add rdx, 0x2000; dec rcx; jnz; hlt
  m.code(kCodeGpa, std::string("\xff\xd2\x48\x81\xc2\x00\x20\x00\x00\x48\xff\xc9\x75\xf2\xf4", 15));
  m.code(kCodeGpa + 0x100, "\xc6\x07\x48\xf4");  // mov byte [rdi], 0x48; hlt
  m.c.r[RDX] = base + 0xffd, m.c.r[RCX] = n, m.c.r[RDI] = 0x30010ffd;
  CHECK(m.go(kCode, kForever) == RunResult::Halted && m.vector() < 0);
}

/// A store into code costs what it drops, not its square: this one took two seconds.
void one_store_into_many_blocks() {
  Box m(256u << 20);
  run_aliases(m, 8000);
  const u64 killed = m.blocks().killed_blocks;
  const double from = cpu_seconds();
  CHECK(m.go(kCode + 0x100) == RunResult::Halted);
  CHECK(cpu_seconds() - from < 0.5);
  CHECK(m.blocks().killed_blocks - killed == 8000);
}

/// More blocks of one page than a store may have to look at are dropped on the way.
void blocks_of_a_page_are_bounded() {
  Box m(256u << 20);
  run_aliases(m, 3 * kMaxPageBlocks / 2);
  CHECK(m.blocks().killed_blocks >= kMaxPageBlocks && m.blocks().flushes == 1);
  CHECK(m.c.r[RAX] == 0x0807060504030201);
}

/// Many call sites, one target in another page that is rewritten each round: the links of the past
/// leave nothing behind.
void links_leave_nothing() {
  Box m;
  const u64 base = 0xffffa00000000000, target = 0xffffa00040000000, sites = 3000, rounds = 300;
  for (u64 i = 0; i < 5; i++)
    m.map(base + i * kPageSize, 0x1000000 + i * kPageSize, Machine::W | Machine::G);
  m.map(target, 0x900000, Machine::W | Machine::G),
      m.map(target + 0x10000, 0x900000, Machine::W | Machine::G);
  for (u64 n = 0; n < sites; n++) m.branch(base + 5 * n, 0x1000000 + 5 * n, 0xe8, target);
  const u64 end = 5 * sites;
  // mov byte [rdi], 0x90; dec r12; jnz +1; hlt
  m.code(0x1000000 + end, "\xc6\x07\x90\x49\xff\xcc\x75\x01\xf4");
  m.branch(base + end + 9, 0x1000000 + end + 9, 0xe9, base);
  m.code(0x900000, "\x90\xc3");
  m.c.r[RDI] = target + 0x10000, m.c.r[R12] = rounds;
  CHECK(m.go(base, kForever) == RunResult::Halted && m.vector() < 0);
  CHECK(m.blocks().flushes == 1 && m.blocks().held() < 4u << 20);
}

/// Vector instructions in all their encodings: their host code is built, dropped and built again.
void thunks_are_bounded() {
  Box m;
  const u64 code = 0x40000000, gpa = 0x1000000;
  std::string bytes;
  for (const char prefix : {'\x66', '\xf2', '\xf3'})
    for (int reg = 0; reg < 64; reg++)
      for (int imm = 0; imm < 256; imm++)
        for (const char rex : {'\x40', '\x41', '\x44', '\x45'})
          (bytes += prefix) +=
              {rex, '\x0f', '\x70', static_cast<char>(0xc0 | reg), static_cast<char>(imm)};
  bytes += '\xf4';
  for (u64 at = 0; at < bytes.size(); at += kPageSize) m.map(code + at, gpa + at, Machine::W);
  m.code(gpa, bytes);
  size_t most = 0;
  for (int i = 0; i < 2; i++) {
    CHECK(m.go(code, kForever) == RunResult::Halted && m.vector() < 0);
    most = std::max(most, m.c.thunks.bytes());
  }
  CHECK(most < kMaxThunkBytes + (1u << 20) && m.blocks().flushes > 1);
}

/// A device that writes into code while the vCPU does not look.
void writes_of_devices_are_bounded() {
  Box m;
  m.code(kCodeGpa, "\xb0\x01\xf4");
  CHECK(m.go() == RunResult::Halted && m.al() == 1);
  for (int i = 0; i < 200000; i++) m.code(kCodeGpa + 1, std::string(1, static_cast<char>(i)));
  CHECK(m.blocks().held() < 4u << 20);
  CHECK(m.go() == RunResult::Halted && m.al() == static_cast<u8>(199999));
}

/// RAM goes on without the machine: no page of it is any vCPU's code then.
void code_ends_with_its_machine() {
  memory::GuestRam ram(1 << 20);
  test::TestClock clock;
  test::TestBus bus;
  {
    SoftVm vm(ram, {&bus}, clock);
    Cpu& c = vm.soft_vcpu().cpu();
    *ram.hva(0x1000, 1) = 0xf4;
    c.seg[CS].base = 0, c.rip = 0x1000;
    CHECK(vm.vcpu(0).run(10) == RunResult::Halted && ram.code_flag(1) == 1);
  }
  for (u64 page = 0; page < ram.page_count(); page++) CHECK(ram.code_flag(page) == 0);
}

}  // namespace

int main() {
  alarm(300);  // a vCPU that cannot be stopped is a failure, not a wait
  host_memory_is_not_code(), no_block_is_left_with_a_window();
  window_keeps_write_tags_honest(), window_keeps_local_translations_local();
  upper_half_follows_cr3(false), upper_half_follows_cr3(true), crossing_into_itself();
  operands_at_the_end_of_the_address_space(), handler_that_cannot_be_fetched();
  one_store_into_many_blocks(), blocks_of_a_page_are_bounded(), links_leave_nothing(),
      thunks_are_bounded(), writes_of_devices_are_bounded(), code_ends_with_its_machine();
  return test::finish();
}
