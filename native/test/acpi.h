// The least ACPI that makes Linux find the local APIC and the IOAPIC: RSDP, XSDT, FADT, an empty
// DSDT, MADT (ACPI 6.4, chapter 5).
#pragma once
#include <cstring>
#include <string>
#include <vector>

#include "memory/ram.h"

namespace colo::test::acpi {

constexpr u64 kBase = 0xe0000;
constexpr u16 kPm1Event = 0x600, kPm1Control = 0x604;

using Table = std::vector<u8>;

template <class T>
void set(Table& t, size_t at, T v) {
  if (t.size() < at + sizeof v) t.resize(at + sizeof v);
  memcpy(&t[at], &v, sizeof v);
}
inline u8 checksum(const u8* p, size_t n) {
  u8 sum = 0;
  for (size_t i = 0; i < n; i++) sum += p[i];
  return static_cast<u8>(-sum);
}
inline Table header(const char* signature, u8 revision) {
  Table t(36);
  memcpy(&t[0], signature, 4);
  t[8] = revision;
  memcpy(&t[10], "COLO  TESTBORD", 14);
  memcpy(&t[28], "COLO", 4);
  set<u32>(t, 24, 1);
  return t;
}
inline void append(Table& t, std::initializer_list<int> bytes) {
  for (int b : bytes) t.push_back(static_cast<u8>(b));
}

inline u64 place(memory::GuestRam& ram, u64& at, Table t) {
  set<u32>(t, 4, static_cast<u32>(t.size()));
  t[9] = 0;
  t[9] = checksum(t.data(), t.size());
  memcpy(ram.hva(at, t.size()), t.data(), t.size());
  const u64 where = at;
  at += (t.size() + 15) & ~15ull;
  return where;
}

/// Writes the tables; returns the RSDP's address.
inline u64 write(memory::GuestRam& ram) {
  u64 at = kBase + 64;
  const u64 dsdt = place(ram, at, header("DSDT", 2));
  Table fadt = header("FACP", 4);
  fadt.resize(244);
  set<u32>(fadt, 40, static_cast<u32>(dsdt));
  set<u16>(fadt, 46, 9);  // SCI
  set<u32>(fadt, 56, kPm1Event), set<u32>(fadt, 64, kPm1Control);
  fadt[88] = 4, fadt[89] = 2;
  set<u16>(fadt, 109, 3);  // legacy devices, 8042
  set<u64>(fadt, 140, dsdt);
  const u64 facp = place(ram, at, fadt);
  Table madt = header("APIC", 4);
  set<u32>(madt, 36, 0xfee00000), set<u32>(madt, 40, 1);
  append(madt, {0, 8, 0, 0, 1, 0, 0, 0});                     // local APIC 0
  append(madt, {1, 12, 0, 0, 0, 0, 0xc0, 0xfe, 0, 0, 0, 0});  // IOAPIC at gsi 0
  append(madt, {2, 10, 0, 0, 2, 0, 0, 0, 0, 0});              // ISA 0 on pin 2
  append(madt, {2, 10, 0, 9, 9, 0, 0, 0, 0x0d, 0});           // SCI: level, high
  const u64 apic = place(ram, at, madt);
  Table xsdt = header("XSDT", 1);
  set<u64>(xsdt, 36, facp), set<u64>(xsdt, 44, apic);
  const u64 root = place(ram, at, xsdt);
  Table rsdp(36);
  memcpy(&rsdp[0], "RSD PTR ", 8);
  memcpy(&rsdp[9], "COLO  ", 6);
  rsdp[15] = 2;
  set<u32>(rsdp, 20, 36), set<u64>(rsdp, 24, root);
  rsdp[8] = checksum(rsdp.data(), 20);
  rsdp[32] = checksum(rsdp.data(), 36);
  memcpy(ram.hva(kBase, rsdp.size()), rsdp.data(), rsdp.size());
  return kBase;
}

}  // namespace colo::test::acpi
