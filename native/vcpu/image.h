// vCPU and chip state as bytes: the kernel's structs one after the other, little endian, as
// <linux/kvm.h> lays them out on x86-64.
//
//   vCPU   offset  size                      chips  offset  size
//   magic "cvc1"        0     4              magic "cch1"        0     4
//   MSR count           4     4              zero                4     4
//   kvm_regs            8   144              kvm_irqchip         8   520   i8259 master
//   kvm_sregs         152   312              kvm_irqchip       528   520   i8259 slave
//   kvm_debugregs     464   128              kvm_irqchip      1048   520   IOAPIC
//   kvm_xsave         592  4096              kvm_pit_state2   1568   112
//   kvm_xcrs         4688   392              kvm_clock_data   1680    48
//   kvm_vcpu_events  5080    64              end              1728
//   kvm_mp_state     5144     4
//   zero             5148     4
//   kvm_lapic_state  5152  1024
//   kvm_msr_entry    6176    16 each
#pragma once
#include <span>
#include <string>
#include <vector>

#include "vcpu/contract.h"

namespace colo::vcpu {

constexpr size_t kVcpuImageFixed = 6176;
constexpr size_t kChipImageSize = 1728;
constexpr size_t kMaxMsrs = 1024;

std::vector<u8> encode(const VcpuState& state);
std::vector<u8> encode(const ChipState& state);
/// Fills out; or returns a sentence that says what is wrong with the bytes, and out is not to be
/// used.
std::string decode(std::span<const u8> bytes, VcpuState& out);
std::string decode(std::span<const u8> bytes, ChipState& out);

}  // namespace colo::vcpu
