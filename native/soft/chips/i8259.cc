#include "soft/chips/i8259.h"

#include <cstring>

namespace colo::soft {
namespace {

constexpr int kCascade = 2;
constexpr u8 kElcrMask[2] = {0xf8, 0xde};  // IRQ 0, 1, 2, 8 and 13 are edge by wiring

/// Distance of the most urgent set bit from the current top priority; 8 if none.
int rank(const kvm_pic_state& s, u8 mask) {
  int n = 0;
  while (n < 8 && !(mask >> ((n + s.priority_add) & 7) & 1)) n++;
  return n;
}

int line_of_rank(const kvm_pic_state& s, int n) { return (n + s.priority_add) & 7; }

}  // namespace

void I8259Pair::reset() {
  std::memset(chip_, 0, sizeof chip_);
  chip_[0].elcr_mask = kElcrMask[0];
  chip_[1].elcr_mask = kElcrMask[1];
}

bool I8259Pair::owns(u16 port) {
  return port == 0x20 || port == 0x21 || port == 0xa0 || port == 0xa1 || port == 0x4d0 ||
         port == 0x4d1;
}

u8 I8259Pair::read(u16 port) {
  if (port >= 0x4d0) return chip_[port & 1].elcr;
  const int index = port >> 7;
  kvm_pic_state& s = chip_[index];
  if (s.poll) return poll(index);
  if (port & 1) return s.imr;
  return s.read_reg_select ? s.isr : s.irr;
}

void I8259Pair::write(u16 port, u8 value) {
  if (port >= 0x4d0) write_elcr(chip_[port & 1], value);
  else if (port & 1) data(chip_[port >> 7], value);
  else command(chip_[port >> 7], value);
  update_cascade();
}

void I8259Pair::set_irq(u32 irq, bool level) {
  if (irq > 15 || irq == kCascade) return;
  set_line(chip_[irq >> 3], irq & 7, level);
  update_cascade();
}

/// IRR latches an edge until it is acknowledged and follows a level ("Interrupt Request Register").
void I8259Pair::set_line(kvm_pic_state& s, u32 line, bool level) {
  const u8 bit = static_cast<u8>(1 << line);
  const bool rose = level && !(s.last_irr & bit);
  if (s.elcr & bit) s.irr = level ? s.irr | bit : s.irr & ~bit;
  else if (rose) s.irr |= bit;
  s.last_irr = level ? s.last_irr | bit : s.last_irr & ~bit;
}

/// The line that this chip's INT stands for, or -1.
int I8259Pair::request(int chip) const {
  const kvm_pic_state& s = chip_[chip];
  const int wanted = rank(s, s.irr & ~s.imr);
  if (wanted == 8) return -1;
  u8 busy = s.isr;
  if (s.special_mask) busy &= ~s.imr;
  // Special fully nested mode: a slave in service does not lock its own higher requests out.
  if (chip == 0 && s.special_fully_nested_mode) busy &= ~(1 << kCascade);
  return wanted < rank(s, busy) ? line_of_rank(s, wanted) : -1;
}

/// IR2 follows the slave's INT; KVM's image keeps no edge memory for it.
void I8259Pair::update_cascade() {
  constexpr u8 bit = 1 << kCascade;
  chip_[0].irr = request(1) >= 0 ? chip_[0].irr | bit : chip_[0].irr & ~bit;
}

void I8259Pair::accept(kvm_pic_state& s, int line) {
  const u8 bit = static_cast<u8>(1 << line);
  if (!(s.elcr & bit)) s.irr &= ~bit;
  if (!s.auto_eoi) s.isr |= bit;
  else if (s.rotate_on_auto_eoi) s.priority_add = (line + 1) & 7;
}

u8 I8259Pair::acknowledge() {
  kvm_pic_state& master = chip_[0];
  kvm_pic_state& slave = chip_[1];
  const int line = request(0);
  if (line < 0) return static_cast<u8>(master.irq_base + 7);
  accept(master, line);
  if (line != kCascade) return static_cast<u8>(master.irq_base + line);
  const int inner = request(1);
  if (inner >= 0) accept(slave, inner);
  update_cascade();
  return static_cast<u8>(slave.irq_base + (inner < 0 ? 7 : inner));
}

u8 I8259Pair::poll(int chip) {
  kvm_pic_state& s = chip_[chip];
  s.poll = 0;
  const int line = request(chip);
  if (line < 0) return 0;
  accept(s, line);
  update_cascade();
  return static_cast<u8>(0x80 | line);
}

void I8259Pair::command(kvm_pic_state& s, u8 value) {
  if (value & 0x10) icw1(s, value);
  else if (value & 0x08) ocw3(s, value);
  else ocw2(s, value);
}

/// last_irr stays: after ICW1 an input "must make a low-to-high transition to generate an
/// interrupt".
void I8259Pair::icw1(kvm_pic_state& s, u8 value) {
  s.init4 = value & 1;
  s.irr &= s.elcr;
  s.imr = s.isr = s.priority_add = 0;
  s.special_mask = s.read_reg_select = s.poll = 0;
  s.rotate_on_auto_eoi = 0;
  if (!s.init4) s.special_fully_nested_mode = s.auto_eoi = 0;
  s.init_state = 1;
}

void I8259Pair::data(kvm_pic_state& s, u8 value) {
  switch (s.init_state) {
    case 0:
      s.imr = value;
      break;
    case 1:
      s.irq_base = value & 0xf8;
      s.init_state = 2;
      break;
    case 2:
      s.init_state = s.init4 ? 3 : 0;
      break;  // ICW3: the cascade is wired, not programmed
    default:
      s.special_fully_nested_mode = value >> 4 & 1;
      s.auto_eoi = value >> 1 & 1;
      s.init_state = 0;
  }
}

void I8259Pair::ocw2(kvm_pic_state& s, u8 value) {
  const int operation = value >> 5;
  const bool rotate = operation & 4;
  if (operation == 2) return;
  if (operation == 0 || operation == 4) {
    s.rotate_on_auto_eoi = rotate;
    return;
  }
  int line = value & 7;
  if (operation == 1 ||
      operation == 5) {  // non-specific; special mask mode spares the masked levels
    const int n = rank(s, s.special_mask ? s.isr & ~s.imr : s.isr);
    if (n == 8) return;
    line = line_of_rank(s, n);
  }
  if (operation & 1) s.isr &= ~(1 << line);
  if (rotate) s.priority_add = (line + 1) & 7;
}

void I8259Pair::ocw3(kvm_pic_state& s, u8 value) {
  if (value & 0x04) s.poll = 1;
  if (value & 0x02) s.read_reg_select = value & 1;
  if (value & 0x40) s.special_mask = value >> 5 & 1;
}

void I8259Pair::write_elcr(kvm_pic_state& s, u8 value) {
  s.elcr = value & s.elcr_mask;
  s.irr = (s.irr & ~s.elcr) | (s.last_irr & s.elcr);
}

void I8259Pair::save(kvm_pic_state& master, kvm_pic_state& slave) const {
  master = chip_[0];
  slave = chip_[1];
}

std::string I8259Pair::check(const kvm_pic_state& s, bool master) {
  const std::string name = master ? "i8259 master: " : "i8259 slave: ";
  if (s.priority_add > 7) return name + "highest priority line is out of range";
  if (s.irq_base & 7) return name + "vector base is not a multiple of 8";
  if (s.init_state > 3) return name + "initialisation step is out of range";
  if (s.elcr_mask != kElcrMask[master ? 0 : 1]) return name + "ELCR mask is not this machine's";
  if (s.elcr & ~s.elcr_mask) return name + "an edge-only line is level triggered";
  const u8 flags = s.read_reg_select | s.poll | s.special_mask | s.auto_eoi | s.rotate_on_auto_eoi |
                   s.special_fully_nested_mode | s.init4;
  if (flags > 1) return name + "a flag is neither 0 nor 1";
  return "";
}

void I8259Pair::load(const kvm_pic_state& master, const kvm_pic_state& slave) {
  chip_[0] = master;
  chip_[1] = slave;
  update_cascade();
}

}  // namespace colo::soft
