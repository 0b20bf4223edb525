#include "addon/vm.h"

#include "addon/addon_data.h"
#include "addon/args.h"
#include "addon/backend.h"
#include "addon/guest_ram.h"
#include "vcpu/image.h"

namespace colo::addon {

namespace {

/// After so many the loop gets its turn, whatever the guest does.
constexpr int kExitsPerTurn = 256;

Napi::Value sentence(Napi::Env env, const std::string& text) {
  return text.empty() ? env.Undefined() : Napi::String::New(env, text);
}

/// {name, vendor, signature, brand, features: 8 words, sockets, cores, threads}: what
/// src/accel/cpu-model.ts has resolved.
vcpu::CpuModel to_model(const Napi::Object& o) {
  vcpu::CpuModel m;
  m.name = to_string(o.Get("name"), "name");
  m.vendor = to_string(o.Get("vendor"), "vendor");
  m.signature = to_u32(o.Get("signature"), "signature");
  m.brand = to_string(o.Get("brand"), "brand");
  const Napi::Value words = o.Get("features");
  u32* const to[] = {&m.features.ecx1,  &m.features.edx1,  &m.features.ebx7, &m.features.ecx7,
                     &m.features.ecx81, &m.features.edx81, &m.features.kvm,  &m.features.xsave1};
  for (u32 i = 0; i < std::size(to); i++)
    *to[i] = to_u32(words.As<Napi::Object>().Get(i), "features");
  m.topology = {to_u32(o.Get("sockets"), "sockets"), to_u32(o.Get("cores"), "cores"),
                to_u32(o.Get("threads"), "threads")};
  const vcpu::Topology& t = m.topology;
  for (u32 n : {t.sockets, t.cores, t.threads})
    if (n == 0 || n > vcpu::kMaxCpus) throw Napi::RangeError::New(o.Env(), "topology out of range");
  if (t.cpus() > vcpu::kMaxCpus) throw Napi::RangeError::New(o.Env(), "too many vCPUs");
  return m;
}

vcpu::Runner::Mode to_mode(const Napi::Value& v) {
  const std::string name = to_string(v, "mode");
  if (name == "threaded") return vcpu::Runner::Mode::Threaded;
  if (name == "lockstep") return vcpu::Runner::Mode::Lockstep;
  if (name == "stepped") return vcpu::Runner::Mode::Stepped;
  throw Napi::TypeError::New(v.Env(), "mode must be threaded, lockstep or stepped");
}

Napi::Value to_bigint(Napi::Env env, u64 n) {
  return Napi::BigInt::New(env, static_cast<uint64_t>(n));
}

}  // namespace

Napi::Function VmWrap::define(Napi::Env env) {
  using W = VmWrap;
  return DefineClass(env, "Vm",
                     {InstanceMethod<&W::start>("start"),
                      InstanceMethod<&W::stop>("stop"),
                      InstanceMethod<&W::apic_ids>("apicIds"),
                      InstanceMethod<&W::thread_ids>("threadIds"),
                      InstanceMethod<&W::set_callbacks>("setCallbacks"),
                      InstanceMethod<&W::exit_page>("exitPage"),
                      InstanceMethod<&W::set_irq>("setIrq"),
                      InstanceMethod<&W::signal_msi>("signalMsi"),
                      InstanceMethod<&W::add_doorbell>("addDoorbell"),
                      InstanceMethod<&W::remove_doorbell>("removeDoorbell"),
                      InstanceMethod<&W::save_chips>("saveChips"),
                      InstanceMethod<&W::check_chips>("checkChips"),
                      InstanceMethod<&W::load_chips>("loadChips"),
                      InstanceMethod<&W::now>("now"),
                      InstanceMethod<&W::next_deadline>("nextDeadline"),
                      InstanceMethod<&W::continue_from>("continueFrom"),
                      InstanceMethod<&W::advance>("advance"),
                      InstanceMethod<&W::reset>("reset"),
                      InstanceMethod<&W::guest_stopped>("guestStopped"),
                      InstanceMethod<&W::close>("close")});
}

VmWrap::VmWrap(const Napi::CallbackInfo& info) : ObjectWrap(info), context_(info.Env(), "colo:vm") {
  auto ram = unwrap<GuestRamWrap>(info[0], kRamTag, "ram must be a GuestRam")->ram();
  std::string backend = to_string(info[1], "backend");
  const vcpu::Runner::Mode mode = to_mode(info[2]);
  const bool in_turns = mode != vcpu::Runner::Mode::Threaded;
  if (in_turns && backend != "soft")
    throw Napi::Error::New(info.Env(), "only the software CPU runs in turns");
  model_ = to_model(info[3].As<Napi::Object>());
  const BackendOptions options{model_, info[4].ToBoolean(), in_turns};
  auto make = [&](memory::GuestRam& r, const vcpu::Buses& b, vcpu::SettableClock& c) {
    return make_backend(backend, r, b, c, options);
  };
  runner_ = std::make_shared<vcpu::Runner>(ram, make, mode, model_.topology.cpus(), hooks());
  loop_ = std::make_unique<MainLoop>(info.Env(), [this] { on_event(); }, [this] { shutdown(); });
  if (const int fd = runner_->vm().rung_fd(); fd >= 0) loop_->watch(fd);
  info.This().As<Napi::Object>().TypeTag(&kVmTag);
}

vcpu::RunnerHooks VmWrap::hooks() {
  return {.notify = [this] { loop_->ring(); },
          .answer = [this](size_t cpu) { return answer_directly(cpu); },
          .rang = [this] { deliver_doorbells(); }};
}

// --- events
// ------------------------------------------------------------------------------------------

void VmWrap::on_event() {
  Napi::HandleScope scope(Env());
  [[maybe_unused]] Napi::Object self = Value();  // a callback may drop the last reference to us
  if (!closed_) deliver_doorbells();
  if (!closed_) answer_exits();
  if (!closed_) deliver_park();
}

void VmWrap::deliver_doorbells() {
  runner_->take_bells([this](u32 id) {
    if (closed_) return;
    napi_value arg = Napi::Number::New(Env(), id);
    if (runner_->stepped()) on_doorbell_.call({arg});
    else on_doorbell_.deliver(Env(), context_, {arg});
  });
}

void VmWrap::answer_exits() {
  for (int answered = 0; answered < kExitsPerTurn; answered++) {
    const int cpu = next_exit(answered > 0);
    if (cpu < 0) return;
    deliver_doorbells();  // rung before this exit: the guest may read here what came of it
    if (closed_) return;
    Napi::HandleScope scope(Env());
    on_exit_.deliver(Env(), context_, {Napi::Number::New(Env(), cpu)});
    if (closed_) return;
    runner_->complete_exit(static_cast<size_t>(cpu));
  }
  loop_->ring();
}

int VmWrap::pending_exit() {
  const size_t count = runner_->cpu_count();
  for (size_t i = 0; i < count; i++) {
    const size_t cpu = (turn_ + i) % count;
    if (!runner_->exit_pending(cpu)) continue;
    turn_ = (cpu + 1) % count;
    return static_cast<int>(cpu);
  }
  return -1;
}

int VmWrap::next_exit(bool linger) {
  int cpu = -1;
  auto pending = [&] { return (cpu = pending_exit()) >= 0; };
  if (!linger) return pending(), cpu;
  bool came = vcpu::spin_until(pending, lingering_.begin());
  lingering_.end(came);
  return cpu;
}

void VmWrap::deliver_park() {
  const vcpu::Park park = runner_->take_parked();
  if (park.why == vcpu::ParkReason::None) return;
  release();
  deliver_doorbells();  // what rang while the last of them came to rest
  if (closed_) return;
  std::string error =
      park.why == vcpu::ParkReason::InternalError ? runner_->cpu(park.cpu).error() : "";
  if (!error.empty() && runner_->cpu_count() > 1)
    error = "CPU " + std::to_string(park.cpu) + ": " + error;
  on_parked_.deliver(
      Env(), context_,
      {Napi::Number::New(Env(), static_cast<int>(park.why)), Napi::String::New(Env(), error)});
}

// A C++ exception must not unwind through the backend's frames: it is kept until the vCPU has come
// to a boundary.
bool VmWrap::answer_directly(size_t cpu) {
  try {
    Napi::HandleScope scope(Env());
    on_exit_.call({Napi::Number::New(Env(), static_cast<double>(cpu))});
    return true;
  } catch (const Napi::Error& e) {
    thrown_ = e;
    return false;
  }
}

std::optional<Napi::Error> VmWrap::take_thrown() { return std::exchange(thrown_, std::nullopt); }

// --- life
// ------------------------------------------------------------------------------------------

void VmWrap::hold() {
  if (held_) return;
  held_ = true;
  loop_->hold(true);
  Ref();
}

void VmWrap::release() {
  if (!held_) return;
  held_ = false;
  loop_->hold(false);
  Unref();
}

void VmWrap::shutdown() {
  if (closed_) return;
  closed_ = true;
  if (runner_) runner_->shutdown();  // null: the constructor threw
  if (!loop_) return;
  release();
  loop_->close();
  on_exit_.clear();
  on_doorbell_.clear();
  on_parked_.clear();
}

void VmWrap::require_stopped(Napi::Env env, const char* what) const {
  if (runner_->running())
    throw Napi::Error::New(env, std::string(what) + " wants the vCPUs stopped");
}

void VmWrap::start(Info info) {
  if (closed_) throw Napi::Error::New(info.Env(), "the VM is closed");
  if (runner_->stepped()) throw Napi::Error::New(info.Env(), "a stepped VM has no threads");
  require_stopped(info.Env(), "starting");
  hold();
  runner_->start();
}

// --- what JavaScript calls
// ---------------------------------------------------------------------------------------

void VmWrap::set_callbacks(Info info) {
  on_exit_.set(to_function(info[0], "onExit"));
  on_doorbell_.set(to_function(info[1], "onDoorbell"));
  on_parked_.set(to_function(info[2], "onParked"));
}

/// Live memory; see vcpu::ExitPage. It may outlive the VM, so it keeps the runner.
Napi::Value VmWrap::exit_page(Info info) {
  const size_t cpu = to_u32(info[0], "cpu");
  if (cpu >= runner_->cpu_count()) throw Napi::RangeError::New(info.Env(), "no such vCPU");
  auto* keep = new std::shared_ptr<vcpu::Runner>(runner_);
  auto release = [](Napi::Env, void*, std::shared_ptr<vcpu::Runner>* k) { delete k; };
  return Napi::ArrayBuffer::New(info.Env(), &runner_->page(cpu), sizeof(vcpu::ExitPage), release,
                                keep);
}

Napi::Value VmWrap::thread_ids(Info info) {
  Napi::Array out = Napi::Array::New(info.Env());
  for (u32 i = 0; i < model_.topology.cpus(); i++) out.Set(i, runner_->thread_id(i));
  return out;
}

/// By index of the vCPU.
Napi::Value VmWrap::apic_ids(Info info) {
  Napi::Array out = Napi::Array::New(info.Env());
  for (u32 i = 0; i < model_.topology.cpus(); i++) out.Set(i, model_.topology.apic_id(i));
  return out;
}

void VmWrap::set_irq(Info info) {
  u32 gsi = to_u32(info[0], "gsi");
  if (gsi > 23) throw Napi::RangeError::New(info.Env(), "gsi must be 0 to 23");
  runner_->vm().set_irq(gsi, info[1].ToBoolean());
}

void VmWrap::signal_msi(Info info) {
  runner_->vm().signal_msi(to_u64(info[0], "address"), to_u32(info[1], "data"));
}

void VmWrap::add_doorbell(Info info) {
  vcpu::Doorbell bell;
  bell.space = to_string(info[0], "space") == "pio" ? vcpu::Space::Pio : vcpu::Space::Mmio;
  bell.address = to_u64(info[1], "address");
  bell.size = static_cast<u8>(to_u32(info[2], "size"));
  if (!info[3].IsUndefined()) bell.datamatch = to_u64(info[3], "datamatch");
  bell.id = to_u32(info[4], "id");
  if (bell.id >= vcpu::kMaxDoorbells) throw Napi::RangeError::New(info.Env(), "too many doorbells");
  runner_->add_bell(bell);
}

void VmWrap::remove_doorbell(Info info) {
  u32 id = to_u32(info[0], "id");
  if (id < vcpu::kMaxDoorbells) runner_->remove_bell(id);
}

Napi::Value VmWrap::save_chips(Info info) {
  require_stopped(info.Env(), "saving chip state");
  vcpu::ChipState state;
  runner_->vm().save(state);
  std::vector<u8> bytes = vcpu::encode(state);
  return Napi::Buffer<u8>::Copy(info.Env(), bytes.data(), bytes.size());
}

Napi::Value VmWrap::check_chips(Info info) {
  vcpu::ChipState state;
  std::string problem = vcpu::decode(to_bytes(info[0]), state);
  return sentence(info.Env(), problem.empty() ? runner_->vm().check(state) : problem);
}

void VmWrap::load_chips(Info info) {
  require_stopped(info.Env(), "loading chip state");
  vcpu::ChipState state;
  std::string problem = vcpu::decode(to_bytes(info[0]), state);
  if (problem.empty()) problem = runner_->vm().check(state);
  if (!problem.empty()) throw Napi::Error::New(info.Env(), problem);
  runner_->vm().load(state);
}

Napi::Value VmWrap::now(Info info) { return to_bigint(info.Env(), runner_->clock().now_ns()); }
Napi::Value VmWrap::next_deadline(Info info) {
  return to_bigint(info.Env(), runner_->vm().next_deadline_ns());
}

void VmWrap::continue_from(Info info) {
  require_stopped(info.Env(), "setting the guest's clock");
  runner_->clock().continue_from(to_u64(info[0], "ns"));
}

void VmWrap::advance(Info info) {
  if (!runner_->stepped())
    throw Napi::Error::New(info.Env(), "only a stepped VM's clock is advanced by hand");
  runner_->advance(to_u64(info[0], "ns"));
}

void VmWrap::reset(Info info) {
  require_stopped(info.Env(), "a reset");
  runner_->vm().reset();
}

void VmWrap::guest_stopped(Info info) {
  require_stopped(info.Env(), "telling the guest that it was stopped");
  runner_->vm().guest_stopped();
}

}  // namespace colo::addon
