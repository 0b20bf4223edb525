// What the KVM backend does to a state without asking the kernel, and what a CPU model says of
// itself: against the rules in words, and on random bytes, for a state may be anything.
#include <cstring>
#include <set>

#include "kvm/convert.h"
#include "test/expect.h"
#include "vcpu/image.h"
#include "vcpu/model.h"

namespace colo {
namespace {

template <class T>
void fill(T& out, test::Random& random) {
  u8* bytes = reinterpret_cast<u8*>(&out);
  for (size_t i = 0; i < sizeof out; i++) bytes[i] = static_cast<u8>(random());
}

void absent_components_are_initial() {
  vcpu::XsaveArea x{};
  x.region[0] = 0x1234;   // FCW and FSW that XSTATE_BV says do not count
  x.region[40] = 0x5678;  // XMM0, the same
  x.region[6] = 0x1f80;
  kvm::normalize(x);
  EQUAL(x.region[0], 0x037f);
  EQUAL(x.region[40], 0);
  EQUAL(x.region[6], 0x1f80);
  EQUAL(x.region[128], 3);
  x.region[40] = 0x5678;
  kvm::normalize(x);
  EQUAL(x.region[40], 0x5678);  // present now
}

/// Whatever KVM says, a second look finds nothing to change, and nothing that is not x87's or SSE's
/// is left.
void normal_form_is_stable(test::Random& random) {
  vcpu::XsaveArea x;
  kvm_sregs s;
  fill(x, random), fill(s, random);
  kvm::normalize(x), kvm::normalize(s);
  vcpu::XsaveArea again = x;
  kvm_sregs twice = s;
  kvm::normalize(again), kvm::normalize(twice);
  EXPECT(memcmp(&again, &x, sizeof x) == 0 && memcmp(&twice, &s, sizeof s) == 0);
  bool clean = true;
  for (size_t i = 129; i < 1024; i++) clean = clean && x.region[i] == 0;
  EXPECT(clean);
  EXPECT(s.cs.unusable || s.cs.g || s.cs.limit <= 0xfffff);
  for (u64 word : s.interrupt_bitmap) EQUAL(word, 0);
}

kvm_lapic_state lapic(u32 lvt, u32 initial, u32 current) {
  kvm_lapic_state apic{};
  memcpy(apic.regs + 0x320, &lvt, 4), memcpy(apic.regs + 0x380, &initial, 4),
      memcpy(apic.regs + 0x390, &current, 4);
  return apic;
}

u32 at(const kvm_lapic_state& apic, size_t offset) {
  u32 v;
  memcpy(&v, apic.regs + offset, sizeof v);
  return v;
}

void a_one_shot_timer_fires_once_more_rather_than_never() {
  EQUAL(at(kvm::lapic_from_kvm(lapic(0x40, 1000, 0)), 0x390), 1);
  EQUAL(at(kvm::lapic_from_kvm(lapic(0x40, 1000, 5)), 0x390), 5);
  EQUAL(at(kvm::lapic_from_kvm(lapic(0x20040, 1000, 0)), 0x390), 0);  // periodic
  EQUAL(at(kvm::lapic_for_kvm(lapic(0x40, 1000, 0)), 0x380), 0);
  EQUAL(at(kvm::lapic_for_kvm(lapic(0x40, 1000, 1)), 0x380), 1000);
}

void apic_ids_are_apart(u32 sockets, u32 cores, u32 threads) {
  const vcpu::Topology t{sockets, cores, threads};
  std::set<u32> ids, packages;
  for (u32 i = 0; i < t.cpus(); i++) {
    ids.insert(t.apic_id(i));
    packages.insert(t.apic_id(i) >> t.package_bits());
  }
  EQUAL(ids.size(), t.cpus());
  EQUAL(packages.size(), sockets);
}

void cpuid_tells_the_topology() {
  vcpu::CpuModel m = vcpu::soft_v1();
  u32 r[4];
  vcpu::model::cpuid(m, 0, 0, 0, true, r);
  EQUAL(r[0], 7);  // one processor: no topology leaf
  vcpu::model::cpuid(m, 0, 1, 0, true, r);
  EQUAL(r[3] >> 28 & 1, 0);
  m.topology = {2, 3, 1};
  const u32 id = m.topology.apic_id(4);
  EQUAL(id, 5);
  vcpu::model::cpuid(m, id, 0, 0, true, r);
  EQUAL(r[0], 0xb);
  vcpu::model::cpuid(m, id, 1, 0, true, r);
  EQUAL(r[1] >> 24, 5);
  EQUAL(r[1] >> 16 & 0xff, 3);
  EQUAL(r[3] >> 28 & 1, 1);
  vcpu::model::cpuid(m, id, 0xb, 0, true, r);
  EXPECT(r[0] == 0 && r[1] == 1 && r[2] == 0x100 && r[3] == 5);
  vcpu::model::cpuid(m, id, 0xb, 1, true, r);
  EXPECT(r[0] == 2 && r[1] == 3 && r[2] == 0x201 && r[3] == 5);
  vcpu::model::cpuid(m, id, 0xb, 2, true, r);
  EXPECT(r[0] == 0 && r[1] == 0);
  vcpu::model::cpuid(m, id, 0x80000008, 0, true, r);
  EQUAL(r[2], 0x2002);
}

void a_model_of_more_features_has_more_control_bits() {
  vcpu::VcpuState s;
  s.sregs.cr4 = 1 << 20;  // SMEP
  vcpu::CpuModel m = vcpu::soft_v1();
  EXPECT(vcpu::model::check(m, 0, s).find("CR4") == 0);
  m.features.ebx7 |= 1 << 7;
  EXPECT(vcpu::model::check(m, 0, s).find("CR4") == std::string::npos);
}

/// Bytes of a stranger end in a sentence or in a state, never elsewhere.
void any_bytes(test::Random& random) {
  vcpu::VcpuState good;
  std::vector<u8> bytes = vcpu::encode(good);
  for (int i = 0; i < 20; i++)
    bytes[8 + random.below(bytes.size() - 8)] = static_cast<u8>(random());
  vcpu::VcpuState state;
  if (vcpu::decode(bytes, state).empty())
    EXPECT(!vcpu::model::check(vcpu::soft_v1(), 0, state).empty());
}

}  // namespace
}  // namespace colo

int main() {
  using namespace colo;
  test::Random random{0x9e3779b97f4a7c15ull};
  absent_components_are_initial();
  for (int i = 0; i < 200; i++) normal_form_is_stable(random);
  a_one_shot_timer_fires_once_more_rather_than_never();
  for (u32 n = 1; n <= 8; n++)
    apic_ids_are_apart(n, 1, 1), apic_ids_are_apart(1, n, 1), apic_ids_are_apart(1, 1, n);
  apic_ids_are_apart(2, 3, 1), apic_ids_are_apart(2, 2, 2), apic_ids_are_apart(1, 3, 2);
  cpuid_tells_the_topology();
  a_model_of_more_features_has_more_control_bits();
  for (int i = 0; i < 2000; i++) any_bytes(random);
  return test::summary();
}
