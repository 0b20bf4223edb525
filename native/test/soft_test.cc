// The engine's own promises: precise faults, page-crossing accesses, self-modifying code, the dirty
// log against a set, exact budgets, interrupted string instructions, devices in the address space.
#include <atomic>
#include <cstdlib>
#include <ctime>
#include <set>
#include <thread>

#include "test/check.h"
#include "test/machine.h"

namespace {
using namespace colo;
using namespace colo::soft;
using test::Machine;
using vcpu::RunResult;

constexpr u64 kCode = 0x10000000, kData = 0x20000000, kStack = 0x30001000;
constexpr u64 kCodeGpa = 0x400000, kDataGpa = 0x500000, kStackGpa = 0x600000;

/// Code at kCode (4 pages), data at kData (8 pages, in descending order in RAM), one page of stack.
struct Box : Machine {
  explicit Box(bool user = false) {
    for (u64 i = 0; i < 4; i++) map(kCode + i * kPageSize, kCodeGpa + i * kPageSize, W | U);
    for (u64 i = 0; i < 8; i++) map(kData + i * kPageSize, data_gpa(i), W | U);
    map(kStack - kPageSize, kStackGpa, W | U);
    if (user) long_mode(true);
    c.r[RSP] = kStack;
    c.rip = kCode;
  }
  static u64 data_gpa(u64 page) { return kDataGpa + (7 - page) * kPageSize; }
  u64 data_at(u64 offset) { return data_gpa(offset >> 12) + (offset & 0xfff); }
  void put_code(u64 offset, std::initializer_list<int> bytes) { code(kCodeGpa + offset, bytes); }
  RunResult go(u64 at = kCode, u64 budget = 100000) {
    c.rip = at;
    return run(budget);
  }
};

void page_faults() {
  Box m;
  m.put_code(0, {0x48, 0xff, 0xc3, 0x48, 0x89, 0x18, 0xf4});  // inc rbx; mov [rax], rbx; hlt
  struct {
    u64 flags, error;
    bool user, wp;
    const char* what;
  } cases[] = {
      {0, 2, false, true, "not present"},
      {Machine::P, 3, false, true, "read-only, supervisor, WP"},
      {Machine::P | Machine::W, 7, true, true, "supervisor page, user write"},
      {Machine::P | Machine::U, 7, true, true, "read-only, user"},
  };
  for (auto& k : cases) {
    Box b(k.user);
    b.put_code(0, {0x48, 0xff, 0xc3, 0x48, 0x89, 0x18, 0xf4});
    b.put<u64>(b.pte(kData + 0x3000), k.flags ? b.data_gpa(3) | k.flags : 0);
    b.c.tlb_flush(true);
    b.c.r[RAX] = kData + 0x3008, b.c.r[RBX] = 7;
    CHECK(b.go() == RunResult::Halted);
    CHECK(b.vector() == PF);
    CHECK(b.c.cr2 == kData + 0x3008);
    CHECK(b.fault_error() == k.error);
    CHECK(b.fault_rip_with_error() == kCode + 3);
    CHECK(b.c.r[RBX] == 8);
    CHECK(b.vm.vcpu(0).icount() == 2);  // INC and the handler's HLT
  }
  // NX fetch, and a write through the supervisor's eyes with WP off
  m.put<u64>(m.pte(kData), m.data_gpa(0) | Machine::P | Machine::W | Machine::NX);
  m.c.tlb_flush(true);
  CHECK(m.go(kData) == RunResult::Halted && m.vector() == PF && m.fault_error() == 0x11 &&
        m.c.cr2 == kData);
  m.revive();
  m.put<u64>(m.pte(kData + 0x1000), m.data_gpa(1) | Machine::P);
  m.c.cr0 &= ~cr0::WP;
  m.c.tlb_flush(true);
  m.c.r[RAX] = kData + 0x1000;
  CHECK(m.go() == RunResult::Halted && m.vector() == -1);
  // reserved bit
  m.c.halted = false;
  m.put<u64>(m.pte(kData + 0x2000), m.data_gpa(2) | Machine::P | Machine::W | 1ull << 45);
  m.c.tlb_flush(true);
  m.c.r[RAX] = kData + 0x2000;
  CHECK(m.go() == RunResult::Halted && m.vector() == PF && m.fault_error() == 0xb);
  m.revive();
  m.c.r[RAX] = 0x800000000000;  // not canonical
  CHECK(m.go() == RunResult::Halted && m.vector() == GP);
}

void accessed_and_dirty() {
  Box m;
  m.put_code(0, {0x48, 0x8b, 0x18, 0xf4, 0x48, 0x89, 0x18,
                 0xf4});  // mov rbx,[rax]; hlt; mov [rax],rbx; hlt
  m.c.r[RAX] = kData;
  CHECK((m.get<u64>(m.pte(kData)) & 0x60) == 0);
  m.go();
  CHECK((m.get<u64>(m.pte(kData)) & 0x60) == 0x20);
  m.c.halted = false;
  m.go(kCode + 4);
  CHECK((m.get<u64>(m.pte(kData)) & 0x60) == 0x60);
}

void page_crossing() {
  Box m;
  m.put_code(0, {0x48, 0x01, 0x18, 0x48, 0x8b, 0x08, 0xf4});  // add [rax],rbx; mov rcx,[rax]; hlt
  for (u64 k = 1; k < 8; k++) {
    m.c.halted = false;
    m.c.r[RAX] = kData + 0x1000 - k, m.c.r[RBX] = 0x1122334455667788;
    for (u64 i = 0; i < 8; i++) *m.at(m.data_at(0x1000 - k + i), 1) = static_cast<u8>(0xf0 + i);
    CHECK(m.go() == RunResult::Halted);
    const u64 want = 0xf7f6f5f4f3f2f1f0ull + 0x1122334455667788ull;
    CHECK(m.c.r[RCX] == want);
    u64 seen = 0;
    for (u64 i = 0; i < 8; i++)
      seen |= static_cast<u64>(*m.at(m.data_at(0x1000 - k + i), 1)) << 8 * i;
    CHECK(seen == want);
  }
  // second page missing: nothing is written, CR2 names the second page
  m.c.halted = false;
  m.unmap(kData + 0x1000);
  m.c.tlb_flush(true);
  m.put<u32>(m.data_at(0xffc), 0x55555555);
  m.c.r[RAX] = kData + 0xffc;
  CHECK(m.go() == RunResult::Halted && m.vector() == PF && m.c.cr2 == kData + 0x1000);
  CHECK(m.get<u32>(m.data_at(0xffc)) == 0x55555555);
  // call, push, pop, ret across a stack page edge
  Box s;
  s.map(kStack, kStackGpa + 0x5000, Machine::W);
  s.put_code(0, {0xe8, 3, 0, 0, 0, 0x90, 0xf4, 0xf4, 0x6a, 0x55, 0x58,
                 0xc3});  // call +3; nop; hlt ... push 0x55; pop rax; ret
  s.c.r[RSP] = kStack + 4;
  CHECK(s.go() == RunResult::Halted && s.c.rip == kCode + 7 && s.c.r[RAX] == 0x55 &&
        s.c.r[RSP] == kStack + 4);
}

void crossing_instruction() {
  Box m;
  m.put_code(0xffd,
             {0x48, 0xb8, 1, 2, 3, 4, 5, 6, 7, 8, 0xf4});  // mov rax, imm64 over the page edge; hlt
  CHECK(m.go(kCode + 0xffd) == RunResult::Halted && m.c.r[RAX] == 0x0807060504030201);
  m.put_code(0x1002, {0x99});  // patch a byte on the second page
  m.c.halted = false;
  CHECK(m.go(kCode + 0xffd) == RunResult::Halted && m.c.r[RAX] == 0x0807060599030201);
  // the second page mapped elsewhere
  memcpy(m.at(kCodeGpa + 0x3000, 16), m.at(kCodeGpa + 0x1000, 16), 16);
  *m.at(kCodeGpa + 0x3000, 1) = 0x77;
  m.map(kCode + 0x1000, kCodeGpa + 0x3000, Machine::W);
  m.c.tlb_flush_page(kCode + 0x1000);
  m.c.halted = false;
  CHECK(m.go(kCode + 0xffd) == RunResult::Halted && m.c.r[RAX] == 0x0807060599037701);
  // missing second page: fault at its first byte, RIP at the instruction
  m.unmap(kCode + 0x1000);
  m.c.tlb_flush_page(kCode + 0x1000);
  m.c.halted = false;
  CHECK(m.go(kCode + 0xffd) == RunResult::Halted && m.vector() == PF && m.c.cr2 == kCode + 0x1000 &&
        m.fault_rip_with_error() == kCode + 0xffd);
}

void self_modifying() {
  Box m;
  // mov byte [rip+1], 0x42 ; mov al, 0x11 ; hlt   -- the store changes the immediate of the next
  // instruction of its own block
  m.put_code(0, {0xc6, 0x05, 0x01, 0, 0, 0, 0x42, 0xb0, 0x11, 0xf4});
  CHECK(m.go() == RunResult::Halted && (m.c.r[RAX] & 0xff) == 0x42);
  // next block: jump over, then the patched instruction; run twice so that links exist
  Box n;
  n.put_code(0, {0x88, 0x1d, 0x05, 0, 0, 0, 0xeb, 2, 0x90, 0x90, 0xb0, 0x11,
                 0xf4});  // mov [rip+5], bl; jmp +2; ..; mov al, imm; hlt
  for (u64 v : {0x21, 0x22, 0x23}) {
    n.c.halted = false;
    n.c.r[RBX] = v;
    CHECK(n.go() == RunResult::Halted && (n.c.r[RAX] & 0xff) == v);
  }
  // other page, through another mapping of the same physical page
  Box o;
  o.map(0x50000000, kCodeGpa + 0x1000, Machine::W);
  o.put_code(0x1000, {0xb0, 0x01, 0xc3});                     // mov al, 1; ret
  o.put_code(0, {0x88, 0x19, 0xe8, 0xf9, 0x0f, 0, 0, 0xf4});  // mov [rcx], bl; call 0x1000; hlt
  o.c.r[RCX] = 0x50000001;
  for (u64 v : {0x31, 0x32, 0x33}) {
    o.c.halted = false;
    o.c.r[RBX] = v;
    CHECK(o.go() == RunResult::Halted && (o.c.r[RAX] & 0xff) == v);
  }
  // a device writes code
  o.put_code(0x1001, {0x77});
  o.c.halted = false;
  CHECK(o.go(kCode + 2) == RunResult::Halted && (o.c.r[RAX] & 0xff) == 0x77);
  // REP STOS over code elsewhere
  o.c.halted = false;
  o.put_code(0x100, {0xf3, 0xaa, 0xe8, 0xf9, 0x0e, 0, 0, 0xf4});  // rep stosb; call 0x1000; hlt
  o.c.r[RDI] = 0x50000001, o.c.r[RCX] = 1, o.c.r[RAX] = 0x66;
  CHECK(o.go(kCode + 0x100) == RunResult::Halted && (o.c.r[RAX] & 0xff) == 0x66);
  // data next to code on one page stays correct and does not kill it
  const u64 killed = o.blocks().killed_blocks;
  o.put_code(0x200, {0x48, 0x89, 0x05, 0xf1, 3, 0, 0,
                     0xf4});  // mov [rip+0x3f1] (= 0x5f8 on this page), rax; hlt
  o.c.halted = false;
  o.c.r[RAX] = 0x1234567;
  const u64 before = o.blocks().killed_blocks;
  CHECK(o.go(kCode + 0x200) == RunResult::Halted && o.get<u64>(kCodeGpa + 0x5f8) == 0x1234567 &&
        o.blocks().killed_blocks == before && before >= killed);
}

void budget() {
  Box m;
  // a loop of 5: inc rax; add rbx,rax; xor rdx,rbx; dec rcx; jnz
  m.put_code(0, {0x48, 0xff, 0xc0, 0x48, 0x01, 0xc3, 0x48, 0x31, 0xda, 0x48, 0xff, 0xc9, 0x75, 0xf2,
                 0xf4});
  Box whole;
  whole.put_code(0, {0x48, 0xff, 0xc0, 0x48, 0x01, 0xc3, 0x48, 0x31, 0xda, 0x48, 0xff, 0xc9, 0x75,
                     0xf2, 0xf4});
  m.c.r[RCX] = whole.c.r[RCX] = 1000;
  CHECK(whole.go() == RunResult::Halted);
  CHECK(whole.vm.vcpu(0).icount() == 5001);
  u64 total = 0;
  RunResult r = RunResult::Budget;
  for (u64 n = 1; r == RunResult::Budget; n = n % 37 + 1) {
    r = m.run(n);
    if (r == RunResult::Budget) {
      total += n;
      CHECK(m.vm.vcpu(0).icount() == total);
    }
  }
  CHECK(r == RunResult::Halted && m.vm.vcpu(0).icount() == 5001);
  CHECK(memcmp(m.c.r, whole.c.r, 16 * 8) == 0 && m.c.rip == whole.c.rip &&
        m.c.flags() == whole.c.flags());
}

void kick() {
  Box m;
  m.put_code(0, {0xeb, 0xfe});  // jmp self
  for (int i = 0; i < 20; i++) {
    std::thread other([&] { m.vm.vcpu(0).kick(); });
    CHECK(m.go(kCode, ~0ull) == RunResult::Kicked);
    other.join();
  }
}

/// REP MOVS over many pages with kicks all the time gives the same memory as one run, and RIP stays
/// on it meanwhile.
void repeat_interrupted() {
  Box m;
  m.put_code(0, {0xf3, 0xa4, 0xf4});
  for (u64 i = 0; i < 0x3000; i++) *m.at(m.data_at(i), 1) = static_cast<u8>(i * 7 + (i >> 8));
  m.c.r[RSI] = kData + 5, m.c.r[RDI] = kData + 0x4003, m.c.r[RCX] = 0x2ff0;
  m.c.rip = kCode;
  int kicks = 0;
  RunResult r;
  do {
    m.vm.vcpu(0).kick();
    r = m.run();
    if (r == RunResult::Kicked) {
      r = m.run(1);
      kicks++;
    }
  } while (r != RunResult::Halted && kicks < 100);
  CHECK(r == RunResult::Halted && m.c.r[RCX] == 0 && m.c.r[RSI] == kData + 5 + 0x2ff0 &&
        m.vm.vcpu(0).icount() == 2);
  bool same = true;
  for (u64 i = 0; i < 0x2ff0; i++)
    same = same && *m.at(m.data_at(0x4003 + i), 1) == static_cast<u8>((i + 5) * 7 + ((i + 5) >> 8));
  CHECK(same);
  // a fault in the middle: registers say how far it came
  m.unmap(kData + 0x6000);
  m.c.tlb_flush(true);
  m.c.halted = false;
  m.c.r[RSI] = kData, m.c.r[RDI] = kData + 0x5f00, m.c.r[RCX] = 0x200;
  CHECK(m.go() == RunResult::Halted && m.vector() == PF && m.c.cr2 == kData + 0x6000 &&
        m.c.r[RCX] == 0x100 && m.c.r[RSI] == kData + 0x100 && m.fault_rip_with_error() == kCode);
}

/// REP MOVS and STOS of a few elements and of more, over each other as well, leave what one element
/// after the other leaves.
void short_repeats() {
  Box m;
  constexpr u64 kSource = 0x100, kSpan = 0x400;
  const u8 kRax[8] = {0x11, 0x22, 0x33, 0x44, 0x55, 0x66, 0x77, 0x88};
  m.put_code(0x00, {0xf3, 0xa4, 0xf4}), m.put_code(0x10, {0x66, 0xf3, 0xa5, 0xf4});
  m.put_code(0x20, {0xf3, 0xa5, 0xf4}), m.put_code(0x30, {0xf3, 0x48, 0xa5, 0xf4});
  m.put_code(0x40, {0xf3, 0xaa, 0xf4}), m.put_code(0x50, {0x66, 0xf3, 0xab, 0xf4});
  m.put_code(0x60, {0xf3, 0xab, 0xf4}), m.put_code(0x70, {0xf3, 0x48, 0xab, 0xf4});
  bool same = true;
  for (u64 form = 0; form < 8; form++)
    for (u64 n = 1; n <= 70; n++)
      for (const i64 distance : {-9, -1, 1, 3, 8, 65}) {
        const u64 size = 1u << (form & 3), target = kSource + static_cast<u64>(distance);
        u8 model[kSpan];
        for (u64 i = 0; i < kSpan; i++) *m.at(m.data_at(i), 1) = model[i] = static_cast<u8>(i * 37);
        for (u64 i = 0; i < n; i++)
          memmove(model + target + i * size, form < 4 ? model + kSource + i * size : kRax, size);
        m.c.halted = false;
        m.c.r[RSI] = kData + kSource, m.c.r[RDI] = kData + target, m.c.r[RCX] = n;
        memcpy(&m.c.r[RAX], kRax, 8);
        same = same && m.go(kCode + form * 16) == RunResult::Halted && m.c.r[RCX] == 0 &&
               m.c.r[RDI] == kData + target + n * size &&
               !memcmp(m.at(m.data_at(0), kSpan), model, kSpan);
      }
  CHECK(same);
}

/// Random stores of all kinds; the log must hold exactly the pages written (and the page tables
/// whose A or D bits changed).
void dirty_log() {
  Box m;
  m.put_code(0x00, {0x48, 0x89, 0x18, 0xf4});        // mov [rax], rbx
  m.put_code(0x10, {0xf0, 0x01, 0x18, 0xf4});        // lock add [rax], ebx
  m.put_code(0x20, {0x48, 0x8b, 0x18, 0xf4});        // mov rbx, [rax]
  m.put_code(0x30, {0xf3, 0xaa, 0xf4});              // rep stosb
  m.put_code(0x40, {0x53, 0xf4});                    // push rbx
  m.put_code(0x50, {0x48, 0x39, 0x18, 0xf4});        // cmp [rax], rbx
  m.put_code(0x60, {0x48, 0x0f, 0xc7, 0x08, 0xf4});  // cmpxchg16b [rax]
  srand(5);
  for (u64 i = 0; i < 8; i++) {  // settle A and D
    for (u64 at : {0x00u, 0x20u}) {
      m.c.halted = false;
      m.c.r[RAX] = kData + i * 0x1000;
      m.go(kCode + at);
    }
  }
  m.c.halted = false;
  m.go(kCode + 0x40);
  m.ram.start_dirty_log();
  for (int epoch = 0; epoch < 200; epoch++) {
    std::set<u32> model;
    for (int n = rand() % 12; n-- > 0;) {
      m.c.halted = false;
      const u64 offset = static_cast<u64>(rand()) % 0x7ff0;
      auto touch = [&](u64 from, u64 len) {
        for (u64 a = from; a < from + len; a++)
          model.insert(static_cast<u32>(m.ram.page_of(m.data_at(a))));
      };
      m.c.r[RAX] = kData + offset;
      switch (rand() % 8) {
        case 0:
          m.go(kCode + 0x00), touch(offset, 8);
          break;
        case 1:
          m.go(kCode + 0x10), touch(offset, 4);
          break;
        case 2:
          m.go(kCode + 0x20);
          break;
        case 3:
          m.c.r[RDI] = kData + offset / 2, m.c.r[RCX] = static_cast<u64>(rand()) % 0x1800 + 1;
          touch(offset / 2, m.c.r[RCX]);
          m.go(kCode + 0x30);
          break;
        case 4:
          m.c.r[RSP] = kStack - 64, m.go(kCode + 0x40);
          model.insert(static_cast<u32>(m.ram.page_of(kStackGpa)));
          break;
        case 5:
          m.go(kCode + 0x50);
          break;
        case 6:
          m.c.r[RAX] &= ~15ull, touch(offset & ~15ull, 16), m.go(kCode + 0x60);
          break;
        case 7:
          m.ram.mark_written(m.data_at(offset), 1), touch(offset, 1);
          break;
      }
    }
    const std::vector<u32> dirty = m.ram.take_dirty();
    CHECK(std::set<u32>(dirty.begin(), dirty.end()) == model);
  }
}

void devices() {
  Box m;
  std::vector<u64> log;
  m.map(0x60000000, 0xd0000000, Machine::W);
  m.bus.read = [&](u64 gpa, u8 size) {
    return log.push_back(gpa << 8 | size), 0x1122334455667788ull;
  };
  m.bus.write = [&](u64 gpa, u8 size, u64 v) {
    log.push_back(gpa << 8 | 0x80 | size), log.push_back(v);
  };
  m.c.r[RAX] = 0x60000010, m.c.r[RBX] = 0xdeadbeef;
  m.put_code(0, {0x8b, 0x08, 0x89, 0x58, 4, 0x66, 0x83, 0x08, 1, 0x80, 0x38, 0x88, 0x74, 1, 0xf4,
                 0xff, 0xc2, 0xf4});
  // mov ecx,[rax]; mov [rax+4],ebx; or word [rax],1; cmp byte [rax],0x88; je +1; hlt; inc edx; hlt
  m.c.r[RDX] = 0;
  CHECK(m.go() == RunResult::Halted && m.c.r[RCX] == 0x55667788 && m.c.r[RDX] == 1);
  CHECK((log == std::vector<u64>{0xd0000010ull << 8 | 4, 0xd0000014ull << 8 | 0x84, 0xdeadbeef,
                                 0xd0000010ull << 8 | 2, 0xd0000010ull << 8 | 0x82, 0x7789,
                                 0xd0000010ull << 8 | 1}));
}

void translations() {
  // the same code page under two address spaces, global and not; INVLPG; block links across pages
  // must not survive a remap
  Box m;
  m.put_code(0, {0xe9, 0xfb, 0x0f, 0, 0});  // jmp 0x1000
  m.put_code(0x1000, {0xb0, 1, 0xf4});
  m.put_code(0x2000, {0xb0, 2, 0xf4});
  CHECK(m.go() == RunResult::Halted && (m.c.r[RAX] & 0xff) == 1);
  m.map(kCode + 0x1000, kCodeGpa + 0x2000, Machine::W);
  m.c.tlb_flush_page(kCode + 0x1000);
  m.c.halted = false;
  CHECK(m.go() == RunResult::Halted && (m.c.r[RAX] & 0xff) == 2);
  m.map(kCode + 0x1000, kCodeGpa + 0x1000, Machine::W);
  m.c.tlb_flush(false);
  m.c.halted = false;
  CHECK(m.go() == RunResult::Halted && (m.c.r[RAX] & 0xff) == 1);
}

/// An MMIO write that raises an interrupt: it comes right after that instruction, wherever the
/// block began.
void device_interrupt_is_precise() {
  for (u64 skip : {0, 1, 2}) {
    Box m;
    m.map(0x60000000, 0xd0000000, Machine::W);
    m.put_code(0, {0x90, 0x90, 0x89, 0x18, 0x48, 0xff, 0xc1, 0x48, 0xff, 0xc1,
                   0xf4});  // nop; nop; mov [rax], ebx; inc rcx; inc rcx; hlt
    u64 seen = ~0ull;
    m.bus.write = [&](u64, u8, u64) { m.vm.vcpu(0).kick(); };
    m.c.r[RAX] = 0x60000000, m.c.r[RCX] = 0;
    CHECK(m.go(kCode + skip) == RunResult::Kicked);
    seen = m.c.r[RCX];
    CHECK(seen == 0 && m.c.rip == kCode + 4);
  }
}

/// What a checkpoint does: RAM scattered over decoded code, then a state loaded.
void checkpoint_replaces_code() {
  Box m;
  m.put_code(0, {0xb0, 1, 0xf4});
  CHECK(m.go() == RunResult::Halted && (m.c.r[RAX] & 0xff) == 1);
  vcpu::VcpuState s;
  m.vm.vcpu(0).save(s);
  std::vector<u8> page(kPageSize, 0x90);
  memcpy(page.data(), "\xb0\x02\xf4", 3);
  const u32 number = static_cast<u32>(m.ram.page_of(kCodeGpa));
  m.ram.scatter(&number, 1, page.data());
  s.regs.rip = kCode;
  s.mp_state.mp_state = KVM_MP_STATE_RUNNABLE;
  CHECK(m.vm.vcpu(0).check(s).empty());
  m.vm.vcpu(0).load(s);
  CHECK(m.run(100) == RunResult::Halted && (m.c.r[RAX] & 0xff) == 2);
}

/// Prints; a loaded machine must not fail a test.
void speed() {
  Box m;
  m.put_code(0, {0x48, 0x8b, 0x08, 0x48, 0x01, 0xcb, 0x48, 0x31, 0xd2, 0x48, 0x89, 0x58, 0x08, 0x48,
                 0xff, 0xce, 0x75, 0xee, 0xf4});
  // mov rcx,[rax]; add rbx,rcx; xor rdx,rdx; mov [rax+8],rbx; dec rsi; jnz
  m.c.r[RAX] = kData, m.c.r[RSI] = 20'000'000;
  const clock_t from = clock();
  CHECK(m.go(kCode, ~0ull) == RunResult::Halted);
  printf("plain loop: %.0f MIPS\n", 120.0 / (static_cast<double>(clock() - from) / CLOCKS_PER_SEC));
}

void arena_full() {
  Box m;
  // 8-byte stubs "inc rax; jmp rbx-less": each entry point decodes its own block, far more than the
  // arena holds
  m.map(0x70000000, 0x700000, Machine::W);
  u64 entry = 0;
  for (; entry < 0x1000 - 16; entry += 3) memcpy(m.at(0x700000 + entry, 3), "\x48\xff\xc0", 3);
  *m.at(0x700000 + entry, 1) = 0xf4;
  u64 runs = 0;
  while (m.blocks().flushes < 3 && runs < 2000000) {
    // a new alias each time: same bytes, new virtual page, new blocks
    const u64 va = 0x100000000 + (runs / 1000 << 12);
    if (runs % 1000 == 0) m.map(va, 0x700000, Machine::W);
    m.c.halted = false, m.c.r[RAX] = 0;
    const u64 start = runs % 1000 * 3;
    if (m.go(va + start, 100000) != RunResult::Halted || m.c.r[RAX] != (entry - start) / 3) break;
    runs++;
  }
  CHECK(m.blocks().flushes >= 3);
}

}  // namespace

int main() {
  page_faults(), accessed_and_dirty(), page_crossing(), crossing_instruction(), self_modifying(),
      budget(), kick(), repeat_interrupted(), short_repeats(), dirty_log(), devices(),
      translations(), arena_full();
  device_interrupt_is_precise(), checkpoint_replaces_code(), speed();
  return test::finish();
}
