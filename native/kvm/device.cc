#include "kvm/device.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "kvm/abi.h"

namespace colo::kvm {

namespace {

constexpr int kApiVersion = 12;

constexpr struct {
  long number;
  const char* name;
} kNeeded[] = {
    {KVM_CAP_IRQCHIP, "KVM_CAP_IRQCHIP"},
    {KVM_CAP_USER_MEMORY, "KVM_CAP_USER_MEMORY"},
    {KVM_CAP_PIT2, "KVM_CAP_PIT2"},
    {KVM_CAP_PIT_STATE2, "KVM_CAP_PIT_STATE2"},
    {KVM_CAP_EXT_CPUID, "KVM_CAP_EXT_CPUID"},
    {KVM_CAP_VCPU_EVENTS, "KVM_CAP_VCPU_EVENTS"},
    {KVM_CAP_ADJUST_CLOCK, "KVM_CAP_ADJUST_CLOCK"},
    {KVM_CAP_DEBUGREGS, "KVM_CAP_DEBUGREGS"},
    {KVM_CAP_XSAVE, "KVM_CAP_XSAVE"},
    {KVM_CAP_MP_STATE, "KVM_CAP_MP_STATE"},
    {KVM_CAP_SIGNAL_MSI, "KVM_CAP_SIGNAL_MSI"},
    {KVM_CAP_IMMEDIATE_EXIT, "KVM_CAP_IMMEDIATE_EXIT"},
    {KVM_CAP_IOEVENTFD, "KVM_CAP_IOEVENTFD"},
};

/// No signal reaches this thread meanwhile.
class SignalsHeld {
 public:
  SignalsHeld() {
    sigset_t all;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, &before_);
  }
  ~SignalsHeld() { pthread_sigmask(SIG_SETMASK, &before_, nullptr); }
  SignalsHeld(const SignalsHeld&) = delete;
  SignalsHeld& operator=(const SignalsHeld&) = delete;

 private:
  sigset_t before_;
};

Error cannot_open(const std::string& path) {
  switch (errno) {
    case ENOENT:
    case ENODEV:
    case ENXIO:
      return Error("there is no " + path +
                   ": the processor does not offer virtualization here, or the module kvm_amd or "
                   "kvm_intel is not loaded");
    case EACCES:
    case EPERM:
      return Error(path +
                   " may not be opened: permission denied (on Debian, add the user to group kvm)");
    default:
      return Error::of_errno(path + " cannot be opened");
  }
}

/// The caller says how much room there is; E2BIG means more.
template <class List>
List fetch(const Fd& fd, const char* what, unsigned long request) {
  for (u32 room = 256;; room *= 2) {
    List list(room);
    if (fd.try_ioctl(request, list.data()) >= 0) return list;
    if (errno != E2BIG || room > 1u << 16) throw Error::of_errno(what);
  }
}

}  // namespace

Error Error::of_errno(const std::string& what) {
  char text[128];
  return Error(what + ": " + strerror_r(errno, text, sizeof text));
}

Fd& Fd::operator=(Fd&& other) noexcept {
  std::swap(fd_, other.fd_);
  return *this;
}

Fd::~Fd() {
  if (fd_ >= 0) close(fd_);
}

RunPage::RunPage(const Fd& vcpu, size_t size) : size_(size) {
  void* page = mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, vcpu.get(), 0);
  if (page == MAP_FAILED) throw Error::of_errno("mmap of a vCPU's run page");
  run_ = static_cast<kvm_run*>(page);
}

RunPage::~RunPage() { munmap(run_, size_); }

Device::Device(Source source) {
  const std::string& path = source.path;
  int fd = open(path.c_str(), O_RDWR | O_CLOEXEC);
  if (fd < 0) throw cannot_open(path);
  fd_ = Fd(fd);
  const int version = fd_.try_ioctl(KVM_GET_API_VERSION, 0);
  if (version < 0)
    throw Error(path + " is not KVM (" + strerror(errno) + "): make it anew with `mknod " + path +
                " c 10 232`");
  if (version != kApiVersion)
    throw Error(path + " speaks version " + std::to_string(version) + " of KVM's API, not 12");
  const auto hidden = [&](const char* name) {
    return std::find(source.without.begin(), source.without.end(), name) != source.without.end();
  };
  for (const auto& [number, name] : kNeeded)
    if (capability(number) <= 0 || hidden(name))
      throw Error(std::string("this kernel's KVM lacks ") + name + "; a newer kernel has it");
}

/// The one request besides KVM_RUN that a signal ends: one a millisecond, as a profiler sends them,
/// would end every try.
Fd Device::create_vm() const {
  SignalsHeld held;
  return Fd(fd_.call("KVM_CREATE_VM", KVM_CREATE_VM, 0));
}

size_t Device::run_page_size() const {
  return static_cast<size_t>(fd_.call("KVM_GET_VCPU_MMAP_SIZE", KVM_GET_VCPU_MMAP_SIZE, 0));
}

std::vector<kvm_cpuid_entry2> Device::supported_cpuid() const {
  auto list = fetch<CpuidList>(fd_, "KVM_GET_SUPPORTED_CPUID", kGetSupportedCpuid);
  return list.entries(list.count());
}

std::vector<u32> Device::msr_indices() const {
  auto list = fetch<IndexList>(fd_, "KVM_GET_MSR_INDEX_LIST", kGetMsrIndexList);
  return list.entries(list.count());
}

}  // namespace colo::kvm
