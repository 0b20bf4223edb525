// The run loop: what happens between blocks.
#include <cstdio>

#include "soft/blocks/block_cache.h"
#include "soft/cpu/flags.h"
#include "soft/decode/insn.h"
#include "soft/execute/stack_access.h"
#include "soft/memory/mmu.h"
#include "soft/system/contract.h"
#include "soft/vm.h"

namespace colo::soft {

using vcpu::RunResult;

SoftVcpu::SoftVcpu(World& world, u32 index, memory::GuestRam& ram, vcpu::Bus& bus,
                   vcpu::Clock& clock, ChipPort& chip, const vcpu::CpuModel& model)
    : ram_(ram), cpu_(new Cpu) {
  Cpu& c = *cpu_;
  c.world = &world, c.index = index, c.apic_id = model.topology.apic_id(index);
  c.ram = &ram, c.map = ram.map(), c.bus = &bus, c.clock = &clock, c.chip = &chip, c.model = &model;
  c.thunks.offer(fp_features(model.features));
  mmu_ = std::make_unique<Mmu>(c);
  c.mmu = mmu_.get();
  blocks_ = std::make_unique<BlockCache>(c);
  c.blocks = blocks_.get();
  if (model.topology.cpus() > 1 && !world.in_turns()) c.bus = &shared_bus_.emplace(world, c, bus);
  world.join(c);
  reset();
  ram.add_observer(this);
}

SoftVcpu::~SoftVcpu() { ram_.remove_observer(this); }

void SoftVcpu::kick() {
  cpu_->kick_requested.store(true);
  cpu_->floor.store(kFloorLeave);
}

u64 SoftVcpu::icount() const { return cpu_->icount_done; }
std::string SoftVcpu::error() const { return cpu_->error; }

/// By a device. All vCPUs are told of a page that any of them has decoded.
void SoftVcpu::code_written(u64 offset, u64 len) {
  if (!(ram_.code_flag(offset >> kPageShift).load() & cpu_->bit())) return;
  blocks_->queue_written(offset, len);
  cpu_->poke();
}

void SoftVcpu::dirty_log_reset() {
  cpu_->drop_write_tags.store(true);
  cpu_->poke();
}

void SoftVcpu::map_changed() {
  cpu_->map_changed.store(true);
  cpu_->poke();
}

/// For whoever reads why a machine stopped: where it was, and at which instruction.
RunResult SoftVcpu::internal_error(const std::string& what) {
  Cpu& c = *cpu_;
  char text[96];
  int n =
      snprintf(text, sizeof text, " at RIP 0x%llx, bytes", static_cast<unsigned long long>(c.rip));
  for (u64 i = 0, byte; i < kMaxInsnLength && c.load_sys(c.seg[CS].base + c.rip + i, 1, byte); i++)
    n += snprintf(text + n, sizeof text - static_cast<size_t>(n), " %02x",
                  static_cast<unsigned>(byte));
  c.pending = {};  // what the look itself met
  c.error = what + text;
  return c.exit_reason = RunResult::InternalError;
}

/// Takes in what other threads left. Called outside any block.
void SoftVcpu::service_attention() {
  Cpu& c = *cpu_;
  if (c.mmu->window.open) c.mmu->close_window();
  if (!c.attention.exchange(false)) return;
  c.world->yield(c);
  if (c.drop_write_tags.exchange(false)) c.mmu->drop_write_tags();
  if (c.map_changed.exchange(false)) c.map = ram_.map(), c.tlb_flush(true);
  blocks_->take_queue();
}

/// A fault on the heels of another, with nothing retired between them, counts as an instruction: a
/// guest whose handlers cannot even be fetched uses up its budget too.
void SoftVcpu::charge_fault() {
  Cpu& c = *cpu_;
  const u64 now = c.icount_done + static_cast<u64>(granted_ - c.budget);
  if (now == fault_at_) c.budget--;
  fault_at_ = c.icount_done + static_cast<u64>(granted_ - c.budget);
}

/// Delivers an interrupt if one is due. True: the machine state changed (or triple fault:
/// exit_pending).
bool SoftVcpu::service_interrupt() {
  Cpu& c = *cpu_;
  if (c.shadow || !(c.rflags & flag::IF) || !c.chip->interrupt_pending()) return false;
  const int vector = c.chip->take_interrupt();
  if (vector < 0) return false;
  c.halted = false;
  if (!deliver_interrupt(c, static_cast<u8>(vector))) c.exit_pending = true;
  return true;
}

/// DR6 says which breakpoints the last #DB was for; its other bits are the software's to clear.
constexpr u64 kBreakpointHits = 0xf;

/// Everything that can end or divert the run between two blocks. True: leave run() for this reason.
bool SoftVcpu::stop(RunResult& why) {
  Cpu& c = *cpu_;
  for (;;) {
    c.floor.store(0);
    service_attention();
    if (c.pending.set && !c.exit_pending) {
      charge_fault();
      if (c.pending.address && is_stack_access(c, c.pending.cr2)) c.pending.vector = SS_;
      if (!deliver_exception(c)) c.exit_pending = true;
      continue;
    }
    if (c.exit_pending) {
      c.exit_pending = false;
      if (c.exit_reason == RunResult::InternalError) return why = internal_error(c.error), true;
      if (c.exit_reason != RunResult::Halted) return why = c.exit_reason, true;
      c.halted = true;
    }
    // Before what others send it: they might send without end.
    if (c.kick_requested.exchange(false)) return why = RunResult::Kicked, true;
    if (accept_signals(c)) continue;
    if (c.start == Start::Started && service_interrupt()) continue;
    if (c.halted || c.start != Start::Started) return why = RunResult::Halted, true;
    if (c.budget <= 0) return why = RunResult::Budget, true;
    return false;
  }
}

void SoftVcpu::run_blocks() {
  Cpu& c = *cpu_;
  Block* b = c.blocks->find(c.rip);
  if (!b) return blocks_->flush_if_full();
  if (b->instructions > c.budget) return run_one();
  c.block = b;
  c.budget -= b->instructions;
  b->ops[0].h(&c, b->ops, c.res, c.aux);
}

/// One instruction in a block of its own that leads nowhere.
void SoftVcpu::run_one() {
  Cpu& c = *cpu_;
  Block* b = c.blocks->find(c.rip, kModeSingle);
  if (!b) return blocks_->flush_if_full();
  const bool shadow = c.shadow, shadow_ss = c.shadow_ss, trap = c.rflags & flag::TF;
  const u64 resume = c.rflags & flag::RF;
  c.rflags &= ~flag::RF;
  c.no_step = c.shadow_ss = false;
  c.block = b;
  c.budget--;
  c.floor.store(kFloorLeave);
  b->ops[0].h(&c, b->ops, c.res, c.aux);
  if (shadow) c.shadow = c.shadow_ss;
  if (c.pending.set) {  // it has not run
    c.rflags |= resume;
    c.shadow_ss = shadow_ss;
    c.debug_hits = 0;
  } else if (!c.exit_pending || c.exit_reason == RunResult::Halted) {
    debug_trap(trap && !c.no_step);
  }
}

/// What the instruction has met: breakpoints of data and ports, the trap flag. Behind a load of SS
/// all of it waits for one more instruction, but for the trap flag, which will trap then by itself.
void SoftVcpu::debug_trap(bool step) {
  constexpr u64 kSingleStep = 1 << 14;
  Cpu& c = *cpu_;
  if (c.shadow_ss || (!step && !c.debug_hits)) return;
  c.dr6 = (c.dr6 & ~kBreakpointHits) | c.debug_hits | (step ? kSingleStep : 0);
  c.debug_hits = 0;
  c.raise(DB);
}

/// A breakpoint on the instruction that comes next is a fault: its handler returns to the
/// instruction, with RF set so that it is not met again. A load of SS holds it back on Intel's
/// processors alone; on AMD's it brings along what the load itself has met.
bool SoftVcpu::at_breakpoint() {
  Cpu& c = *cpu_;
  if (!c.breakpoints || c.rflags & flag::RF || (c.shadow_ss && !c.model->amd())) return false;
  const u64 va = c.mode & kModeLegacy ? (c.seg[CS].base + c.rip) & 0xffffffff : c.rip;
  const u64 hits = c.breakpoints_at(va);
  if (!hits) return false;
  c.dr6 = (c.dr6 & ~kBreakpointHits) | hits | c.debug_hits;
  c.debug_hits = 0;
  c.rflags |= flag::RF;
  c.raise(DB);
  return true;
}

RunResult SoftVcpu::run(u64 budget) {
  Cpu& c = *cpu_;
  if (dead_) return RunResult::Shutdown;
  granted_ = budget > static_cast<u64>(INT64_MAX) ? INT64_MAX - 1 : static_cast<i64>(budget);
  c.budget = granted_;
  RunResult why;
  c.world->enter(c);
  while (!stop(why)) {
    if (at_breakpoint()) continue;
    if (c.shadow || c.debugging || c.rflags & (flag::TF | flag::RF)) run_one();
    else run_blocks();
  }
  c.world->leave(c);
  dead_ = why == RunResult::Shutdown;
  c.icount_done += static_cast<u64>(granted_ - c.budget);
  return why;
}

/// INIT and SIPI that came since it stopped are in the state as what they do, as on KVM.
void SoftVcpu::save(vcpu::VcpuState& out) const {
  while (cpu_->chip->signals() & (signal::INIT | signal::SIPI)) accept_signals(*cpu_);
  save_state(*cpu_, out);
}
std::string SoftVcpu::check(const vcpu::VcpuState& in) const { return check_state(*cpu_, in); }

/// State came from outside: nothing that was derived from the old one may survive. Decoded code is
/// derived from RAM alone, whose changes announce themselves (GuestRam::scatter, mark_written), so
/// it stays: a checkpoint arrives many times a second.
void SoftVcpu::forget_translations() {
  cpu_->exit_pending = false;
  dead_ = false;
  cpu_->error.clear();
  cpu_->map = ram_.map();
  cpu_->tlb_flush(true);
  cpu_->mode_changed();
}

void SoftVcpu::load(const vcpu::VcpuState& in) {
  load_state(*cpu_, in);
  forget_translations();
}

void SoftVcpu::reset() {
  reset_state(*cpu_);
  blocks_->flush();
  forget_translations();
}

namespace {
std::vector<u32> apic_ids(const vcpu::Topology& t) {
  std::vector<u32> ids;
  for (u32 i = 0; i < t.cpus(); i++) ids.push_back(t.apic_id(i));
  return ids;
}
}  // namespace

SoftVm::SoftVm(memory::GuestRam& ram, const vcpu::Buses& buses, vcpu::Clock& clock,
               vcpu::CpuModel model, bool in_turns)
    : model_(std::move(model)),
      wake_(buses.size()),
      chip_(clock, apic_ids(model_.topology),
            [this](u32 index) {
              if (index < vcpus_.size()) vcpus_[index].wake();
              if (wake_[index]) wake_[index]();
            }),
      world_(ram, in_turns) {
  COLO_ASSERT(model_.topology.cpus() == buses.size() && buses.size() <= vcpu::kMaxCpus);
  for (u32 i = 0; i < buses.size(); i++)
    vcpus_.emplace_back(world_, i, ram, *buses[i], clock, chip_.port(i), model_);
}

SoftVm::~SoftVm() = default;

vcpu::Vcpu& SoftVm::vcpu(size_t index) {
  COLO_ASSERT(index < vcpus_.size());
  return vcpus_[index];
}

void SoftVm::load(const vcpu::ChipState& in) { chip_.load(in); }

/// The records may be another backend's, which counts its TSC at another rate. Not sooner: what a
/// secondary has loaded stays what it was sent, for the next epoch is told as what changed in it.
void SoftVm::before_run() {
  for (SoftVcpu& vcpu : vcpus_) kvmclock_update(vcpu.cpu());
}

void SoftVm::reset() {
  chip_.reset();
  for (SoftVcpu& vcpu : vcpus_) vcpu.reset();
}

}  // namespace colo::soft
