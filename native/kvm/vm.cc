#include "kvm/vm.h"

#include <cstring>

#include "base/time.h"
#include "vcpu/model.h"

namespace colo::kvm {

namespace {

/// Three pages that Intel processors need to run real mode, and one for their identity map: above
/// the local APICs and below the largest firmware, where no device is.
constexpr u64 kTssAddress = 0xfeffd000, kIdentityMapAddress = 0xfeffc000;

constexpr u64 kApartNs = 1'000'000;

Fd make_vm(const Device& device) {
  Fd vm = device.create_vm();
  u64 identity = kIdentityMapAddress;
  vm.call("KVM_SET_IDENTITY_MAP_ADDR", KVM_SET_IDENTITY_MAP_ADDR, &identity);
  vm.call("KVM_SET_TSS_ADDR", KVM_SET_TSS_ADDR, kTssAddress);
  return vm;
}

std::unique_ptr<DirtyRings> make_rings(const Device& device, const Fd& vm, memory::GuestRam& ram) {
  const u32 entries = DirtyRings::enable(device, vm);
  return entries ? std::make_unique<DirtyRings>(vm, ram, entries) : nullptr;
}

/// PIT counts are timed by the host's clock in KVM and by the guest's in an image.
void shift_load_times(kvm_pit_state2& pit, u64 by) {
  for (kvm_pit_channel_state& c : pit.channels)
    c.count_load_time = static_cast<i64>(static_cast<u64>(c.count_load_time) + by);
}

}  // namespace

KvmVm::KvmVm(memory::GuestRam& ram, const vcpu::Buses& buses, vcpu::SettableClock& clock,
             vcpu::CpuModel model, bool dirty_ring)
    : clock_(clock),
      model_(std::move(model)),
      fd_(make_vm(device_)),
      rings_(dirty_ring ? make_rings(device_, fd_, ram) : nullptr),
      slots_(device_, fd_, ram, rings_.get()),
      bells_(device_, fd_),
      clock_moves_(clock.moves() - 1) {
  COLO_ASSERT(buses.size() == model_.topology.cpus());
  create_chips();
  create_vcpus(ram, buses);
  save(power_on_);
}

KvmVm::~KvmVm() = default;

void KvmVm::create_chips() {
  fd_.call("KVM_CREATE_IRQCHIP", KVM_CREATE_IRQCHIP, 0);
  kvm_pit_config config{};
  config.flags = KVM_PIT_SPEAKER_DUMMY;  // port 0x61 too: it gates and reads channel 2
  fd_.call("KVM_CREATE_PIT2", KVM_CREATE_PIT2, &config);
}

/// KVM takes the number of a vCPU for its APIC id. All are there before the first is set up: what
/// one writes may go to all.
void KvmVm::create_vcpus(memory::GuestRam& ram, const vcpu::Buses& buses) {
  const int most = device_.capability(KVM_CAP_MAX_VCPUS);
  if (most > 0 && buses.size() > static_cast<size_t>(most))
    throw Error("this kernel's KVM has at most " + std::to_string(most) + " vCPUs");
  std::vector<Fd> fds;
  for (u32 i = 0; i < buses.size(); i++)
    fds.emplace_back(fd_.call("KVM_CREATE_VCPU", KVM_CREATE_VCPU,
                              static_cast<unsigned long>(model_.topology.apic_id(i))));
  for (u32 i = 0; i < buses.size(); i++) {
    if (rings_) rings_->add(fds[i]);
    vcpus_.push_back(std::make_unique<KvmVcpu>(*this, device_, std::move(fds[i]), model_,
                                               model_.topology.apic_id(i), ram, *buses[i]));
  }
}

vcpu::Vcpu& KvmVm::vcpu(size_t index) { return *vcpus_.at(index); }

void KvmVm::set_irq(u32 gsi, bool level) {
  kvm_irq_level line{};
  line.irq = gsi;
  line.level = level;
  fd_.call("KVM_IRQ_LINE", KVM_IRQ_LINE, &line);
}

/// A message that no APIC takes is the guest's affair, as it is on a bus.
void KvmVm::signal_msi(u64 address, u32 data) {
  kvm_msi msi{};
  msi.address_lo = static_cast<u32>(address);
  msi.address_hi = static_cast<u32>(address >> 32);
  msi.data = data;
  fd_.try_ioctl(KVM_SIGNAL_MSI, &msi);
}

// --- time

u64 KvmVm::kernel_clock_ns() const {
  kvm_clock_data data{};
  fd_.call("KVM_GET_CLOCK", KVM_GET_CLOCK, &data);
  return data.clock;
}

void KvmVm::set_kernel_clock() const {
  kvm_clock_data data{};
  data.clock = clock_.now_ns();
  fd_.call("KVM_SET_CLOCK", KVM_SET_CLOCK, &data);
}

// Two clocks that drift by parts per million, the guest's in the kernel and the contract's, which
// devices read; neither may go back. So the one that is behind is moved forward; the kernel's only
// for a reason, since that makes KVM write the guest's record anew: a state was loaded (somebody
// else moved the contract's clock), or the two are too far apart.
void KvmVm::align_clocks() const {
  const bool loaded = clock_moves_ != clock_.moves();
  const u64 kernel = kernel_clock_ns(), contract = clock_.now_ns();
  if (loaded || kernel + kApartNs < contract) set_kernel_clock();
  else if (kernel > contract) clock_.continue_from(kernel);
  clock_moves_ = clock_.moves();
}

// --- state

void KvmVm::save(vcpu::ChipState& out) const {
  align_clocks();
  out = {};
  kvm_irqchip* const chips[] = {&out.pic_master, &out.pic_slave, &out.ioapic};
  constexpr u32 kIds[] = {KVM_IRQCHIP_PIC_MASTER, KVM_IRQCHIP_PIC_SLAVE, KVM_IRQCHIP_IOAPIC};
  for (int i = 0; i < 3; i++) {
    chips[i]->chip_id = kIds[i];
    fd_.call("KVM_GET_IRQCHIP", KVM_GET_IRQCHIP, chips[i]);
  }
  fd_.call("KVM_GET_PIT2", KVM_GET_PIT2, &out.pit);
  memset(out.pit.reserved, 0, sizeof out.pit.reserved);
  const u64 now = kernel_clock_ns();
  shift_load_times(out.pit, now - host_now_ns());
  out.clock.clock = now;
}

std::string KvmVm::check(const vcpu::ChipState& in) const { return vcpu::model::check(in); }

/// The time of the image is not taken from here: whoever loads a whole state sets the contract's
/// clock.
void KvmVm::load_chips(const vcpu::ChipState& in) {
  for (const kvm_irqchip* chip : {&in.pic_master, &in.pic_slave, &in.ioapic})
    fd_.call("KVM_SET_IRQCHIP", KVM_SET_IRQCHIP, chip);
  kvm_pit_state2 pit = in.pit;
  shift_load_times(pit, host_now_ns() - in.clock.clock);
  fd_.call("KVM_SET_PIT2", KVM_SET_PIT2, &pit);
}

void KvmVm::load(const vcpu::ChipState& in) { load_chips(in); }

void KvmVm::reset() {
  load_chips(power_on_);
  for (auto& vcpu : vcpus_) vcpu->reset();
}

void KvmVm::guest_stopped() {
  for (auto& vcpu : vcpus_) vcpu->guest_stopped();
}

}  // namespace colo::kvm
