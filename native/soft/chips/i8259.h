// 8259A interrupt controllers, master and slave as an ISA machine wires them (slave's INT on IR2),
// with the PIIX's ELCR at 0x4d0/0x4d1. Intel 8259A datasheet (231468). The state is KVM's own
// image, so nothing can be forgotten on save.
#pragma once
#include <linux/kvm.h>

#include <string>

#include "base/types.h"

namespace colo::soft {

class I8259Pair {
 public:
  I8259Pair() { reset(); }
  void reset();

  static bool owns(u16 port);
  u8 read(u16 port);
  void write(u16 port, u8 value);

  void set_irq(u32 irq, bool level);  // 0..15; 2 is the cascade and ignored
  /// INT of the master.
  bool output() const { return request(0) >= 0; }
  /// The INTA sequence: a vector, the spurious one (IR7 of the chip asked) if the request has gone.
  u8 acknowledge();
  /// Input levels as the edge detectors last saw them, bit per IRQ.
  u16 lines() const { return static_cast<u16>(chip_[0].last_irr | chip_[1].last_irr << 8); }

  void save(kvm_pic_state& master, kvm_pic_state& slave) const;
  static std::string check(const kvm_pic_state& chip, bool master);
  void load(const kvm_pic_state& master, const kvm_pic_state& slave);

 private:
  int request(int chip) const;
  void update_cascade();
  void set_line(kvm_pic_state& s, u32 line, bool level);
  void accept(kvm_pic_state& s, int line);
  void command(kvm_pic_state& s, u8 value);
  void data(kvm_pic_state& s, u8 value);
  void icw1(kvm_pic_state& s, u8 value);
  void ocw2(kvm_pic_state& s, u8 value);
  void ocw3(kvm_pic_state& s, u8 value);
  u8 poll(int chip);
  void write_elcr(kvm_pic_state& s, u8 value);

  kvm_pic_state chip_[2];
};

}  // namespace colo::soft
