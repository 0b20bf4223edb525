// MSR rules, CPUID, kvmclock, and the state images: what is saved comes back byte for byte, and
// what must not be loaded is refused.
#include "soft/system/state.h"

#include <time.h>

#include "test/system_fixture.h"

namespace colo::test {

namespace {

using F = SystemFixture;

void msr_rules() {
  F m;
  Cpu& c = m.c;
  u64 v;
  auto takes = [&](u32 index, u64 value) {
    return m.ok(m.wrmsr(index, value)) && m.ok(m.rdmsr(index, v)) && v == value;
  };
  auto refuses = [&](u32 index, u64 value) { return m.faults(m.wrmsr(index, value), GP, 0); };
  EXPECT(takes(0xc0000082, 0xffffffff81000000));
  EXPECT(refuses(0xc0000082, 0x8000'0000'0000));
  EXPECT(refuses(0xc0000100, 0x8000'0000'0000));
  EXPECT(takes(0xc0000100, 0x7fff'ffff'f000));
  EQUAL(c.seg[FS].base, 0x7fff'ffff'f000);
  EXPECT(takes(0xc0000102, 0xffff888000000000));
  EXPECT(takes(0x277, 0x0407050600070106));
  EXPECT(refuses(0x277, 0x0407050600070102));
  EXPECT(takes(0x2ff, 0xc06));
  EXPECT(refuses(0x2ff, 0xc03));
  EXPECT(takes(0x26f, 0x0606060606060606));
  EXPECT(refuses(0x250, 0x0606060606060602));
  EXPECT(takes(0x200, 0xc0000000));
  EXPECT(takes(0x201, 0xffc0000800));
  EXPECT(refuses(0x201, 1ull << 40));
  EXPECT(refuses(0x202, 2));
  EXPECT(refuses(0x210, 0));
  EXPECT(refuses(0xc0000080, c.efer | 1 << 12));           // SVME
  EXPECT(refuses(0xc0000080, c.efer & ~efer::LME));        // while paging
  EXPECT(m.ok(m.wrmsr(0xc0000080, c.efer & ~efer::LMA)));  // ignored
  EXPECT(c.long_mode());
  engine = {};
  EXPECT(m.ok(m.wrmsr(0xc0000080, c.efer & ~efer::NXE)));
  EQUAL(engine.full_flushes, 1);
  EXPECT(refuses(0xfe, 0x508));
  EXPECT(m.ok(m.rdmsr(0xfe, v)) && v == 0x508);
  EXPECT(m.ok(m.rdmsr(0x8b, v)) && v == 0x01000065);
  EXPECT(m.ok(m.wrmsr(0xc0010015, 0x40)) && m.ok(m.rdmsr(0xc0010015, v)) && v == 0);
  EXPECT(m.ok(m.rdmsr(0xc0011029, v)) && (v & 2));
  for (u32 unknown : {0x48u, 0x10au, 0xc0000104u, 0x4b564d02u, 0x4b564dffu, 0xc001100du, 0x900u})
    EXPECT(m.faults(m.rdmsr(unknown, v), GP, 0));
  m.ring(3);
  EXPECT(m.faults(m.rdmsr(0x10, v), GP, 0));
  EXPECT(refuses(0xc0000100, 0));
}

void time_stamp_counter() {
  F m;
  Cpu& c = m.c;
  u64 v;
  EXPECT(m.ok(m.rdmsr(0x10, v)));
  EQUAL(v, 5000);
  m.clock.ns = 7000;
  EXPECT(m.ok(m.wrmsr(0x10, 100)));
  EXPECT(m.ok(m.rdmsr(0x3b, v)));
  EQUAL(v, u64(100 - 7000));
  m.clock.ns = 7050;
  EXPECT(m.run(1, 0x31) == Step::Next);
  EQUAL(c.r[RDX] << 32 | c.r[RAX], 150);
  EXPECT(m.ok(m.wrmsr(0x3b, 0)));
  EQUAL(sys::guest_tsc(c), 7050);
  EXPECT(m.ok(m.wrmsr(0xc0000103, 9)));
  EXPECT(m.run(1, 0x01, {.modrm = 0xf9}) == Step::Fault && c.pending.vector == UD);
  c.pending = {};
  vcpu::CpuModel with_rdtscp = vcpu::soft_v1();
  with_rdtscp.features.edx81 |= vcpu::Features::RDTSCP;
  c.model = &with_rdtscp;
  EXPECT(m.run(1, 0x01, {.modrm = 0xf9}) == Step::Next);
  EQUAL(c.r[RCX], 9);
  m.ring(3);
  EXPECT(m.run(1, 0x31) == Step::Next);
  c.cr4 |= cr4::TSD;
  EXPECT(m.faults(m.run(1, 0x31), GP, 0));
}

void apic_registers() {
  F m;
  u64 v;
  const u64 base = 0xfee00900;
  EXPECT(m.ok(m.rdmsr(0x1b, v)));
  EQUAL(v, base);
  EXPECT(m.faults(m.rdmsr(0x802, v), GP, 0));  // not in x2APIC mode
  EXPECT(m.ok(m.wrmsr(0x1b, base | sys::kX2apicMode)));
  EXPECT(m.ok(m.rdmsr(0x802, v)));
  EQUAL(v, 0);
  EXPECT(m.faults(m.wrmsr(0x1b, base), GP, 0));  // x2APIC to xAPIC is not a way
  EXPECT(m.faults(m.wrmsr(0x1b, base | 1ull << 41), GP, 0));
  u32 id[4];
  EXPECT(m.ok(m.wrmsr(0x1b, base & ~0x800ull)));
  cpuid(1, 0, id, m.c);
  EXPECT(!(id[3] & 1 << 9));  // CPUID hides a disabled APIC
}

void cpuid_model() {
  F m;
  Cpu& c = m.c;
  c.r[RAX] = 0xffffffff00000000;
  EXPECT(m.run(1, 0xa2) == Step::Next);
  char vendor[13] = {};
  for (int i = 0; i < 4; i++)
    vendor[i] = c.r[RBX] >> 8 * i, vendor[4 + i] = c.r[RDX] >> 8 * i,
    vendor[8 + i] = c.r[RCX] >> 8 * i;
  EXPECT(!strcmp(vendor, "AuthenticAMD"));
  EQUAL(c.r[RAX], 7);
  u32 id[4];
  cpuid(1, 0, id, c);
  EQUAL(id[2], 0x80202000);
  EQUAL(id[3], 0x078bfbfd);
  cpuid(0x80000001, 0, id, c);
  EQUAL(id[3], 0x21d3fbfd & ~(1u << 19) & ~(1u << 25));
  cpuid(0x40000000, 0, id, c);
  EXPECT(!memcmp(id + 1, "KVMKVMKVM\0\0\0", 12));
  cpuid(0x40000001, 0, id, c);
  EXPECT((id[0] & 1 << 24) && (id[0] & 1 << 3));
  cpuid(0x40000010, 0, id, c);
  EXPECT(!id[0] && !id[1]);  // frequencies differ between backends
  cpuid(0x80000008, 0, id, c);
  EQUAL(id[0], 0x3028);
  cpuid(0x80000007, 0, id, c);
  EQUAL(id[3], 0);
  cpuid(0x12345678, 0, id, c);
  EXPECT(!(id[0] | id[1] | id[2] | id[3]));
}

u64 guest_clock(F& m, u64 gpa) {  // as the guest computes it
  EXPECT(!(m.peek32(gpa) & 1));
  const u64 delta = sys::guest_tsc(m.c) - m.peek64(gpa + 8);
  const u32 mul = m.peek32(gpa + 24);
  const i8 shift = static_cast<i8>(*m.ram.hva(gpa + 28, 1));
  return m.peek64(gpa + 16) + static_cast<u64>((u128(delta << shift) * mul) >> 32);
}

void paravirtual_clock() {
  F m;
  m.ram.start_dirty_log();
  EXPECT(m.ok(m.wrmsr(0x4b564d01, at::DATA | 1)));
  EXPECT(m.ram.is_dirty(at::DATA >> 12));
  EQUAL(m.peek32(at::DATA), 2);
  EQUAL(*m.ram.hva(at::DATA + 29, 1), 1);
  m.clock.ns += 123456789;
  EQUAL(guest_clock(m, at::DATA), m.clock.ns);
  EXPECT(m.ok(m.wrmsr(0x10, 42)));  // the TSC jumps, the clock does not
  EQUAL(m.peek32(at::DATA), 4);
  EQUAL(guest_clock(m, at::DATA), m.clock.ns);
  m.clock.ns += 1000;
  kvmclock_update(m.c);
  EQUAL(m.peek32(at::DATA), 4);  // still right: not a byte changes
  m.poke64(at::DATA + 16, 0);
  kvmclock_update(m.c);
  EQUAL(m.peek32(at::DATA), 6);
  EQUAL(guest_clock(m, at::DATA), m.clock.ns);
  kvmclock_guest_stopped(m.c);
  EQUAL(*m.ram.hva(at::DATA + 29, 1), 3);
  EQUAL(m.peek32(at::DATA), 8);
  EQUAL(guest_clock(m, at::DATA), m.clock.ns);
  m.ram.take_dirty();
  kvmclock_guest_stopped(m.c), kvmclock_update(m.c);  // not taken yet: nothing to say
  EXPECT(!m.ram.is_dirty(at::DATA >> 12));
  EXPECT(m.ok(m.wrmsr(0x10, 43)));  // a new record does not swallow the flag
  EQUAL(*m.ram.hva(at::DATA + 29, 1), 3);
  *m.ram.hva(at::DATA + 29, 1) = 1;  // as the guest takes it
  kvmclock_update(m.c);
  EQUAL(*m.ram.hva(at::DATA + 29, 1), 1);
  kvmclock_guest_stopped(m.c);
  EQUAL(*m.ram.hva(at::DATA + 29, 1), 3);
  EXPECT(m.ram.is_dirty(at::DATA >> 12));
  EXPECT(m.ok(m.wrmsr(0x4b564d01, ~1ull | 1)));  // nowhere: nothing happens
  kvmclock_guest_stopped(m.c);
  EXPECT(m.ok(m.wrmsr(0x4b564d00, at::DATA + 64)));
  timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  const i64 wall = m.peek32(at::DATA + 68);
  EXPECT(wall >= now.tv_sec - 2 && wall <= now.tv_sec);
}

/// Distinct, valid content everywhere.
void fill(F& m) {
  Cpu& c = m.c;
  for (int i = 0; i < 16; i++) c.r[i] = 0x1111111111111111ull * i + 5;
  c.rip = 0xffffffff81234567;
  c.set_flags(flag::CF | flag::ZF | flag::IF | flag::DF | flag::ID);
  c.cr2 = 0xdead000;
  c.dr[1] = 0x1234, c.dr7 = 0x401;
  c.seg[GS].base = 0xffff888000000000;
  for (int i = 32; i < 416; i++) c.fx.bytes[i] = u8(i * 13 + 1);
  c.shadow = true;
  for (u32 index : sys::kPlainMsrs)
    if (sys::msr_valid(index, 0x10006)) *sys::msr_slot(c.msr, index) = 0x10006;
  m.wrmsr(0x10, 99);
  m.wrmsr(0x4b564d01, at::DATA | 1);
  m.wrmsr(0x1b, 0xfee00d00);
  m.wrmsr(0x80f, 0x1ff);
  m.wrmsr(0x832, 0x40030);  // TSC deadline mode
  m.wrmsr(0x6e0, 123456);
  c.chip->set_cr8(3);
}

template <class T>
bool same(const T& a, const T& b) {
  return !memcmp(&a, &b, sizeof a);
}

void expect_same(const vcpu::VcpuState& a, const vcpu::VcpuState& b) {
  EXPECT(same(a.regs, b.regs));
  EXPECT(same(a.sregs, b.sregs));
  EXPECT(same(a.debugregs, b.debugregs));
  EXPECT(same(a.xsave, b.xsave));
  EXPECT(same(a.xcrs, b.xcrs));
  EXPECT(same(a.events, b.events));
  EXPECT(same(a.mp_state, b.mp_state));
  EXPECT(same(a.lapic, b.lapic));
  EXPECT(a.msrs.size() == b.msrs.size() &&
         !memcmp(a.msrs.data(), b.msrs.data(), a.msrs.size() * sizeof a.msrs[0]));
}

vcpu::VcpuState saved(const Cpu& c) {
  vcpu::VcpuState s;
  memset(&s.regs, 0xee, sizeof s.regs);
  memset(&s.sregs, 0xee, sizeof s.sregs);
  memset(&s.events, 0xee, sizeof s.events);
  memset(&s.xsave, 0xee, sizeof s.xsave);
  save_state(c, s);
  return s;
}

void round_trip(void (*vary)(F&)) {
  F m, other;
  fill(m);
  vary(m);
  const vcpu::VcpuState before = saved(m.c);
  const std::string complaint = check_state(m.c, before);
  if (!EXPECT(complaint.empty())) printf("  %s\n", complaint.c_str());
  reset_state(m.c);
  m.chip.reset();
  load_state(m.c, before);
  expect_same(before, saved(m.c));
  load_state(other.c, before);
  other.clock.ns = m.clock.ns;
  expect_same(before, saved(other.c));
}

void round_trips() {
  round_trip([](F&) {});
  round_trip([](F& m) { m.ring(3), m.c.shadow = false, m.c.halted = true; });
  round_trip([](F& m) { m.c.fault_page(0x1234, 2); });
  round_trip([](F& m) { m.c.raise(UD); });
  round_trip([](F& m) { m.c.pending = {true, false, 0x41, 0, 0}; });
  round_trip([](F& m) { m.c.seg[SS] = sys::null_segment(0, 0); });
  round_trip([](F& m) { m.c.msr.tsc_offset += 5; });  // once came from KVM
  round_trip([](F& m) {  // an NMI waits for the processor, whatever has become of its APIC
    m.chip.signal_msi(0xfee00000, 0x400);
    m.wrmsr(0x1b, 0xfee00100);
    EXPECT(saved(m.c).events.nmi.pending == 1);
  });
  F fresh;
  reset_state(fresh.c);
  EXPECT(check_state(fresh.c, saved(fresh.c)).empty());
}

/// The guest's TSC follows its clock across a load, whenever the two were read and in whichever
/// order they are loaded.
void tsc_follows_clock() {
  F m, first, second;
  m.wrmsr(0x10, 1'000'000);
  const u64 distance = sys::guest_tsc(m.c) - m.clock.ns;
  const vcpu::VcpuState s = saved(m.c);
  load_state(first.c, s);
  first.clock.ns = 9'000'000;
  EQUAL(sys::guest_tsc(first.c) - first.clock.ns, distance);
  vcpu::VcpuState kvm = s;
  std::erase_if(kvm.msrs, [](const kvm_msr_entry& e) { return e.index == sys::msr::TSC_SKEW; });
  second.clock.ns = 77;
  load_state(second.c, kvm);
  EQUAL(sys::guest_tsc(second.c), 1'000'000);
}

void pending_exception_is_delivered_after_load() {
  F m;
  m.c.fault_page(0xabc, 2);
  const vcpu::VcpuState s = saved(m.c);
  reset_state(m.c);
  load_state(m.c, s);
  EXPECT(m.c.pending.set && deliver_exception(m.c));
  EQUAL(m.c.cr2, 0xabc);
  EQUAL(m.c.rip, at::HANDLERS + 14 * 16);
}

/// SMEP, SMAP and PCID stand in control registers and flags alone. Who lacks them says so.
void supervisor_features_are_carried() {
  vcpu::CpuModel with = vcpu::soft_v1();
  with.features = vcpu::soft_features();
  F m;
  const Cpu& c = m.c;
  m.c.model = &with;
  m.c.cr4 |= cr4::SMEP | cr4::SMAP | cr4::PCIDE;
  m.c.cr3 |= 5;
  m.c.set_flags(flag::AC);
  vcpu::VcpuState s = saved(c);
  EXPECT(check_state(c, s).empty());
  F other;
  EXPECT(check_state(other.c, s) == "CR4 0x3206a0 has bits that CPU model soft-v1 does not offer");
  other.c.model = &with;
  load_state(other.c, s);
  expect_same(s, saved(other.c));
  s.sregs.cr0 &= ~u64{cr0::PG}, s.sregs.efer &= ~efer::LMA;
  s.sregs.cs.l = 0, s.sregs.cs.db = 1;
  EXPECT(check_state(c, s) == "CR4.PCIDE is set outside long mode");
}

/// XCR0 is in the state, and says what XSAVE knows again.
void extended_states_are_carried() {
  vcpu::CpuModel with = vcpu::soft_v1();
  with.features.ecx1 |= vcpu::Features::XSAVE;
  F m, other;
  m.c.model = &with;
  m.c.cr4 |= cr4::OSXSAVE, m.c.xcr0 = 3;
  vcpu::VcpuState s = saved(m.c);
  EXPECT(s.xcrs.nr_xcrs == 1 && s.xcrs.xcrs[0].value == 3 && check_state(m.c, s).empty());
  EXPECT(check_state(other.c, s) == "CR4 0x406a0 has bits that CPU model soft-v1 does not offer");
  s.sregs.cr4 &= ~u64{cr4::OSXSAVE};
  EXPECT(check_state(m.c, s).empty());
  EXPECT(check_state(other.c, s) == "XCR0 enables state that CPU model soft-v1 does not have");
  other.c.model = &with;
  load_state(other.c, s);
  expect_same(s, saved(other.c));
  m.chip.signal_msi(0xfee00000, 0x500);  // INIT leaves it alone
  EXPECT(accept_signals(m.c) && m.c.xcr0 == 3);
  s.xcrs.nr_xcrs = 0;
  load_state(m.c, s);
  EQUAL(m.c.xcr0, 1);
  for (const u64 bad : {0, 2, 7}) {
    s.xcrs.nr_xcrs = 1, s.xcrs.xcrs[0].value = bad;
    EXPECT(!check_state(m.c, s).empty());
  }
}

/// So are the upper halves of the YMM registers, of a model that has them.
void upper_halves_are_carried() {
  vcpu::CpuModel with = vcpu::soft_v1();
  with.features.ecx1 |= vcpu::Features::XSAVE | vcpu::Features::AVX;
  F m, other;
  m.c.model = &with;
  m.c.cr4 |= cr4::OSXSAVE, m.c.xcr0 = 7;
  for (size_t i = 0; i < 256; i++) m.c.ymm_high.bytes[i] = u8(i + 1);
  const YmmHigh before = m.c.ymm_high;
  const auto same_as = [&](const Cpu& c) { return !memcmp(&c.ymm_high, &before, sizeof before); };
  vcpu::VcpuState s = saved(m.c);
  EXPECT(s.xsave.region[128] == 7 && s.xsave.region[144] == 0x04030201);
  EXPECT(check_state(m.c, s).empty() && !check_state(other.c, s).empty());
  other.c.model = &with;
  load_state(other.c, s);
  EXPECT(same_as(other.c));
  expect_same(s, saved(other.c));
  m.chip.signal_msi(0xfee00000, 0x500);  // INIT leaves them alone
  EXPECT(accept_signals(m.c) && same_as(m.c));
  s.xsave.region[128] = 3;
  load_state(m.c, s);
  EQUAL(m.c.ymm_high.bytes[0], 0);
  s.xsave.region[128] = 15;
  EXPECT(check_state(m.c, s) ==
         "XSTATE_BV 0x00000000f: CPU model soft-v1 has x87, AVX and SSE only");
}

void refused(const char* word, void (*spoil)(vcpu::VcpuState&)) {
  F m;
  fill(m);
  vcpu::VcpuState s = saved(m.c);
  spoil(s);
  const std::string complaint = check_state(m.c, s);
  if (!EXPECT(complaint.find(word) != std::string::npos))
    printf("  wanted \"%s\", have \"%s\"\n", word, complaint.c_str());
}

using S = vcpu::VcpuState;
void set_msr(S& s, u32 index, u64 value) {
  for (kvm_msr_entry& e : s.msrs)
    if (e.index == index) return void(e.data = value);
  s.msrs.push_back({index, 0, value});
}

void refusals() {
  refused("RFLAGS", [](S& s) { s.regs.rflags |= 1 << 15; });
  refused("VM", [](S& s) { s.regs.rflags |= flag::VM; });
  refused("CR0", [](S& s) { s.sregs.cr0 |= 1ull << 32; });
  refused("CR0.PG", [](S& s) { s.sregs.cr0 &= ~1ull; });
  refused("CR0.NW", [](S& s) { s.sregs.cr0 |= cr0::NW; });
  refused("CR3", [](S& s) { s.sregs.cr3 = 1ull << 63; });
  refused("CR4", [](S& s) { s.sregs.cr4 |= cr4::OSXSAVE; });
  refused("PAE", [](S& s) { s.sregs.cr4 &= ~cr4::PAE; });
  refused("EFER", [](S& s) { s.sregs.efer |= 1 << 12; });
  refused("LMA", [](S& s) { s.sregs.efer &= ~efer::LMA; });
  refused("CR8", [](S& s) { s.sregs.cr8 = 4; });
  refused("APIC base", [](S& s) { s.sregs.apic_base |= 1ull << 50; });
  refused("interrupt_bitmap", [](S& s) { s.sregs.interrupt_bitmap[1] = 1; });
  refused("CS", [](S& s) { s.sregs.cs.type = 3; });
  refused("CS", [](S& s) { s.sregs.cs.db = 1; });
  refused("privilege", [](S& s) { s.sregs.ss.dpl = 3; });
  refused("field", [](S& s) { s.sregs.ds.type = 16; });
  refused("field", [](S& s) { s.sregs.fs.unusable = 2; });
  refused("non-canonical", [](S& s) { s.sregs.fs.base = 1ull << 47; });
  refused("limit", [](S& s) { s.sregs.cs.limit = 0xfffff000; });
  refused("readable", [](S& s) { s.sregs.ds = s.sregs.cs, s.sregs.ds.type = 9; });
  refused("SS", [](S& s) { s.sregs.ss.type = 1; });
  refused("TR", [](S& s) { s.sregs.tr.type = 9; });
  refused("LDT", [](S& s) { s.sregs.ldt = s.sregs.tr; });
  refused("GDT", [](S& s) { s.sregs.gdt.base = 1ull << 60; });
  refused("DR6", [](S& s) { s.debugregs.dr7 = 1ull << 32; });
  refused("XSTATE_BV", [](S& s) { s.xsave.region[128] = 7; });
  refused("XSAVE header", [](S& s) { s.xsave.region[131] = 0x80000000; });
  refused("MXCSR", [](S& s) { s.xsave.region[6] |= 0x10000; });
  refused("XCR0", [](S& s) { s.xcrs.xcrs[0].value = 7; });
  refused("count", [](S& s) { s.xcrs.nr_xcrs = 17; });
  refused("exception", [](S& s) { s.events.exception.injected = 1, s.events.exception.nr = 32; });
  refused("interrupt", [](S& s) { s.events.interrupt.injected = 1, s.events.interrupt.nr = 3; });
  refused("shadow", [](S& s) { s.events.interrupt.shadow = 4; });
  refused("neither 0 nor 1", [](S& s) { s.events.nmi.masked = 2; });
  refused("system management", [](S& s) { s.events.smi.smm = 1; });
  refused("run state", [](S& s) { s.mp_state.mp_state = KVM_MP_STATE_INIT_RECEIVED; });
  refused("0x277", [](S& s) { set_msr(s, 0x277, 2); });
  refused("0xc0000082", [](S& s) { set_msr(s, 0xc0000082, 1ull << 47); });
  refused("0x48", [](S& s) { set_msr(s, 0x48, 1); });
  refused("0xc0000080", [](S& s) { set_msr(s, 0xc0000080, 0); });
  F m;
  fill(m);
  S s = saved(m.c);
  set_msr(s, 0x48, 0), set_msr(s, 0x8b, 0x01000065);
  EXPECT(check_state(m.c, s).empty());
}

/// Any bytes at all: check answers, and what it accepts, load takes and save gives back.
void random_images() {
  F m;
  fill(m);
  const S good = saved(m.c);
  Random random{0x5eed};
  int accepted = 0;
  for (int round = 0; round < 20000; round++) {
    S s = good;
    u8* parts[] = {reinterpret_cast<u8*>(&s.regs), reinterpret_cast<u8*>(&s.sregs),
                   reinterpret_cast<u8*>(&s.events), reinterpret_cast<u8*>(&s.xsave),
                   reinterpret_cast<u8*>(s.msrs.data())};
    const size_t sizes[] = {sizeof s.regs, sizeof s.sregs, sizeof s.events, 640,
                            s.msrs.size() * sizeof s.msrs[0]};
    const int part = random.below(5);
    parts[part][random.below(sizes[part])] ^= 1 << random.below(8);
    if (!check_state(m.c, s).empty()) continue;
    accepted++;
    load_state(m.c, s);
    const S again = saved(m.c);
    EXPECT(check_state(m.c, again).empty());
    load_state(m.c, again);
    expect_same(again, saved(m.c));
  }
  EXPECT(accepted > 1000 && accepted < 19000);
}

}  // namespace

void state_tests() {
  msr_rules(), time_stamp_counter(), apic_registers(), cpuid_model(), paravirtual_clock();
  round_trips(), supervisor_features_are_carried(), extended_states_are_carried(),
      upper_halves_are_carried(), tsc_follows_clock(), pending_exception_is_delivered_after_load(),
      refusals(), random_images();
}

}  // namespace colo::test
