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

SoftVcpu::SoftVcpu(memory::GuestRam& ram, vcpu::Bus& bus, vcpu::Clock& clock, Irqchip& chip,
                   const vcpu::CpuModel& model)
    : ram_(ram), cpu_(new Cpu) {
  Cpu& c = *cpu_;
  c.ram = &ram, c.bus = &bus, c.clock = &clock, c.chip = &chip, c.model = &model;
  c.thunks.offer(fp_features(model.features));
  mmu_ = std::make_unique<Mmu>(c);
  c.mmu = mmu_.get();
  blocks_ = std::make_unique<BlockCache>(c);
  c.blocks = blocks_.get();
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

void SoftVcpu::code_written(u64 gpa, u64 len) {
  blocks_->queue_written(gpa, len);
  cpu_->poke();
}

void SoftVcpu::dirty_log_reset() {
  cpu_->drop_write_tags.store(true);
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
static void service_attention(Cpu& c, BlockCache& blocks) {
  if (c.mmu->window.open) c.mmu->close_window();
  if (!c.attention.exchange(false)) return;
  if (c.drop_write_tags.exchange(false)) c.mmu->drop_write_tags();
  blocks.take_queue();
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

/// Everything that can end or divert the run between two blocks. True: leave run() for this reason.
bool SoftVcpu::stop(RunResult& why) {
  Cpu& c = *cpu_;
  for (;;) {
    c.floor.store(0);
    service_attention(c, *blocks_);
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
    if (service_interrupt()) continue;
    if (c.kick_requested.exchange(false)) return why = RunResult::Kicked, true;
    if (c.halted) return why = RunResult::Halted, true;
    if (c.budget <= 0) return why = RunResult::Budget, true;
    if (!c.code64()) return why = internal_error("only 64-bit code can run: CS.L is 0"), true;
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
  const bool shadow = c.shadow, trap = c.rflags & flag::TF;
  c.block = b;
  c.budget--;
  c.floor.store(kFloorLeave);
  b->ops[0].h(&c, b->ops, c.res, c.aux);
  if (shadow) c.shadow = false;
  if (trap && !c.pending.set && !c.exit_pending) {
    c.dr6 |= 1 << 14;  // BS
    c.raise(DB);
  }
}

RunResult SoftVcpu::run(u64 budget) {
  Cpu& c = *cpu_;
  if (dead_) return RunResult::Shutdown;
  granted_ = budget > static_cast<u64>(INT64_MAX) ? INT64_MAX - 1 : static_cast<i64>(budget);
  c.budget = granted_;
  RunResult why;
  while (!stop(why)) {
    if (c.shadow || c.rflags & flag::TF) run_one();
    else run_blocks();
  }
  dead_ = why == RunResult::Shutdown;
  c.icount_done += static_cast<u64>(granted_ - c.budget);
  return why;
}

void SoftVcpu::save(vcpu::VcpuState& out) const { save_state(*cpu_, out); }
std::string SoftVcpu::check(const vcpu::VcpuState& in) const { return check_state(*cpu_, in); }

/// State came from outside: nothing that was derived from the old one may survive. Decoded code is
/// derived from RAM alone, whose changes announce themselves (GuestRam::scatter, mark_written), so
/// it stays: a checkpoint arrives many times a second.
void SoftVcpu::forget_translations() {
  cpu_->exit_pending = false;
  dead_ = false;
  cpu_->error.clear();
  cpu_->tlb_flush(true);
  cpu_->mode_changed();
}

void SoftVcpu::load(const vcpu::VcpuState& in) {
  load_state(*cpu_, in);
  forget_translations();
  kvmclock_update(
      *cpu_);  // the record may be another backend's, which counts its TSC at another rate
}

void SoftVcpu::reset() {
  reset_state(*cpu_);
  blocks_->flush();
  forget_translations();
}

SoftVm::SoftVm(memory::GuestRam& ram, vcpu::Bus& bus, vcpu::Clock& clock, vcpu::CpuModel model)
    : model_(std::move(model)),
      chip_(clock,
            [this] {
              if (vcpu_) vcpu_->wake();
              if (wake_) wake_();
            }),
      vcpu_(new SoftVcpu(ram, bus, clock, chip_, model_)) {
  COLO_ASSERT(model_.topology.cpus() == 1);
}

SoftVm::~SoftVm() = default;

vcpu::Vcpu& SoftVm::vcpu(size_t index) {
  COLO_ASSERT(index == 0);
  return *vcpu_;
}

void SoftVm::load(const vcpu::ChipState& in) {
  chip_.load(in);
  kvmclock_update(vcpu_->cpu());
}

void SoftVm::reset() {
  chip_.reset();
  vcpu_->reset();
}

}  // namespace colo::soft
