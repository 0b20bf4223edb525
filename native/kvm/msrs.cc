#include "kvm/msrs.h"

#include <algorithm>
#include <cstdio>
#include <iterator>

#include "kvm/abi.h"

namespace colo::kvm {

namespace {

/// Registers of the model, as the software CPU has them in its image: SYSENTER, machine check,
/// MTRRs, PAT, SYSCALL, TSC, kvmclock.
constexpr u32 kModel[] = {
    msr::TSC,
    msr::TSC_ADJUST,
    0x174,
    0x175,
    0x176,
    0x17a,
    0x1a0,
    0x277,
    0x2ff,
    0x200,
    0x201,
    0x202,
    0x203,
    0x204,
    0x205,
    0x206,
    0x207,
    0x208,
    0x209,
    0x20a,
    0x20b,
    0x20c,
    0x20d,
    0x20e,
    0x20f,
    0x250,
    0x258,
    0x259,
    0x268,
    0x269,
    0x26a,
    0x26b,
    0x26c,
    0x26d,
    0x26e,
    0x26f,
    0xc0000081,
    0xc0000082,
    0xc0000083,
    0xc0000084,
    0xc0000102,
    0xc0000103,
    msr::WALL_CLOCK,
    msr::SYSTEM_TIME,
    msr::TSC_DEADLINE,
};
constexpr u32 kOwn =
    0x4b564dff;  // of the software CPU's image only: how its TSC stands to its clock

/// Held elsewhere in the image, another name of the same, or never still: APIC base, EFER, FS and
/// GS base, the old kvmclock numbers, Hyper-V's and the hardware's running counters.
bool elsewhere(u32 index) {
  if (index >= 0x40000000 && index <= 0x400001ff) return true;
  switch (index) {
    case 0x11:
    case 0x12:
    case 0x1b:
    case 0xe7:
    case 0xe8:
    case 0xc0000080:
    case 0xc0000100:
    case 0xc0000101:
    case 0xc0000104:
      return true;
    default:
      return false;
  }
}

bool of_model(u32 index) {
  return std::find(std::begin(kModel), std::end(kModel), index) != std::end(kModel);
}

/// What a register of the model that is absent here would hold if nobody had touched it.
u64 untouched(u32 index) {
  if (index == 0x277) return 0x0007040600070406ull;
  return index == 0x1a0 ? 1 : 0;
}

}  // namespace

bool MsrTable::get(u32 index, u64& value) const {
  MsrList list(std::vector<kvm_msr_entry>{{index, 0, 0}});
  if (vcpu_.try_ioctl(kGetMsrs, list.data()) != 1) return false;
  value = list.entries(1)[0].data;
  return true;
}

/// KVM answers with the number that it has read: short means that it stopped at one which it does
/// not know.
std::vector<kvm_msr_entry> MsrTable::values(const std::vector<u32>& indices) const {
  std::vector<kvm_msr_entry> wanted;
  for (u32 index : indices) wanted.push_back({index, 0, 0});
  MsrList list(wanted);
  const int got = vcpu_.call("KVM_GET_MSRS", kGetMsrs, list.data());
  if (static_cast<size_t>(got) != indices.size())
    throw Error("KVM_GET_MSRS: a register that was there is gone");
  return list.entries(indices.size());
}

void MsrTable::look(const std::vector<u32>& host) {
  u64 value;
  for (u32 index : kModel)
    if (get(index, value)) model_.push_back(index);
  for (u32 index : host)
    if (!of_model(index) && !elsewhere(index) && get(index, value))
      power_on_.push_back({index, 0, value});
}

bool MsrTable::has(u32 index) const {
  return std::find(model_.begin(), model_.end(), index) != model_.end();
}

std::vector<kvm_msr_entry> MsrTable::read() const {
  std::vector<u32> indices = model_;
  for (const kvm_msr_entry& m : power_on_) indices.push_back(m.index);
  std::vector<kvm_msr_entry> all = values(indices),
                             out(all.begin(), all.begin() + static_cast<ptrdiff_t>(model_.size()));
  for (size_t i = 0; i < power_on_.size(); i++)
    if (all[model_.size() + i].data != power_on_[i].data) out.push_back(all[model_.size() + i]);
  return out;
}

std::string MsrTable::check(const std::vector<kvm_msr_entry>& image) const {
  for (const kvm_msr_entry& m : image) {
    if (!of_model(m.index) || has(m.index) || m.data == untouched(m.index)) continue;
    char text[96];
    snprintf(text, sizeof text, "MSR 0x%x is 0x%llx, and this host's KVM does not have it", m.index,
             m.data);
    return text;
  }
  return "";
}

void MsrTable::write(u32 index, u64 value) const {
  MsrList list(std::vector<kvm_msr_entry>{{index, 0, value}});
  if (vcpu_.call("KVM_SET_MSRS", kSetMsrs, list.data()) == 1) return;
  char text[64];
  snprintf(text, sizeof text, "KVM refused 0x%llx for MSR 0x%x",
           static_cast<unsigned long long>(value), index);
  throw Error(text);
}

void MsrTable::write(const std::vector<kvm_msr_entry>& image) const {
  for (const kvm_msr_entry& m : image)
    if (m.index != kOwn && m.index != msr::WALL_CLOCK && m.index != msr::TSC_DEADLINE &&
        has(m.index))
      write(m.index, m.data);
}

}  // namespace colo::kvm
